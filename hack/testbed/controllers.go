package testbed

import (
	"strings"

	"github.com/jovalle/usher/hack/testbed/servers"
)

// Some of Kubernetes' own controllers.
const (
	TokenController     = "serviceaccount-token-controller" // adds tokens to Secrets of ServiceAccounts
	NamespaceController = "namespace-controller"            // deletes the objects of deleted namespaces
)

// StartControllers starts a kube-controller-manager with only the named controllers. They run until
// the bed stops, and begin to work after some seconds. It must be called at most once per cluster.
func (c *Cluster) StartControllers(names ...string) error {
	path, err := servers.Locate(servers.KubeControllerManager)
	if err != nil {
		return err
	}
	_, err = c.bed.Run(c.name+"-controllers", nil, path,
		"--kubeconfig="+c.KubeconfigFile(),
		"--controllers="+strings.Join(names, ","),
		"--service-account-private-key-file="+c.credentials.serviceAccountKeyFile,
		"--root-ca-file="+c.credentials.certFile,
		"--leader-elect=false",
		"--secure-port=0", // it serves no requests
	)
	return err
}
