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

// storedKubeconfig is what usher reaches the member with: a server, what its certificate is
// checked by, and a token. Nothing in it runs a program or names a file, whatever the person's
// own kubeconfig, config, does.
func storedKubeconfig(name, server string, config *rest.Config, token *corev1.Secret) ([]byte, error) {
	if err := rest.LoadTLSFiles(config); err != nil {
		return nil, fmt.Errorf("read the certificates of the kubeconfig: %w", err)
	}
	authority := config.CAData
	if config.Insecure {
		// The person takes any certificate for the cluster's. The edge need not:
		// the cluster tells its own CA with each token.
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

// checkServer refuses what is no address of an API server that a token may be sent to.
func checkServer(server string) error {
	u, err := url.Parse(server)
	switch {
	case err != nil:
		return err
	case u.Scheme != "https":
		return errors.New("it must begin with https://, or the token would travel in the clear")
	case u.Hostname() == "":
		return errors.New("it has no host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("it must be no more than https://HOST:PORT, and maybe a path")
	}
	return nil
}

// isLoopback reports whether an API server's address leads each machine to itself.
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
