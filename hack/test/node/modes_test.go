package node

import (
	"fmt"
	"testing"

	"github.com/jovalle/usher/hack/testbed/node"
)

func TestModes(t *testing.T) {
	for _, mode := range []struct {
		name    string
		values  []string
		address func(t *testing.T) string // where clients connect
	}{
		{"one Deployment on the host's network", nil, hostPort},
		{"one Deployment on host ports", []string{"network=HostPort"}, hostPort},
		{"one Deployment behind a load balancer", []string{"network=LoadBalancer", "replicas=2"}, servicePort("usher")},
		{"a Deployment of two and a DaemonSet on the host's network", []string{"mode=split", "replicas=2"}, hostPort},
		{"a Deployment and a DaemonSet on host ports", []string{"mode=split", "network=HostPort"}, hostPort},
	} {
		t.Run(mode.name, func(t *testing.T) {
			install(t, mode.values...)
			exposeAndGet(t, mode.address(t))
		})
	}
}

// config/ is also a complete installation, and deleting it removes all of its objects.
func TestKustomization(t *testing.T) {
	before := begin(t)
	kubectl(t, "apply", "--kustomize", "../../../config")
	t.Cleanup(func() {
		kubectl(t, "delete", "--kustomize", "../../../config")
		awaitAdded(t, before)
	})
	kubectl(t, "rollout", "status", "deployment/usher", "--namespace", namespace, "--timeout=4m")
	exposeAndGet(t, hostPort(t))
}

func hostPort(*testing.T) string { return node.Address.String() + ":443" }

// servicePort returns the port of the node that a load balancer would forward to.
func servicePort(service string) func(t *testing.T) string {
	return func(t *testing.T) string {
		t.Helper()
		return fmt.Sprintf("%s:%d", node.Address, nodePort(t, service, "https"))
	}
}
