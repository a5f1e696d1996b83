package testbed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Kubeconfig returns an administrator's kubeconfig. It refers to no files, and has one context with the cluster's name.
func (c *Cluster) Kubeconfig() ([]byte, error) {
	return c.KubeconfigWithToken(c.credentials.adminToken)
}

// KubeconfigFile returns the path of the file with Kubeconfig. Those of several clusters can be
// combined in $KUBECONFIG.
func (c *Cluster) KubeconfigFile() string { return filepath.Join(c.dir(), "kubeconfig") }

// KubeconfigFor returns the kubeconfig of a ServiceAccount, with a new token that is valid for one
// day. The account must exist.
func (c *Cluster) KubeconfigFor(ctx context.Context, namespace, serviceAccount string) ([]byte, error) {
	clientset, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return nil, err
	}
	day := int64(24 * 60 * 60)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}
	issued, err := clientset.CoreV1().ServiceAccounts(namespace).
		CreateToken(ctx, serviceAccount, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("requesting a token for ServiceAccount %s/%s: %w", namespace, serviceAccount, err)
	}
	return c.KubeconfigWithToken(issued.Status.Token)
}

// KubeconfigWithToken returns a kubeconfig like Kubeconfig with another bearer token, which may be invalid.
func (c *Cluster) KubeconfigWithToken(token string) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters[c.name] = &clientcmdapi.Cluster{
		Server:                   c.config.Host,
		CertificateAuthorityData: c.config.CAData,
	}
	config.AuthInfos[c.name] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts[c.name] = &clientcmdapi.Context{Cluster: c.name, AuthInfo: c.name}
	config.CurrentContext = c.name
	return clientcmd.Write(*config)
}

func (c *Cluster) writeKubeconfig() error {
	kubeconfig, err := c.Kubeconfig()
	if err != nil {
		return err
	}
	return os.WriteFile(c.KubeconfigFile(), kubeconfig, 0o600)
}
