package testbed

import (
	"strings"

	"github.com/jovalle/usher/hack/testbed/servers"
)

// Some of Kubernetes' own controllers.
const (
	TokenController     = "serviceaccount-token-controller" // puts tokens into their Secrets
	NamespaceController = "namespace-controller"            // empties and ends deleted namespaces
)

// StartControllers starts a controller manager with no more than the named controllers of
// Kubernetes. They follow the cluster until the bed stops; what they do becomes seen some
// seconds later. It is called once for a cluster.
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
		"--secure-port=0", // it serves nobody
	)
	return err
}
