package chart

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// taker returns a pod with a host port; the labels are those that ServiceLB sets for a Service.
const taker = `
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: default, labels: {%[2]s}}
spec:
  nodeName: edge
  automountServiceAccountToken: false
  containers: [{name: lb, image: lb, ports: [{containerPort: %[3]d, hostPort: %[3]d, protocol: %[4]s}]}]
`

// Helm prints the pods that have usher's ports on their node, or that keep its Service pending, and
// no others.
func TestNotesListPodsThatHaveUshersPorts(t *testing.T) {
	edge := bed.Cluster("edge")
	const release, taken = "taken", "taken-system" // the other tests' objects are no release's
	serviceLB := func(service string) string {
		return "svccontroller.k3s.cattle.io/svcname: " + service + ", svccontroller.k3s.cattle.io/svcnamespace: " + taken
	}
	testkit.Must(t, edge.Apply(t.Context(), "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}"))
	for _, pod := range []struct {
		name, labels    string
		port            int
		protocol, phase string
	}{
		{"svclb-traefik", serviceLB("traefik"), 443, "TCP", "Running"},
		{"svclb-usher", serviceLB(release + "-usher"), 80, "TCP", "Running"},
		{"nginx", "app: nginx", 80, "TCP", "Running"},
		{"quic", "app: quic", 443, "UDP", "Running"},
		{"other-port", serviceLB("other"), 8443, "TCP", "Running"},
		{"waits", "app: waits", 443, "TCP", "Pending"},
	} {
		testkit.Must(t, edge.Apply(t.Context(), fmt.Sprintf(taker, pod.name, pod.labels, pod.port, pod.protocol)))
		t.Cleanup(func() {
			_, _ = edge.Kubectl(context.WithoutCancel(t.Context()), "delete", "pod", pod.name, "--namespace=default", "--force", "--grace-period=0")
		})
		_, err := edge.Kubectl(t.Context(), "patch", "pod", pod.name, "--namespace=default", "--subresource=status", "--type=merge", `--patch={"status":{"phase":"`+pod.phase+`"}}`)
		testkit.Must(t, err)
	}
	const traefik, own, nginx = "default/svclb-traefik on node edge: port 443\n", "default/svclb-usher", "default/nginx on node edge: port 80\n"
	for network, told := range map[string]struct{ with, without []string }{
		"HostNetwork":  {[]string{"have a port of usher's on their node", "usher is not ready there", "--disable=servicelb", traefik, nginx}, []string{own, "quic", "other-port", "waits", "stays"}},
		"HostPort":     {[]string{"have a port of usher's on their node", "stays Pending", traefik, nginx}, []string{own, "waits", "not ready"}},
		"LoadBalancer": {[]string{"stays <pending>", "--disable=traefik", traefik}, []string{own, "nginx", "quic", "other-port", "waits"}},
	} {
		t.Run(network, func(t *testing.T) {
			out, err := output(t, servers.Helm, "install", release, "../../../charts/usher", "--namespace", taken, "--dry-run=server",
				"--kubeconfig", edge.KubeconfigFile(), "--set=network="+network)
			testkit.Must(t, err)
			_, notes, found := strings.Cut(string(out), "NOTES:")
			if !found {
				t.Fatalf("helm prints no notes:\n%s", out)
			}
			for _, text := range told.with {
				if !strings.Contains(notes, text) {
					t.Errorf("the notes lack %q:\n%s", text, notes)
				}
			}
			for _, text := range told.without {
				if strings.Contains(notes, text) {
					t.Errorf("the notes have %q:\n%s", text, notes)
				}
			}
		})
	}
}

// If an upgrade starts the new pod while the old one runs, the pods must not declare a host port:
// the scheduler would not place both on one node. If the new pod starts after the old one, they must
// declare it. A pod with its own network cannot find out which process has the node's port.
func TestHostPortsAreDeclaredUnlessPodsOverlap(t *testing.T) {
	for _, test := range []struct {
		values    []string
		workload  string
		hostPorts string
		selfCheck bool
	}{
		{nil, "usher", "[]", true},
		{[]string{"mode=split"}, "usher-proxy", "[]", true},
		{[]string{"network=HostPort"}, "usher", "[0 80 443]", false},
		{[]string{"network=HostPort", "mode=split"}, "usher-proxy", "[0 80 443]", false},
		{[]string{"network=LoadBalancer"}, "usher", "[0 0 0]", false},
		{[]string{"tlsPorts.mqtts.port=8883"}, "usher", "[]", true},
		{[]string{"network=HostPort", "tlsPorts.mqtts.port=8883"}, "usher", "[0 80 443 8883]", false},
	} {
		container := renderChart(t, test.values...).pods[test.workload].Containers[0]
		ports := []int32{}
		for _, port := range container.Ports {
			ports = append(ports, port.HostPort)
		}
		if got := fmt.Sprint(ports); got != test.hostPorts {
			t.Errorf("%v: the host ports are %s, want %s", test.values, got, test.hostPorts)
		}
		if off := strings.Contains(strings.Join(container.Args, " "), "--self-check=off"); off == test.selfCheck {
			t.Errorf("%v: the arguments are %q", test.values, container.Args)
		}
	}
}

// Helm refuses an installation if ServiceLB has a port of usher's on every node that usher may use, so
// that no client would reach it. It does not refuse one that may work.
func TestInstallationIsRefusedWhereServiceLBHasThePorts(t *testing.T) {
	edge := bed.Cluster("edge")
	const release, taken = "taken", "taken-system"
	testkit.Must(t, edge.Apply(t.Context(), "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}"))
	for _, object := range []struct{ kind, name, manifest string }{
		{"node", "edge", "{apiVersion: v1, kind: Node, metadata: {name: edge, labels: {zone: edge}}}"},
		{"pod", "svclb", fmt.Sprintf(taker, "svclb", "svccontroller.k3s.cattle.io/svcname: traefik, svccontroller.k3s.cattle.io/svcnamespace: kube-system", 443, "TCP")},
		{"node", "inside", "{apiVersion: v1, kind: Node, metadata: {name: inside, labels: {zone: inside}}}"},
	} {
		testkit.Must(t, edge.Apply(t.Context(), object.manifest))
		remove := func() {
			_, _ = edge.Kubectl(context.WithoutCancel(t.Context()), "delete", object.kind, object.name, "--namespace=default", "--ignore-not-found", "--force", "--grace-period=0")
		}
		t.Cleanup(remove)
	}
	_, err := edge.Kubectl(t.Context(), "patch", "pod", "svclb", "--namespace=default", "--subresource=status", "--type=merge", `--patch={"status":{"phase":"Running"}}`)
	testkit.Must(t, err)
	install := func(values string) error {
		_, err := output(t, servers.Helm, "install", release, "../../../charts/usher", "--namespace", taken, "--dry-run=server",
			"--kubeconfig", edge.KubeconfigFile(), "--set="+values)
		return err
	}
	const elsewhere = "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1"
	for values, refused := range map[string]bool{
		"network=HostNetwork":                              false, // the other node is free
		"nodeSelector.zone=inside":                         false,
		"nodeSelector.zone=edge":                           true,
		"network=HostPort,nodeSelector.zone=edge":          true,
		"mode=split,nodeSelector.zone=edge":                true,
		"nodeSelector.zone=edge,proxy.httpsPort=8443":      false, // usher has other ports
		"nodeSelector.zone=edge," + elsewhere:              false, // the affinity may exclude the node
		"nodeSelector.zone=nowhere":                        false, // the node may come later
		"network=LoadBalancer,nodeSelector.zone=edge":      false, // ServiceLB may use the other node
		"network=LoadBalancer,service.loadBalancerClass=x": false,
	} {
		if err := install(values); (err != nil) != refused || refused && !strings.Contains(err.Error(), "default/svclb on node edge: port 443") {
			t.Errorf("%s: %v, want an error: %v", values, err, refused)
		}
	}
	_, err = edge.Kubectl(t.Context(), "delete", "node", "inside")
	testkit.Must(t, err)
	for values, refused := range map[string]bool{
		"network=HostNetwork":                              true,
		"network=LoadBalancer":                             true,
		"network=LoadBalancer,service.loadBalancerClass=x": false, // not ServiceLB's
	} {
		if err := install(values); (err != nil) != refused || refused && !strings.Contains(err.Error(), "every node that usher may use") {
			t.Errorf("%s on the only node: %v, want an error: %v", values, err, refused)
		}
	}
}
