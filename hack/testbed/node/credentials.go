package node

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// identities are the clients of the API server, each with a token: name → user and groups, in the
// format of the token file.
var identities = map[string]string{
	"admin":                   `admin,admin,system:masters`,
	"kube-controller-manager": `system:kube-controller-manager,kcm`,
	"kube-scheduler":          `system:kube-scheduler,scheduler`,
	"kube-proxy":              `system:kube-proxy,proxy`,
	"kubelet":                 `system:node:edge,kubelet,system:nodes`,
}

// writeCredentials writes the API server's certificate and keys, and a kubeconfig for each identity.
func (n *Node) writeCredentials() error {
	certificate, key, err := cert.GenerateSelfSignedCertKey("kubernetes.default.svc",
		[]net.IP{Address.AsSlice(), serviceAddress.AsSlice(), net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		return err
	}
	serviceAccountKey, err := keyutil.MakeEllipticPrivateKeyPEM()
	if err != nil {
		return err
	}
	var tokens bytes.Buffer
	written := map[string][]byte{"server.crt": certificate, "server.key": key, "serviceaccount.key": serviceAccountKey}
	for name, user := range identities {
		token := rand.Text()
		fmt.Fprintf(&tokens, "%s,%s\n", token, user)
		if written[name+".kubeconfig"], err = kubeconfig(certificate, token); err != nil {
			return err
		}
	}
	written["tokens.csv"] = tokens.Bytes()
	for name, content := range written {
		if err := os.WriteFile(n.pki(name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// pki returns the path of a file with a secret.
func (n *Node) pki(name string) string { return filepath.Join(n.dir, "pki", name) }

func kubeconfig(certificate []byte, token string) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters["node"] = &clientcmdapi.Cluster{Server: fmt.Sprintf("https://%s:6443", Address), CertificateAuthorityData: certificate}
	config.AuthInfos["node"] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["node"] = &clientcmdapi.Context{Cluster: "node", AuthInfo: "node"}
	config.CurrentContext = "node"
	return clientcmd.Write(*config)
}
