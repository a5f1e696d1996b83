package traefik

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sync/errgroup"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

// seed makes the generated rules the same each time. A failure prints the rule.
const seed = 1

// workers is how many rules are written or queried at once.
const workers = 8

// plan has the number of objects for each kind and grammar.
var plan = []struct {
	kind    string
	grammar grammar
	objects int
}{
	{source.KindIngressRoute, httpV3, 110},
	{source.KindIngressRoute, httpV2, 50},
	{source.KindIngressRoute, unsaid(httpV3), 40},
	{source.KindIngressRoute, unsaid(httpV2), 40},
	{source.KindIngressRouteTCP, tcpV3, 50},
	{source.KindIngressRouteTCP, tcpV2, 30},
	{source.KindIngressRouteTCP, unsaid(tcpV3), 15},
	{source.KindIngressRouteTCP, unsaid(tcpV2), 15},
}

const ingresses = 30

// generate creates the objects of the plan, with their apps.
func generate(t *testing.T, cluster *testbed.Cluster) []*subject {
	t.Helper()
	app, err := cluster.StartApp(t.Context(), "default", "app")
	testkit.Must(t, err)
	apps := map[string]*testbed.App{source.KindIngressRoute: app, source.KindIngressRouteTCP: startTLSApp(t, cluster)}
	random := rand.New(rand.NewPCG(seed, 0))
	var subjects []*subject
	for _, p := range plan {
		for range p.objects {
			s := newSubject(random, len(subjects), p.kind, p.grammar)
			s.manifest = s.traefikManifest(p.grammar, apps[p.kind])
			subjects = append(subjects, s)
		}
	}
	for range ingresses {
		subjects = append(subjects, newIngress(random, len(subjects), app))
	}
	return append(subjects, sentinels(app, apps[source.KindIngressRouteTCP])...)
}

// write applies all objects, with a sentinel of each kind at the end, and returns when
// Traefik has read the sentinels.
func write(t *testing.T, cluster *testbed.Cluster, proxy *testbed.Traefik, subjects []*subject) {
	t.Helper()
	last := len(subjects) - len(sentinelHosts)
	writers, ctx := errgroup.WithContext(t.Context())
	writers.SetLimit(workers)
	for _, s := range subjects[:last] {
		writers.Go(func() error { return cluster.Apply(ctx, s.manifest) })
	}
	testkit.Must(t, writers.Wait())
	for _, s := range subjects[last:] {
		testkit.Must(t, cluster.Apply(t.Context(), s.manifest))
		testkit.Must(t, proxy.AwaitHost(t.Context(), sentinelHosts[s.kind]))
	}
}

// sentinelHosts: kind → the host of the object of that kind that is written last.
// Traefik reads each kind in the order in which its objects are written.
var sentinelHosts = map[string]string{
	source.KindIngress: "ingress.sentinel", source.KindIngressRoute: "route.sentinel", source.KindIngressRouteTCP: "tcp.sentinel",
}

func sentinels(app, tlsApp *testbed.App) []*subject {
	ingress := &subject{name: "sentinel", kind: source.KindIngress}
	ingress.rules = []string{ingress.ingressRule(sentinelHosts[ingress.kind], true, app)}
	ingress.manifest = ingress.ingressManifest()
	route := &subject{name: "sentinel", kind: source.KindIngressRoute, rules: []string{"Host(`" + sentinelHosts[source.KindIngressRoute] + "`)"}}
	route.manifest = route.traefikManifest(httpV3, app)
	tcp := &subject{name: "sentinel", kind: source.KindIngressRouteTCP, rules: []string{"HostSNI(`" + sentinelHosts[source.KindIngressRouteTCP] + "`)"}}
	tcp.manifest = tcp.traefikManifest(tcpV3, tlsApp)
	return []*subject{ingress, route, tcp}
}

// readBack sets the object of each subject to the stored one of the API server.
func readBack(ctx context.Context, cluster *testbed.Cluster, subjects []*subject) error {
	scheme := runtime.NewScheme()
	_ = networkingv1.AddToScheme(scheme)
	_ = traefik.AddToScheme(scheme)
	c, err := client.New(cluster.Config(), client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	objects := map[string]func() client.Object{ // kind → a new object
		source.KindIngress:         func() client.Object { return &networkingv1.Ingress{} },
		source.KindIngressRoute:    func() client.Object { return &traefik.IngressRoute{} },
		source.KindIngressRouteTCP: func() client.Object { return &traefik.IngressRouteTCP{} },
	}
	for _, s := range subjects {
		s.object = objects[s.kind]()
		if err := c.Get(ctx, client.ObjectKey{Namespace: "default", Name: s.name}, s.object); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}
