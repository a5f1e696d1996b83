package member

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
)

func TestTraefikIsDetected(t *testing.T) {
	const v2, v3 = v1alpha1.RuleSyntaxV2, v1alpha1.RuleSyntaxV3
	two, three := traefikKinds{current: true, schema: withoutSyntax}, traefikKinds{current: true, schema: withSyntax}
	for _, test := range []struct {
		name           string
		version, chart string // the Service's labels
		kinds          traefikKinds
		want           v1alpha1.RuleSyntax
		by             string // part of DetectedBy
		without        string // result of withoutWildcards
	}{
		{"nothing", "", "", traefikKinds{}, "", "", ""},
		{"the version", "v3.7.13", "", traefikKinds{}, v3, labelVersion + " of Service kube-system/traefik", ""},
		{"without its v", "3.7.13", "", traefikKinds{}, v3, labelVersion, ""},
		{"a pre-release", "v3.7.0-rc.1", "", traefikKinds{}, v3, labelVersion, ""},
		{"before wildcards", "v3.6.19", "", traefikKinds{}, v3, labelVersion, "v3.6.19"},
		{"Traefik 2", "2.11", "", traefikKinds{}, v2, labelVersion, "2.11"},
		{"the version comes before the chart and the kinds", "2.11.3", "traefik-34.3.0", three, v2, labelVersion, "2.11.3"},
		{"a version that is none", "latest", "", three, v3, "schema", ""},
		{"one with more behind it", "3.7.13 <b>", "", traefikKinds{}, "", "", ""},
		{"a long one", "3.7." + strings.Repeat("1", 500), "", traefikKinds{}, "", "", ""},
		{"a later Traefik, whose syntax is unknown", "v4.0.0", "", traefikKinds{}, "", "", ""},
		{"Traefik 1", "v1.7.34", "", two, v2, "schema", "v1.7.34"},
		{"the chart", "", "traefik-34.3.0", two, v3, source.LabelChart, ""},
		{"the first chart of Traefik 3", "", "traefik-28.0.0", traefikKinds{}, v3, source.LabelChart, ""},
		{"the last one of Traefik 2, in K3s", "", "traefik-27.0.201_up27.0.2", three, v2, source.LabelChart, ""},
		{"RKE2's", "", "rke2-traefik-37.1.001", traefikKinds{}, v3, source.LabelChart, ""},
		{"the chart of Traefik 1", "", "traefik-1.87.7", traefikKinds{}, "", "", ""},
		{"another chart", "", "traefik-experimental-0.1.0", traefikKinds{}, "", "", ""},
		{"and one that has it within", "", "my-traefik-34.3.0", traefikKinds{}, "", "", ""},
		{"the former group alone", "", "", traefikKinds{former: true}, v2, "traefik.containo.us", ""},
		{"Traefik 3's kinds", "", "", three, v3, "schema", ""},
		{"Traefik 2's kinds", "", "", two, v2, "schema", ""},
		{"in both groups, Traefik 2's", "", "", traefikKinds{current: true, former: true, schema: withoutSyntax}, v2, "schema", ""},
		{"in both groups, Traefik 3's: it may be on the way", "", "", traefikKinds{current: true, former: true, schema: withSyntax}, "", "", ""},
		{"a schema that was not read", "", "", traefikKinds{current: true}, "", "", ""},
		{"a schema of before", "", "", traefikKinds{schema: withSyntax}, "", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "traefik", Labels: map[string]string{labelVersion: test.version, source.LabelChart: test.chart}}}
			got := detectTraefik(service, test.kinds)
			if got.RuleSyntax != test.want || !strings.Contains(got.DetectedBy, test.by) || (got.DetectedBy == "") != (test.want == "") {
				t.Errorf("got %+v", got)
			}
			if without := got.withoutWildcards(); without != test.without {
				t.Errorf("without wildcards: %q", without)
			}
			if len(got.Version) > maxVersion {
				t.Errorf("the version is %d bytes", len(got.Version))
			}
		})
	}
	if got := detectTraefik(nil, three); got.RuleSyntax != v3 {
		t.Errorf("without a Service: %+v", got)
	}
}

// Any response of a member is a schema or is ignored.
func TestSchemaThatIsRead(t *testing.T) {
	document := func(route string) string {
		return `{"openapi": "3.0.0", "paths": {"/a": {}}, "components": {"schemas": {"io.traefik.v1alpha1.Other": {"properties": {"spec": 3}}, "io.traefik.v1alpha1.IngressRoute": {
			"properties": {"spec": {"properties": {"routes": {"items": {"properties": ` + route + `}}}}}}}}}`
	}
	for _, test := range []struct {
		name, document string
		want           routeSchema
		fails          bool
	}{
		{"Traefik 3's", document(`{"match": {"type": "string"}, "syntax": {"type": "string"}}`), withSyntax, false},
		{"Traefik 2's", document(`{"match": {"type": "string"}}`), withoutSyntax, false},
		{"without a schema", document(`{}`), schemaUnknown, false},
		{"without the kind", `{"components": {"schemas": {}}}`, schemaUnknown, false},
		{"of another form", `{"components": {"schemas": {"io.traefik.v1alpha1.IngressRoute": []}}}`, schemaUnknown, true},
		{"no JSON", "<html>", schemaUnknown, true},
		{"deep", strings.Repeat(`{"components":`, 100_000), schemaUnknown, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, err := readSchema(strings.NewReader(test.document)); got != test.want || (err != nil) != test.fails {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

// A trimmed Service keeps the labels that Traefik is detected by.
func TestTrimmedServiceKeepsTraefikLabels(t *testing.T) {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "traefik", Labels: map[string]string{labelVersion: "v3.7.13", source.LabelChart: "traefik-34.3.0", source.LabelName: "traefik", "more": "x"}},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"a": "b"}, Ports: []corev1.ServicePort{{Name: "websecure", Port: 443, NodePort: 30443}}},
		Status:     corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}}},
	}
	before := detectTraefik(service, traefikKinds{})
	ports := service.Spec.Ports
	trim(service)
	if after := detectTraefik(service, traefikKinds{}); after != before || after.Version == "" {
		t.Errorf("it was %+v and is %+v", before, after)
	}
	if len(service.Labels) != 3 || service.Spec.Selector != nil || len(service.Status.LoadBalancer.Ingress) != 1 || len(service.Spec.Ports) != 1 || service.Spec.Ports[0] != ports[0] {
		t.Errorf("it was trimmed to %+v", service)
	}
}
