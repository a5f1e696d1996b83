package controllers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/hack/test/testkit"
)

// annotated is an object of a member whose annotations are too large for kubectl,
// which would keep them twice.
func annotated(t *testing.T, manifest string, annotations map[string]string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	testkit.Must(t, yaml.Unmarshal([]byte(manifest), &o.Object))
	annotations[v1alpha1.AnnotationExpose] = "true"
	o.SetAnnotations(annotations)
	return o
}

// A few sources with as much in an annotation as an object can hold freeze no
// status: it is written, and what changes later too.
func TestHugeAnnotationsFreezeNoStatus(t *testing.T) {
	c := edge(t)
	startUsher(t)
	hades := clientOf(t, "hades")
	for i := range 5 {
		create(t, hades, annotated(t, fmt.Sprintf("{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {namespace: default, name: huge%d}, spec: {defaultBackend: {service: {name: app, port: {number: 80}}}}}", i),
			map[string]string{v1alpha1.AnnotationAllowFrom: strings.Repeat("\x01", 240<<10)}))
	}
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Addresses = nil })
	mc := awaitMember(t, c, "hades", v1alpha1.ConditionSynced, metav1.ConditionTrue, "Synced")
	if len(mc.Status.Refusals) < 5 {
		t.Errorf("%d refusals are reported", len(mc.Status.Refusals))
	}
	for _, refusal := range mc.Status.Refusals {
		if len(refusal.Message) > message.Max {
			t.Errorf("a message has %d bytes", len(refusal.Message))
		}
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "traefik"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 443}}},
	}
	create(t, hades, service)
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.78"}}
	testkit.Must(t, hades.Status().Update(t.Context(), service))
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

// What makes a served host refused is written, however much of it there is.
func TestHugeAnnotationOfAServedHostIsTold(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	const manifest = "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {namespace: default, name: overgrown}, spec: {rules: [{host: overgrown.techn.is, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}}]}}"
	o := annotated(t, manifest, map[string]string{})
	hades := clientOf(t, "hades")
	create(t, hades, o)
	awaitHost(t, c, "overgrown.techn.is", ready("hades"))
	for _, value := range []string{strings.Repeat("x", 40<<10), strings.Repeat("10.0.0.0/8,", 20<<10), "\x1b[2J\n" + strings.Repeat("ü", 30<<10)} {
		o.SetAnnotations(map[string]string{v1alpha1.AnnotationExpose: "true", v1alpha1.AnnotationAllowFrom: value})
		testkit.Must(t, hades.Update(t.Context(), o))
		awaitHost(t, c, "overgrown.techn.is", refused("AnnotationInvalid"))
		routed(t, table, "overgrown.techn.is", "")
		o.SetAnnotations(map[string]string{v1alpha1.AnnotationExpose: "true"})
		testkit.Must(t, hades.Update(t.Context(), o))
		awaitHost(t, c, "overgrown.techn.is", ready("hades"))
	}
}

// Where the API server takes no status as a whole, the conditions are written, and
// nothing is tried for ever. Its definition forbids here what usher writes.
func TestStatusThatCannotBeWrittenIsCut(t *testing.T) {
	c := edge(t)
	forbidSources(t)
	startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("cut", "Host(`cut.techn.is`)", exposed))
	awaitHost(t, c, "cut.techn.is", func(eh *v1alpha1.ExposedHost) error {
		if !meta.IsStatusConditionTrue(eh.Status.Conditions, v1alpha1.ConditionReady) || len(eh.Status.Sources) > 0 {
			return fmt.Errorf("its status is %+v", eh.Status)
		}
		return nil
	})
	apply(t, "hades", ingressRoute("cut", "Host(`cut.techn.is`)", exposed, "usher.techn.is/allow-from: me"))
	awaitHost(t, c, "cut.techn.is", refused("AnnotationInvalid"))
}

// forbidSources has the edge's API server refuse each ExposedHost whose status has
// sources, until the test ends.
func forbidSources(t *testing.T) {
	t.Helper()
	c := clientOf(t, "edge")
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	crd.SetName("exposedhosts.usher.techn.is")
	const sources = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/sources/maxItems"
	patch := func(ctx context.Context, op string) error {
		change, err := json.Marshal([]map[string]any{{"op": op, "path": sources, "value": 0}})
		if err != nil {
			return err
		}
		return c.Patch(ctx, crd, client.RawPatch("application/json-patch+json", change))
	}
	testkit.Must(t, patch(t.Context(), "add"))
	t.Cleanup(func() {
		if err := patch(context.Background(), "remove"); err != nil {
			t.Error(err)
		}
	})
	probe := &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: "probe.techn.is"}, Spec: v1alpha1.ExposedHostSpec{Host: "probe.techn.is"}}
	create(t, c, probe)
	testkit.Eventually(t, "the definition should hold", func() error {
		after := probe.DeepCopy()
		after.Status.Sources = []v1alpha1.SourceRef{{Cluster: "a", Kind: "b", Namespace: "c", Name: "d"}}
		if c.Status().Patch(t.Context(), after, client.MergeFrom(probe), client.DryRunAll) == nil {
			return fmt.Errorf("a status with sources is taken")
		}
		return nil
	})
}
