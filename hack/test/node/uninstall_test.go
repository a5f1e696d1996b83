package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// inventory lists all objects in the cluster, of every kind that it serves, as KIND NAMESPACE/NAME.
// It omits Events, which Kubernetes deletes after an hour, and the Leases of nodes, which the kubelet
// creates some time after its start.
func inventory(t *testing.T) []string {
	t.Helper()
	kinds := slices.DeleteFunc(strings.Fields(kubectl(t, "api-resources", "--verbs=get,list", "--output=name")), func(kind string) bool {
		return kind == "events" || kind == "events.events.k8s.io" || kind == "componentstatuses"
	})
	all := kubectl(t, "get", strings.Join(kinds, ","), "--all-namespaces",
		`--output=jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{"\n"}{end}`)
	lines := strings.FieldsFunc(all, func(r rune) bool { return r == '\n' })
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "Lease kube-node-lease/") })
	slices.Sort(lines)
	return lines
}

// awaitAdded waits until the cluster has exactly the objects before and want. Deleted objects may
// exist for some time.
func awaitAdded(t *testing.T, before []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	testkit.Eventually(t, "what stays in the cluster", func() error {
		now := inventory(t)
		added, lost := difference(now, before), difference(before, now)
		if !slices.Equal(added, want) || len(lost) > 0 {
			return fmt.Errorf("there are besides\n%s\nwanted\n%s\nand lost are\n%s", strings.Join(added, "\n"), strings.Join(want, "\n"), strings.Join(lost, "\n"))
		}
		return nil
	})
}

func difference(all, without []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(line string) bool { return slices.Contains(without, line) })
}

// uninstall removes everything, including what the docs leave to a person, and checks that the
// cluster has the same objects as before.
func uninstall(t *testing.T, before []string) {
	t.Helper()
	tool(t, servers.Helm, "uninstall", "usher", "--namespace", namespace, "--wait")
	kubectl(t, "get", "-f", chart+"/crds") // they stay, although an upgrade applies them as a hook
	removeRest(t, before)
}

// removeRest runs the commands of docs/operations.md that remove the remaining objects.
func removeRest(t *testing.T, before []string) {
	t.Helper()
	kubectl(t, "delete", "--ignore-not-found", "-f", chart+"/crds")
	kubectl(t, "delete", "namespace", namespace)
	awaitAdded(t, before)
}

// The objects that remain after an uninstallation are those of docs/operations.md.
func TestUninstallLeavesWhatTheDocsSay(t *testing.T) {
	before := begin(t)
	helm(t, "install", "mode=split", "replicas=2", "clusters.edge.ingress.addresses={192.168.1.10}")
	t.Cleanup(func() { removeRest(t, before) })
	exposeAndGet(t, hostPort(t))
	apply(t, `{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: nas.techn.is}, spec: {host: nas.techn.is, backends: [{address: 192.168.1.20}]}}`)

	tool(t, servers.Helm, "uninstall", "usher", "--namespace", namespace, "--wait")
	awaitAdded(t, before,
		"CustomResourceDefinition /exposedhosts.usher.techn.is",
		"CustomResourceDefinition /memberclusters.usher.techn.is",
		"CustomResourceDefinition /networklists.usher.techn.is",
		"APIService /v1alpha1.usher.techn.is", // Kubernetes' own, of the definitions
		"ExposedHost /nas.techn.is",           // a person's
		"ExposedHost /"+host("hades"),
		"ExposedHost /"+host("illmatic"),
		"MemberCluster /hades", // of `usher cluster add`
		"MemberCluster /illmatic",
		"Secret "+namespace+"/hades-kubeconfig",
		"Secret "+namespace+"/illmatic-kubeconfig",
		"Lease "+namespace+"/usher", // of the election
		"Namespace /"+namespace,     // of --create-namespace, with what Kubernetes puts into one
		"ConfigMap "+namespace+"/kube-root-ca.crt",
		"ServiceAccount "+namespace+"/default",
	)
	kubectl(t, "delete", "exposedhosts", "--all") // `usher cluster remove` waits until usher has, and none runs
}
