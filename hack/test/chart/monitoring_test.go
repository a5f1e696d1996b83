package chart

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// A real API server with the CRDs of the Prometheus Operator accepts the ServiceMonitor and the
// PrometheusRule with strict validation, which refuses unknown fields.
func TestPrometheusOperatorAcceptsItsObjects(t *testing.T) {
	edge := bed.Cluster("edge")
	testkit.Must(t, edge.InstallPrometheusCRDs(t.Context()))
	testkit.Must(t, edge.Apply(t.Context(), fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", namespace)))
	rendered, err := helmTemplate(t, "adminListen=192.168.1.2:8080", "serviceMonitor.enabled=true", "prometheusRule.enabled=true",
		"serviceMonitor.labels.release=prometheus", "prometheusRule.labels.release=prometheus")
	testkit.Must(t, err)
	var kinds []string
	var kept []byte
	for document := range bytes.SplitSeq(rendered, []byte("\n---\n")) {
		var object unstructured.Unstructured
		testkit.Must(t, yaml.Unmarshal(document, &object.Object))
		if strings.HasPrefix(object.GetAPIVersion(), "monitoring.coreos.com/") {
			kinds = append(kinds, object.GetKind())
			kept = append(append(kept, document...), "\n---\n"...)
		}
	}
	if slices.Sort(kinds); !slices.Equal(kinds, []string{"PrometheusRule", "ServiceMonitor"}) {
		t.Fatalf("rendered %v", kinds)
	}
	file := filepath.Join(t.TempDir(), "rendered.yaml")
	testkit.Must(t, os.WriteFile(file, kept, 0o600))
	_, err = edge.Kubectl(t.Context(), "apply", "--server-side", "--validate=strict", "-f", file)
	testkit.Must(t, err)

	// The operator passes the rules to Prometheus, so Prometheus' own tool must accept them.
	groups, err := edge.Kubectl(t.Context(), "get", "prometheusrule", "usher", "--namespace", namespace, "--output=jsonpath={.spec}")
	testkit.Must(t, err)
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	testkit.Must(t, os.WriteFile(rules, []byte(groups), 0o600))
	if out, err := output(t, servers.Promtool, "check", "rules", "--lint=all", "--lint-fatal", rules); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
