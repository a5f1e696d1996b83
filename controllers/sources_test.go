package controllers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
)

// ingress is an Ingress of one host, without a class.
func ingress(name, host string, annotations ...string) string {
	return fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: %s, namespace: default, annotations: {%s}}\nspec: {rules: [%s]}\n",
		name, strings.Join(annotations, ", "), ingressRule(host))
}

func ingressRule(host string) string {
	return fmt.Sprintf("{host: %q, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}}", host)
}

// withSpec adds a field to the end of a manifest's spec.
func withSpec(manifest, field string) string {
	if before, isFlow := strings.CutSuffix(manifest, "}\n"); isFlow {
		return before + ", " + field + "}\n"
	}
	return manifest + "  " + field + "\n"
}

// inSyntax says the syntax of an ingressRoute's rule.
func inSyntax(syntax, manifest string) string {
	return strings.Replace(manifest, "kind: Rule", "kind: Rule\n    syntax: "+syntax, 1)
}

func TestTCPRoutesAndWildcardsAreSources(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRouteTCP("mail", "HostSNI(`mail.techn.is`) && !ALPN(`h2`)"))
	apply(t, "hades", inSyntax("v3", ingressRoute("wild", "Host(`*.wild.techn.is`)", exposed)))
	awaitHost(t, c, "mail.techn.is", ready("hades"))
	awaitHost(t, c, "wildcard.wild.techn.is", ready("hades"))
	routed(t, table, "mail.techn.is", "hades")
	routed(t, table, "any.wild.techn.is", "hades")
	routed(t, table, "two.labels.wild.techn.is", "")
	routed(t, table, "wild.techn.is", "")
}

// A parent's rule counts for its children, whether it is annotated or not.
func TestIngressRouteFollowsItsParent(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", withSpec(ingressRoute("child", "PathPrefix(`/child`)", exposed), "parentRefs: [{name: parent}]"))
	apply(t, "hades", ingressRoute("parent", "Host(`family.techn.is`)"))
	routed(t, table, "family.techn.is", "hades")
	testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), ingressRoute("parent", "Host(`moved-family.techn.is`)")))
	routed(t, table, "moved-family.techn.is", "hades")
	awaitGone(t, c, "family.techn.is")
	remove(t, "hades", ingressRoute("parent", ""))
	awaitGone(t, c, "moved-family.techn.is")
	routed(t, table, "moved-family.techn.is", "")
}

func TestIngressClasses(t *testing.T) {
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.IngressClasses = []string{"traefik"} })
	const annotation = "kubernetes.io/ingress.class: "
	refusedClass, admitted := refused("IngressClass"), ready("hades")
	for _, test := range []struct {
		name, manifest string
		want           func(*v1alpha1.ExposedHost) error
	}{
		{"ingress-none", ingress("ingress-none", "ingress-none.techn.is", exposed), admitted},
		{"ingress-field", withSpec(ingress("ingress-field", "ingress-field.techn.is", exposed), "ingressClassName: traefik"), admitted},
		{"ingress-other-field", withSpec(ingress("ingress-other-field", "ingress-other-field.techn.is", exposed), "ingressClassName: nginx"), refusedClass},
		{"ingress-other-annotation", ingress("ingress-other-annotation", "ingress-other-annotation.techn.is", exposed, annotation+"nginx"), refusedClass},
		{"route-none", ingressRoute("route-none", "Host(`route-none.techn.is`)", exposed), admitted},
		{"route-field", withSpec(ingressRoute("route-field", "Host(`route-field.techn.is`)", exposed), "ingressClassName: traefik"), admitted},
		{"route-other-field", withSpec(ingressRoute("route-other-field", "Host(`route-other-field.techn.is`)", exposed), "ingressClassName: nginx"), refusedClass},
		{"route-other-annotation", ingressRoute("route-other-annotation", "Host(`route-other-annotation.techn.is`)", exposed, annotation+"nginx"), refusedClass},
	} {
		apply(t, "hades", test.manifest)
		awaitHost(t, c, test.name+".techn.is", test.want)
	}

	// What has no class belongs to the cluster's default, which may change.
	class := "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: nginx, annotations: {ingressclass.kubernetes.io/is-default-class: %q}}\nspec: {controller: example.com/nginx}\n"
	apply(t, "hades", fmt.Sprintf(class, "true"))
	awaitHost(t, c, "ingress-none.techn.is", refusedClass)
	awaitHost(t, c, "ingress-field.techn.is", admitted)
	testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), fmt.Sprintf(class, "false")))
	awaitHost(t, c, "ingress-none.techn.is", admitted)

	// So may the classes that the cluster publishes.
	var mc v1alpha1.MemberCluster
	testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc))
	testkit.Must(t, c.Patch(t.Context(), &mc, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"ingressClasses":["nginx"]}}`))))
	awaitHost(t, c, "route-field.techn.is", refusedClass)
	awaitHost(t, c, "route-other-field.techn.is", admitted)
}

func TestHostsAnnotationNamesWhatARuleDoesNot(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", inSyntax("v3", ingressRoute("regexp", "HostRegexp(`^(one|two)\\.named\\.techn\\.is$`)", exposed, "usher.techn.is/hosts: 'one.named.techn.is, three.named.techn.is'")))
	awaitHost(t, c, "one.named.techn.is", ready("hades"))
	awaitHost(t, c, "three.named.techn.is", refused("HostNotCovered"))
	routed(t, table, "two.named.techn.is", "")
	routed(t, table, "three.named.techn.is", "")
}

// cert-manager's solver has its owner's annotations, and is never listed.
func TestSolverNeverClaims(t *testing.T) {
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", strings.Replace(ingress("solver", "solver.techn.is", exposed), "annotations:", "labels: {acme.cert-manager.io/http01-solver: 'true'}, annotations:", 1))
	apply(t, "hades", ingress("later", "later-than-solver.techn.is", exposed))
	awaitHost(t, c, "later-than-solver.techn.is", ready("hades"))
	if err := c.Get(t.Context(), client.ObjectKey{Name: "solver.techn.is"}, &v1alpha1.ExposedHost{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the solver's host is listed (%v)", err)
	}
}

// Of several sources of one cluster each narrows the host; that another asks for
// more is said where a person looks.
func TestDifferingOptionsAreReported(t *testing.T) {
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("differ-a", "Host(`differ.techn.is`)", exposed, "usher.techn.is/allow-from: 192.168.0.0/16"))
	awaitHost(t, c, "differ.techn.is", ready("hades"))
	apply(t, "hades", ingressRoute("differ-b", "Host(`differ.techn.is`) && Path(`/b`)", exposed))
	eh := awaitHost(t, c, "differ.techn.is", func(eh *v1alpha1.ExposedHost) error {
		accepted := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionAccepted)
		const said = "IngressRoute default/differ-b of cluster hades requests allow-from everyone, but allow-from 192.168.0.0/16 applies, because IngressRoute default/differ-a of cluster hades is stricter"
		if strings.Count(accepted.Message, said) != 1 {
			return fmt.Errorf("the message is %q", accepted.Message)
		}
		return nil
	})
	if !slices.Equal(eh.Spec.AllowFrom, []string{"192.168.0.0/16"}) || len(eh.Status.Sources) != 2 {
		t.Errorf("it is %+v, from %v", eh.Spec, eh.Status.Sources)
	}
	awaitEvent(t, c, "differ.techn.is", "OptionsDiffer")
}

// The refusals that name no host are those of the newest sources, in an order
// that does not change.
func TestNewestRefusalsAreKept(t *testing.T) {
	c := edge(t)
	apply(t, "hades", ingressRoute("nameless-first", "PathPrefix(`/`)", exposed))
	testkit.Eventually(t, "a later second", func() error { return laterThan(t, "hades", "nameless-first") })
	var want []string
	for i := range 10 {
		name := fmt.Sprintf("nameless-%d", i)
		apply(t, "hades", ingressRoute(name, "PathPrefix(`/`)", exposed))
		want = append(want, name)
	}
	startUsher(t)
	addMember(t, c, "hades", nil)
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	testkit.Eventually(t, "the refusals", func() error {
		var mc v1alpha1.MemberCluster
		if err := c.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc); err != nil {
			return err
		}
		var got []string
		for _, refusal := range mc.Status.Refusals {
			got = append(got, refusal.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("are of %v", got)
		}
		return nil
	})
}

// An object whose annotation is misspelled is not published, and reported.
func TestMisspelledAnnotationsAreReported(t *testing.T) {
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", nil)
	refusals := func(want ...string) {
		t.Helper()
		testkit.Eventually(t, "refusals should be "+strings.Join(want, ", "), func() error {
			var mc v1alpha1.MemberCluster
			if err := c.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc); err != nil {
				return err
			}
			var got []string
			for _, refusal := range mc.Status.Refusals {
				got = append(got, refusal.Name+" "+refusal.Reason)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				return fmt.Errorf("they are %+v", mc.Status.Refusals)
			}
			return nil
		})
	}
	apply(t, "hades", ingress("name", "name.typo.is", `usher.techn.is/exposed: "true"`))
	apply(t, "hades", ingress("case", "case.typo.is", `usher.techn.is/Expose: "true"`))
	apply(t, "hades", ingress("value", "value.typo.is", `usher.techn.is/expose: "yes"`))
	apply(t, "hades", ingress("not", "not.typo.is", `usher.techn.is/expose: "false"`, `usher.techn.is/plain-http: deny`))
	refusals("case AnnotationInvalid", "name AnnotationInvalid", "value AnnotationInvalid")
	for _, name := range []string{"name", "case", "value"} {
		apply(t, "hades", ingress(name, name+".typo.is", `usher.techn.is/expose: "false"`))
	}
	remove(t, "hades", ingress("name", "name.typo.is"))
	apply(t, "hades", ingress("name", "name.typo.is", exposed))
	awaitHost(t, c, "name.typo.is", ready("hades"))
	remove(t, "hades", ingress("case", "case.typo.is"))
	refusals()
}
