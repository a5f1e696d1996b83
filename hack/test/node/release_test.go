package node

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

const (
	chart     = "../../../charts/usher"
	namespace = "usher-system"
)

// install installs the chart with values, as KEY=VALUE, and uninstalls it when the test ends.
func install(t *testing.T, values ...string) {
	t.Helper()
	before := begin(t)
	notes := helm(t, "install", values...)
	t.Cleanup(func() { uninstall(t, before) })
	if !strings.Contains(notes, "usher cluster add NAME") {
		t.Errorf("helm does not say what comes next:\n%s", notes)
	}
}

// begin skips the test if there is no node, and returns the objects in the cluster before the test.
func begin(t *testing.T) (before []string) {
	t.Helper()
	if skipped != nil {
		t.Skip(skipped)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(kubectl(t, "get", "pods,events", "--namespace", namespace))
			t.Log(kubectl(t, "logs", "--namespace", namespace, "--selector=app.kubernetes.io/name=usher", "--prefix", "--tail=15"))
		}
	})
	return inventory(t)
}

// helm installs or upgrades the release, waits until its pods are ready, and returns its output.
func helm(t *testing.T, command string, values ...string) string {
	t.Helper()
	args := []string{command, "usher", chart, "--namespace", namespace, "--wait", "--timeout=4m", "--set=proxy.drainSeconds=60"}
	if command == "install" {
		args = append(args, "--create-namespace")
	}
	for _, value := range values {
		args = append(args, "--set="+value)
	}
	return tool(t, servers.Helm, args...)
}

// usher returns the path of the program in the image.
func usher() string { return os.Getenv(programVariable) }

// enroll adds members by usher's command, and removes them together when the test ends: each
// removal waits until Kubernetes has deleted a namespace. A member's Traefik has other ports,
// since usher uses 80 and 443 of the node.
func enroll(t *testing.T, names ...string) {
	t.Helper()
	t.Cleanup(func() {
		var group errgroup.Group
		for _, name := range names {
			group.Go(func() error {
				_, complaint, err := execute(t, usher(), "cluster", "remove", name, "--kubeconfig", members[name].KubeconfigFile(), "--edge-kubeconfig", os.Getenv(kubeconfigVariable))
				if err != nil {
					return fmt.Errorf("cluster remove %s: %w\n%s", name, err, complaint)
				}
				return nil
			})
		}
		testkit.Must(t, group.Wait())
	})
	for _, name := range names {
		m := members[name]
		t.Log(run(t, usher(), "cluster", "add", name, "--kubeconfig", m.KubeconfigFile(), "--edge-kubeconfig", os.Getenv(kubeconfigVariable),
			"--address", m.Traefik.HTTPS.Addr().String()))
		ports := fmt.Sprintf(`{"spec":{"ingress":{"httpsPort":%d,"httpPort":%d}}}`, m.Traefik.HTTPS.Port(), m.Traefik.HTTP.Port())
		kubectl(t, "patch", "membercluster", name, "--type=merge", "--patch", ports)
	}
}

// annotate publishes a member's host until the test ends.
func annotate(t *testing.T, name string, annotations ...string) {
	t.Helper()
	m := members[name]
	_, err := m.Kubectl(t.Context(), append([]string{"annotate", "--overwrite", "ingressroute", "whoami", "usher.techn.is/expose=true"}, annotations...)...)
	testkit.Must(t, err)
	t.Cleanup(func() {
		_, _ = m.Kubectl(context.Background(), "annotate", "ingressroute", "whoami", "usher.techn.is/expose-", "usher.techn.is/allow-from-")
	})
}

// exposeAndGet publishes the hosts of both members, and sends requests for them to an address of usher.
func exposeAndGet(t *testing.T, address string) {
	t.Helper()
	enroll(t, slices.Collect(maps.Keys(members))...)
	for name := range members {
		unanswered(t, address, name)
		annotate(t, name)
		answered(t, address, name)
	}
	if listed := kubectl(t, "get", "exposedhosts", "--output=name"); strings.Count(listed, "\n") != len(members) {
		t.Errorf("kubectl get exposedhosts says:\n%s", listed)
	}
}

// nodePort returns the node port of a port of the Service.
func nodePort(t *testing.T, service, port string) int {
	t.Helper()
	out := kubectl(t, "get", "service", service, "--namespace", namespace, "-o", `jsonpath={.spec.ports[?(@.name=="`+port+`")].nodePort}`)
	n, err := strconv.Atoi(out)
	testkit.Must(t, err)
	return n
}
