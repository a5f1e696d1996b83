package enroll

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
)

// isolate isolates hades and returns what a person saw.
func isolate(t *testing.T, edge, hades *Cluster, change ...func(*Options)) (string, error) {
	t.Helper()
	var out bytes.Buffer
	o := options(&out)
	for _, change := range change {
		change(&o)
	}
	err := Isolate(t.Context(), edge, hades, o)
	return out.String(), err
}

// patching edits the routes; the person says yes to what agree accepts.
func patching(agree string) func(*Options) {
	return func(o *Options) {
		o.Isolation.Patch = true
		o.Isolation.Confirm = func(question string) bool { return strings.HasPrefix(question, agree) }
	}
}

func TestIsolateWithdrawsNothingUnasked(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	add(t, edge, hades)
	apply(t, "hades", ingressRouteOf("default/app", public, "", "app.techn.is"))

	said, err := isolate(t, edge, hades)
	if !errors.Is(err, ErrNotIsolated) || memberOf(t, edge).Spec.Isolation != nil {
		t.Fatalf("%v, and spec.isolation is %+v", err, memberOf(t, edge).Spec.Isolation)
	}
	command := `kubectl --context hades --namespace default patch ingressroute.traefik.io app --type merge --patch '{"spec":{"tls":{"options":{"name":"exposed"}}}}'`
	wantText(t, said, "TLSOption kube-system/exposed created in context hades", "TLSOption default/exposed created in context hades",
		"IngressRoute kube-system/usher-catch-all created in context hades", "IngressRoute default/app needs TLSOption default/exposed", command)
	wantText(t, err.Error(), "app.techn.is", "--patch", "--yes")
	if optionsOf(t, hades, "app") != "" {
		t.Error("the route was edited")
	}

	if said, err = isolate(t, edge, hades, patching("Set spec.isolation")); err != nil || optionsOf(t, hades, "app") != "" {
		t.Fatalf("the person wanted the field and no edit: %v\n%s", err, said)
	}
	want := v1alpha1.TLSOptionsRef{Namespace: "kube-system", Name: "exposed"}
	if got := memberOf(t, edge).Spec.Isolation; got == nil || got.TLSOptions != want {
		t.Errorf("spec.isolation is %+v", got)
	}
}

func TestIsolateEditsAndChangesNothingAgain(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	add(t, edge, hades)
	apply(t, "hades", ingressRouteOf("default/app", public, "", "app.techn.is")+"\n---\n"+
		ingressRouteOf("default/lan", lan, "", "lan.techn.is")+"\n---\n"+
		ingressOf("default/shop", public, "shop.techn.is")+"\n---\n"+
		ingressRouteOf("default/ledger", private, "", "ledger.techn.is"))

	said, err := isolate(t, edge, hades, patching("Edit these 3 objects in context hades?"))
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	wantText(t, said, "TLSOption default/exposed-192-168-1-0-24 created", "IngressRoute default/app edited in context hades",
		"Ingress default/shop edited in context hades", "MemberCluster hades updated in context edge", "next: kubectl --context hades annotate")
	if app, narrow, ledger := optionsOf(t, hades, "app"), optionsOf(t, hades, "lan"), optionsOf(t, hades, "ledger"); app != "exposed" || narrow != "exposed-192-168-1-0-24" || ledger != "" {
		t.Errorf("app has %q, lan %q, ledger %q", app, narrow, ledger)
	}

	before := isolationSnapshot(t)
	if said, err = isolate(t, edge, hades, patching("?")); err != nil {
		t.Fatal(err)
	}
	wantText(t, said, "TLSOption kube-system/exposed unchanged", "IngressRoute kube-system/usher-catch-all unchanged", "MemberCluster hades unchanged")
	if after := isolationSnapshot(t); !slices.Equal(before, after) {
		t.Errorf("before:\n%q\nafter:\n%q", before, after)
	}
	testkit.Must(t, Add(t.Context(), edge, hades, options(nil)))
	if memberOf(t, edge).Spec.Isolation == nil {
		t.Error("usher cluster add has ended the isolation")
	}
}

// Traefik closes the connections of a route whose TLSOption is missing.
func TestRemoveKeepsTheTLSOptionsThatRoutesHave(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	add(t, edge, hades)
	apply(t, "hades", ingressRouteOf("default/app", public, tlsNamed("exposed"), "app.techn.is"))
	apply(t, "hades", "{apiVersion: traefik.io/v1alpha1, kind: TLSOption, metadata: {namespace: kube-system, name: theirs}, spec: {}}")
	said, err := isolate(t, edge, hades)
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), labelled(t, edge, "default/exposed")))
	var out bytes.Buffer
	testkit.Must(t, Remove(t.Context(), edge, hades, options(&out)))
	wantText(t, out.String(), "TLSOption default/exposed stays in context hades, without usher's labels, since IngressRoute default/app refers to it",
		"TLSOption kube-system/exposed deleted in context hades", "IngressRoute kube-system/usher-catch-all deleted in context hades", "hades is removed")
	left := isolationSnapshot(t)
	for name, want := range map[string]bool{"usher-catch-all": false, "exposed": true, "theirs": true} {
		if slices.Contains(left, name) != want {
			t.Errorf("%s is left: %v; %q", name, !want, left)
		}
	}
	_, err = bed.Cluster("hades").Kubectl(t.Context(), "--namespace", "default", "delete", "tlsoption.traefik.io", "exposed")
	testkit.Must(t, err)
}

// labelled is a TLSOption as usher makes it.
func labelled(t *testing.T, edge *Cluster, name string) string {
	t.Helper()
	id, err := identify(t.Context(), edge, "hades")
	testkit.Must(t, err)
	namespace, name, _ := strings.Cut(name, "/")
	var out bytes.Buffer
	testkit.Must(t, Print(&out, []*unstructured.Unstructured{tlsOption(id, client.ObjectKey{Namespace: namespace, Name: name})}, FormatYAML))
	return out.String()
}

func TestAddIsolates(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	removeAfterwards(t, edge, hades)
	o := options(io.Discard)
	o.Isolate = true
	o.Isolation.TLSOptions.Name = "public"
	inMember, atEdge, err := Plan(t.Context(), edge, hades, o)
	testkit.Must(t, err)
	said := add(t, edge, hades, func(o *Options) { o.Isolate, o.Isolation.TLSOptions.Name = true, "public" })
	wantText(t, said, "hades is ready", "TLSOption kube-system/public created", "MemberCluster hades updated in context edge")
	if got := memberOf(t, edge).Spec.Isolation; got == nil || got.TLSOptions.Name != "public" {
		t.Fatalf("spec.isolation is %+v", got)
	}
	applyPlan(t, "hades", inMember)
	applyPlan(t, "edge", atEdge)
	said = add(t, edge, hades, func(o *Options) { o.Isolate = true })
	for _, object := range append(inMember, atEdge...) {
		wantText(t, said, describe(object)+" unchanged")
	}
}

func TestIsolateIsPlannedWithoutAChange(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	add(t, edge, hades)
	apply(t, "hades", ingressRouteOf("default/app", public, "", "app.techn.is"))
	before := isolationSnapshot(t)
	var said bytes.Buffer
	inMember, atEdge, err := PlanIsolation(t.Context(), edge, hades, options(&said))
	testkit.Must(t, err)
	wantText(t, said.String(), "patch ingressroute.traefik.io app")
	if after := isolationSnapshot(t); !slices.Equal(before, after) || memberOf(t, edge).Spec.Isolation != nil {
		t.Errorf("before:\n%q\nafter:\n%q", before, after)
	}
	applyPlan(t, "hades", inMember)
	applyPlan(t, "edge", atEdge)
	text, err := isolate(t, edge, hades)
	testkit.Must(t, err)
	for _, object := range append(inMember, atEdge...) {
		wantText(t, text, describe(object)+" unchanged")
	}
}

func TestIsolateRefusesClearly(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	if _, err := isolate(t, edge, hades); !isUnknown(err) {
		t.Errorf("a member that was not added: %v", err)
	}
	add(t, edge, hades)
	if _, err := isolate(t, edge, edge); err == nil || !strings.Contains(err.Error(), "this cluster holds nothing of the member") {
		t.Errorf("another cluster: %v", err)
	}
	if err := edge.checkServesTLSOptions(); err == nil || !strings.Contains(err.Error(), "install the CRDs of Traefik 2.10 or later") {
		t.Errorf("a cluster without Traefik's kinds: %v", err)
	}
	before := isolationSnapshot(t)
	apply(t, "hades", strings.Replace(ingressRouteOf("kube-system/usher-catch-all", private, ""), "routes: []", "routes: [{kind: Rule, match: 'Host(`x.home`)'}]", 1))
	if _, err := isolate(t, edge, hades); !errors.Is(err, ErrConflict) {
		t.Errorf("a person's route has the name: %v", err)
	}
	if after := isolationSnapshot(t); slices.Contains(after, "exposed") != slices.Contains(before, "exposed") {
		t.Errorf("before:\n%q\nafter:\n%q", before, after)
	}
}

// A MemberCluster that the chart keeps is not edited: the chart would undo it.
func TestIsolateLeavesAnothersMemberClusterAlone(t *testing.T) {
	edge, hades := reach(t)
	apply(t, "edge", "{apiVersion: usher.techn.is/v1alpha1, kind: MemberCluster, metadata: {name: hades, labels: {app.kubernetes.io/managed-by: Helm}}}")
	said, err := isolate(t, edge, hades)
	testkit.Must(t, err)
	wantText(t, said, "was not made by usher cluster add: add this to its spec", "isolation:\n  tlsOptions:\n    name: exposed\n    namespace: kube-system")
	if memberOf(t, edge).Spec.Isolation != nil {
		t.Error("spec.isolation is set")
	}
	_, err = bed.Cluster("hades").Kubectl(t.Context(), "delete", traefikResources, "--all-namespaces", "-l", labelCluster+"=hades")
	testkit.Must(t, err)
}

// isolationSnapshot lists what isolation may write in both clusters, each with its version.
func isolationSnapshot(t *testing.T) []string {
	t.Helper()
	columns := "-o=custom-columns=:kind,:metadata.namespace,:metadata.name,:metadata.resourceVersion"
	out, err := bed.Cluster("hades").Kubectl(t.Context(), "get", "ingresses,"+traefikResources, "--all-namespaces", columns)
	testkit.Must(t, err)
	return strings.Fields(out)
}

// optionsOf is the name of the TLSOption that an IngressRoute refers to.
func optionsOf(t *testing.T, hades *Cluster, name string) string {
	t.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(ingressRouteKind)
	testkit.Must(t, hades.get(t.Context(), name, "default", o))
	options, _, err := unstructured.NestedString(o.Object, "spec", "tls", "options", "name")
	testkit.Must(t, err)
	return options
}
