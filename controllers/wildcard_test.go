package controllers_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// wildcard is a wildcard's IngressRoute.
func wildcard(name, host string, annotations ...string) string {
	return inSyntax("v3", ingressRoute(name, "Host(`"+host+"`)", annotations...))
}

// A wildcard of one cluster serves no host that anybody is refused.
func TestNoWildcardServesARefusedHost(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	addMember(t, c, "illmatic", func(mc *v1alpha1.MemberCluster) { mc.Spec.AllowedDomains = []string{"example.com"} })
	apply(t, "hades", wildcard("wild", "*.safe.techn.is", exposed))
	routed(t, table, "any.safe.techn.is", "hades")

	const vault = "vault.safe.techn.is"
	apply(t, "hades", ingressRoute("vault", "Host(`"+vault+"`)", exposed, "usher.techn.is/allow-from: 192.168.0.0/33"))
	refusedRoute(t, table, vault, "AnnotationInvalid")
	apply(t, "illmatic", ingressRoute("outside", "Host(`outside.safe.techn.is`)", exposed))
	refusedRoute(t, table, "outside.safe.techn.is", "AllowedDomains")
	create(t, c, &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "bare"}, Spec: v1alpha1.MemberClusterSpec{
		Kubeconfig: &v1alpha1.KubeconfigRef{SecretName: "none"},
	}})
	for name, spec := range map[string]v1alpha1.ExposedHostSpec{
		"NoBackend":        {Host: "off.safe.techn.is"},
		"NoIngressAddress": {Host: "lost.safe.techn.is", Backends: []v1alpha1.HostBackend{{Cluster: "bare"}}},
		"UnknownCluster":   {Host: "nobody.safe.techn.is", Backends: []v1alpha1.HostBackend{{Cluster: "nobody"}}},
	} {
		create(t, c, &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: spec.Host}, Spec: spec})
		refusedRoute(t, table, spec.Host, name)
	}
	// Below a wildcard that is refused nothing is served either.
	apply(t, "illmatic", wildcard("closed", "*.closed.techn.is", exposed))
	refusedRoute(t, table, "any.closed.techn.is", "AllowedDomains")

	// What is corrected is served; what is gone leaves no refusal behind.
	apply(t, "hades", ingressRoute("vault", "Host(`"+vault+"`)", exposed, "usher.techn.is/allow-from: 192.168.0.0/16"))
	routed(t, table, vault, "hades")
	testkit.Must(t, c.Delete(t.Context(), &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: "off.safe.techn.is"}}))
	routed(t, table, "off.safe.techn.is", "hades")
	remove(t, "illmatic", wildcard("closed", "*.closed.techn.is", exposed))
	refusedRoute(t, table, "any.closed.techn.is", "")
}

// While a host of its own goes from served to refused and back, the wildcard above it
// serves it at no moment.
func TestWildcardNeverStepsInForAHost(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	addMember(t, c, "illmatic", nil)
	apply(t, "hades", wildcard("wild", "*.steps.techn.is", exposed, sharing))
	const host, rule = "own.steps.techn.is", "Host(`own.steps.techn.is`)"
	apply(t, "illmatic", ingressRoute("own", rule, exposed))
	routed(t, table, host, "illmatic")

	stop := watchRoute(t, table, host, func(r *routing.Route) bool { return r != nil && r.Host == host })
	for range 5 {
		testkit.Must(t, bed.Cluster("illmatic").Apply(t.Context(), ingressRoute("own", rule, exposed, "usher.techn.is/plain-http: maybe")))
		refusedRoute(t, table, host, "AnnotationInvalid")
		testkit.Must(t, bed.Cluster("illmatic").Apply(t.Context(), ingressRoute("own", rule, exposed)))
		routed(t, table, host, "illmatic")
	}
	stop()
}

// watchRoute waits for a good route of a host: the table follows the objects. Then it looks
// the host up over and over until stop is called, and fails where a route is not good.
func watchRoute(t *testing.T, table *routing.Live, host string, good func(*routing.Route) bool) (stop func()) {
	t.Helper()
	testkit.Eventually(t, "a good route of "+host, func() error {
		if route := table.Load().Lookup(host); !good(route) {
			return fmt.Errorf("it is %+v", route)
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for last := (*routing.Table)(nil); ctx.Err() == nil; time.Sleep(20 * time.Microsecond) {
			now := table.Load()
			if route := now.Lookup(host); now != last && !good(route) {
				t.Errorf("%s had the route %+v", host, route)
			}
			last = now
		}
	}()
	return func() { cancel(); <-done }
}

// A host that only a decoder of internationalized names can tell to be wrong is not
// said to be served.
func TestHostThatNobodyCanAskForIsRefused(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	const host = "xn--bad.techn.is"
	create(t, c, &v1alpha1.ExposedHost{
		ObjectMeta: metav1.ObjectMeta{Name: host},
		Spec:       v1alpha1.ExposedHostSpec{Host: host, Backends: []v1alpha1.HostBackend{{Address: "192.0.2.50"}}},
	})
	eh := awaitHost(t, c, host, refused("HostInvalid"))
	if ready := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionReady); ready == nil || ready.Status != metav1.ConditionFalse {
		t.Errorf("Ready is %+v", ready)
	}
	refusedRoute(t, table, host, "HostInvalid")
}

// says checks that a host is accepted, and that its message holds a text.
func says(text string) func(*v1alpha1.ExposedHost) error {
	return func(eh *v1alpha1.ExposedHost) error {
		c := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionAccepted)
		if c == nil || c.Status != metav1.ConditionTrue || !strings.Contains(c.Message, text) {
			return fmt.Errorf("it is not accepted with %q: %+v", text, c)
		}
		return nil
	}
}

// A wildcard opens no name that its cluster serves and nobody annotated, whatever
// kind of object names it, and at no moment while annotations come and go.
func TestWildcardOpensNothingPrivate(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("ledger", "Host(`ledger.den.techn.is`) && PathPrefix(`/`)"))
	apply(t, "hades", ingress("photos", "photos.den.techn.is"))
	apply(t, "hades", strings.Replace(ingressRouteTCP("mail", "HostSNI(`mail.den.techn.is`)"), exposed, "a: b", 1))
	apply(t, "hades", inSyntax("v2", ingressRoute("two", "Host(`one.den.techn.is`, `two.den.techn.is`)")))
	apply(t, "hades", ingressRoute("regexp", "HostRegexp(`^r[0-9]+\\.den\\.techn\\.is$`)"))
	apply(t, "hades", ingressRoute("part", "Host(`said.den.techn.is`) || Host(`unsaid.den.techn.is`)", exposed, "usher.techn.is/hosts: said.den.techn.is"))
	apply(t, "hades", wildcard("wild", "*.den.techn.is", exposed))
	routed(t, table, "any.den.techn.is", "hades")
	routed(t, table, "said.den.techn.is", "hades")
	for _, label := range []string{"ledger", "photos", "mail", "one", "two", "unsaid"} {
		if route := table.Load().Lookup(label + ".den.techn.is"); route == nil || route.Refusal != routing.ReasonExcepted {
			t.Errorf("%s has the route %+v", label, route)
		}
	}
	awaitHost(t, c, "wildcard.den.techn.is", says("without an annotated object: ledger, mail, one, photos, two and 1 more"))
	awaitHost(t, c, "wildcard.den.techn.is", says("these objects do not list their hosts, so all hosts that they serve under the wildcard are published: IngressRoute default/regexp"))

	// One that comes later, goes, is annotated, and is private again.
	const late, rule = "late.den.techn.is", "Host(`late.den.techn.is`)"
	routed(t, table, late, "hades")
	apply(t, "hades", ingressRoute("late", rule))
	refusedRoute(t, table, late, routing.ReasonExcepted)
	stop := watchRoute(t, table, late, func(r *routing.Route) bool { return r != nil && (r.Host == late || r.Refusal != "") })
	for range 5 {
		testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), ingressRoute("late", rule, exposed)))
		routed(t, table, late, "hades")
		testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), ingressRoute("late", rule)))
		refusedRoute(t, table, late, routing.ReasonExcepted)
	}
	stop()
	remove(t, "hades", ingressRoute("late", rule))
	routed(t, table, late, "hades")
}

// A wildcard whose source says so opens all, and one that says it wrongly nothing.
func TestWholeWildcard(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("kept", "Host(`kept.whole.techn.is`)"))
	apply(t, "hades", wildcard("whole", "*.whole.techn.is", exposed, "usher.techn.is/wildcard: all"))
	routed(t, table, "kept.whole.techn.is", "hades")
	awaitHost(t, c, "wildcard.whole.techn.is", says("including these without an annotated object: kept"))
	apply(t, "hades", wildcard("whole", "*.whole.techn.is", exposed, "usher.techn.is/wildcard: 'true'"))
	awaitHost(t, c, "wildcard.whole.techn.is", refused("AnnotationInvalid"))
	refusedRoute(t, table, "any.whole.techn.is", "AnnotationInvalid")
	apply(t, "hades", wildcard("whole", "*.whole.techn.is", exposed))
	routed(t, table, "any.whole.techn.is", "hades")
	refusedRoute(t, table, "kept.whole.techn.is", routing.ReasonExcepted)
}

// What a wildcard does not cover stays excepted while its cluster is unreachable.
func TestExceptionsOutliveTheirCluster(t *testing.T) {
	c := edge(t)
	stop := startControllers(t, &routing.Live{})
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("buried", "Host(`buried.away.techn.is`)"))
	apply(t, "hades", wildcard("away", "*.away.techn.is", exposed))
	awaitHost(t, c, "wildcard.away.techn.is", ready("hades"))
	stop()

	hades := bed.Cluster("hades")
	hades.Stop()
	table := startUsher(t)
	awaitMember(t, c, "hades", v1alpha1.ConditionConnected, metav1.ConditionFalse, "Unreachable")
	routed(t, table, "any.away.techn.is", "hades")
	awaitHost(t, c, "wildcard.away.techn.is", says("not in sync"))
	refusedRoute(t, table, "buried.away.techn.is", routing.ReasonExcepted)
	testkit.Must(t, hades.Start(context.Background()))
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	refusedRoute(t, table, "buried.away.techn.is", routing.ReasonExcepted)
}

// Where more names are under a wildcard than it can except, it is refused.
func TestWildcardOverTooManyNamesIsRefused(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	var rules []string
	for i := range v1alpha1.MaxExcept + 1 {
		rules = append(rules, ingressRule(fmt.Sprintf("n%d.many.techn.is", i)))
	}
	many := func(rules []string) string {
		return "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: many, namespace: default}\nspec: {rules: [" + strings.Join(rules, ", ") + "]}\n"
	}
	apply(t, "hades", many(rules))
	apply(t, "hades", wildcard("many", "*.many.techn.is", exposed))
	awaitHost(t, c, "wildcard.many.techn.is", refused("TooManyNames"))
	refusedRoute(t, table, "any.many.techn.is", "TooManyNames")
	apply(t, "hades", many(rules[1:]))
	routed(t, table, "any.many.techn.is", "hades")
	refusedRoute(t, table, "n1.many.techn.is", routing.ReasonExcepted)
}

// A manually written wildcard is not changed: its message says what it opens, and the writer can except names.
func TestPersonsWildcardIsWarnedOf(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("diary", "Host(`diary.mine.techn.is`)"))
	eh := &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: "wildcard.mine.techn.is"}, Spec: v1alpha1.ExposedHostSpec{
		Host: "*.mine.techn.is", Backends: []v1alpha1.HostBackend{{Cluster: "hades"}},
	}}
	create(t, c, eh)
	awaitHost(t, c, eh.Name, says("add them to spec.except to refuse them: diary"))
	testkit.Must(t, c.Patch(t.Context(), eh, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"except":["diary"]}}`))))
	refusedRoute(t, table, "diary.mine.techn.is", routing.ReasonExcepted)
	routed(t, table, "any.mine.techn.is", "hades")
}

// Annotating one object of a host publishes the others of it; the ExposedHost says
// so, and where the cluster requires all to be annotated it is refused until they are.
func TestObjectsBesideAHost(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", "{apiVersion: v1, kind: Namespace, metadata: {name: other}}")
	const rule = "Host(`both.techn.is`)"
	admin := func(annotations ...string) string {
		return strings.Replace(ingressRoute("admin", rule+" && PathPrefix(`/admin`)", annotations...), "namespace: default", "namespace: other", 1)
	}
	apply(t, "hades", ingressRoute("both", rule, exposed))
	routed(t, table, "both.techn.is", "hades")
	apply(t, "hades", admin())
	awaitHost(t, c, "both.techn.is", says("and are published with it, because a TLS connection does not show the path: IngressRoute other/admin"))

	require := func(all bool) {
		mc := &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "hades"}}
		testkit.Must(t, c.Patch(t.Context(), mc, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"requireAll":%v}}`, all))))
	}
	require(true)
	awaitHost(t, c, "both.techn.is", refused("NotAllAnnotated"))
	refusedRoute(t, table, "both.techn.is", "NotAllAnnotated")
	testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), admin(exposed)))
	routed(t, table, "both.techn.is", "hades")
	apply(t, "hades", wildcard("over", "*.techn.is"))
	refusedRoute(t, table, "both.techn.is", "NotAllAnnotated")
	require(false)
	routed(t, table, "both.techn.is", "hades")
}

// An object that cert-manager makes for a challenge is beside no host.
func TestSolverIsBesideNoHost(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.RequireAll = true })
	apply(t, "hades", strings.Replace(ingress("solving", "solved.techn.is"), "annotations:", "labels: {acme.cert-manager.io/http01-solver: 'true'}, annotations:", 1))
	apply(t, "hades", ingressRoute("solved", "Host(`solved.techn.is`)", exposed))
	apply(t, "hades", ingressRoute("later", "Host(`later-than-solved.techn.is`)", exposed))
	routed(t, table, "later-than-solved.techn.is", "hades")
	routed(t, table, "solved.techn.is", "hades")
}
