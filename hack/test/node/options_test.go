package node

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// allOptions are the values of an installation with all options of the chart.
const allOptions = `
mode: split
network: LoadBalancer
replicas: 2
clusters:
  hades:
    kubeconfigSecret: hades-kubeconfig
    ingress: {addresses: [%q], httpsPort: %d, httpPort: %d}
    allowedDomains: [techn.is]
proxy:
  proxyProtocolFrom: [10.0.0.0/8] # the node, and its pods' network
networkPolicy: {enabled: true}
podDisruptionBudget: {enabled: true}
serviceMonitor: {enabled: true}
prometheusRule: {enabled: true}
grafanaDashboard: {enabled: true}
nodeSelector: {usher.techn.is/edge: "true"}
`

// The test uses all options of the chart at once. A cluster of the values is served behind a load
// balancer that sends PROXY headers, a PodDisruptionBudget protects one of two controllers, and the
// pods meet the Pod Security Standard restricted.
func TestAllOptions(t *testing.T) {
	if skipped != nil {
		t.Skip(skipped)
	}
	definitions, err := servers.Locate(servers.PrometheusCRDs)
	testkit.Must(t, err)
	kubectl(t, "apply", "--server-side", "-f", definitions)
	t.Cleanup(func() { kubectl(t, "delete", "-f", definitions) })
	before := begin(t)
	hades := members["hades"]
	kubectl(t, "label", "node", "edge", "usher.techn.is/edge=true")
	kubectl(t, "create", "namespace", namespace)
	kubectl(t, "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted") // Kubernetes itself checks the pods
	kubectl(t, "create", "secret", "generic", "hades-kubeconfig", "--namespace", namespace, "--from-file=kubeconfig="+hades.KubeconfigFile())
	values := filepath.Join(t.TempDir(), "values.yaml")
	testkit.Must(t, os.WriteFile(values, fmt.Appendf(nil, allOptions, hades.Traefik.HTTPS.Addr(), hades.Traefik.HTTPS.Port(), hades.Traefik.HTTP.Port()), 0o600))
	t.Cleanup(func() { uninstall(t, before) })
	tool(t, servers.Helm, "install", "usher", chart, "--namespace", namespace, "--wait", "--timeout=4m", "--values", values)

	balancer := servicePort("usher-proxy")(t)
	client := "192.0.2.7"
	annotate(t, "hades", "usher.techn.is/allow-from="+client+"/32")
	testkit.Eventually(t, "a client within allow-from should be answered", func() error { return getWithProxyHeader(t, balancer, client) })
	if err := getWithProxyHeader(t, balancer, "192.0.2.8"); err == nil {
		t.Error("a client outside allow-from is answered")
	}
	unanswered(t, balancer, "hades") // without the header
	budgetKeepsOne(t)
}

// getWithProxyHeader sends a request for the host of hades with a client's address in a PROXY header.
func getWithProxyHeader(t *testing.T, balancer, client string) error {
	t.Helper()
	_, err := testbed.GetAnswer(t.Context(), testbed.ProxyProtocolClientTo(balancer, netip.MustParseAddr(client)), "https://"+host("hades")+"/")
	return err
}

// budgetKeepsOne evicts both controllers, as draining their node does, and checks that one eviction is refused.
func budgetKeepsOne(t *testing.T) {
	t.Helper()
	pods := strings.Fields(kubectl(t, "get", "pods", "--namespace", namespace, "--selector=app.kubernetes.io/component=controllers", "--output=jsonpath={.items[*].metadata.name}"))
	if len(pods) != 2 {
		t.Fatalf("the controllers are %v", pods)
	}
	evict := func(pod string) (string, error) {
		file := filepath.Join(t.TempDir(), "eviction.json")
		testkit.Must(t, os.WriteFile(file, fmt.Appendf(nil, `{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": %q, "namespace": %q}}`, pod, namespace), 0o600))
		return try(t, servers.Kubectl, "create", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/eviction", namespace, pod), "-f", file)
	}
	if out, err := evict(pods[0]); err != nil {
		t.Errorf("the first controller cannot be evicted: %v\n%s", err, out)
	}
	if out, err := evict(pods[1]); err == nil || !strings.Contains(out, "disruption budget") {
		t.Errorf("the second controller is evicted too: %v\n%s", err, out)
	}
}
