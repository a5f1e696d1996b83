package enroll

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// storedKubeconfig returns the kubeconfig by which usher connects to the member: the server, its
// CA and a token. It never runs a program or refers to a file, even if config, the person's own
// kubeconfig, does.
func storedKubeconfig(name, server string, config *rest.Config, token *corev1.Secret) ([]byte, error) {
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, fmt.Errorf("read the certificates of the kubeconfig: %w", err)
	}
	authority := config.CAData
	if config.Insecure {
		// The person's kubeconfig does not verify the certificate. The stored one can:
		// Kubernetes adds the CA of the cluster to each token's Secret.
		authority = token.Data[corev1.ServiceAccountRootCAKey]
	}
	stored := clientcmdapi.NewConfig()
	stored.Clusters[name] = &clientcmdapi.Cluster{
		Server:                   server,
		TLSServerName:            config.ServerName,
		CertificateAuthorityData: authority,
	}
	stored.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: string(token.Data[corev1.ServiceAccountTokenKey])}
	stored.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	stored.CurrentContext = name
	return clientcmd.Write(*stored)
}

// checkServer refuses a URL of an API server that a token must not be sent to. Its error
// continues a sentence that begins with the URL.
func checkServer(server string) error {
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Scheme == "" || u.Scheme != "https" && u.Host == "":
		return errors.New("is not a URL that begins with https://")
	case u.Scheme != "https":
		return errors.New("does not begin with https://: the token would be sent unencrypted")
	case u.Hostname() == "":
		return errors.New("has no host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("has more than https://HOST:PORT and a path")
	}
	return nil
}

// isLoopback reports whether an API server's address is a loopback address or unspecified.
func isLoopback(server string) bool {
	u, err := url.Parse(server)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return u.Hostname() == "localhost"
	}
	return address.IsLoopback() || address.IsUnspecified()
}
