package controllers_test

import (
	"context"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
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
	must(t, c.Delete(t.Context(), &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: "off.safe.techn.is"}}))
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
	apply(t, "hades", wildcard("wild", "*.steps.techn.is", exposed))
	const host, rule = "own.steps.techn.is", "Host(`own.steps.techn.is`)"
	apply(t, "illmatic", ingressRoute("own", rule, exposed))
	routed(t, table, host, "illmatic")

	stop := watchRoute(t, table, host, func(r *routing.Route) bool { return r != nil && r.Host == host })
	for range 5 {
		must(t, bed.Cluster("illmatic").Apply(t.Context(), ingressRoute("own", rule, exposed, "usher.techn.is/plain-http: maybe")))
		refusedRoute(t, table, host, "AnnotationInvalid")
		must(t, bed.Cluster("illmatic").Apply(t.Context(), ingressRoute("own", rule, exposed)))
		routed(t, table, host, "illmatic")
	}
	stop()
}

// watchRoute looks up a host over and over until stop is called, and fails where a
// route is not good.
func watchRoute(t *testing.T, table *routing.Live, host string, good func(*routing.Route) bool) (stop func()) {
	t.Helper()
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
