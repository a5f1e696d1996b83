package member

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/gatewayapi"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/hack/test/testkit"
)

// contexts are the contexts that objects are read in.
var contexts = map[string]source.Context{
	"of nothing": {},
	"of a cluster that publishes one class": {
		Cluster: "hades", IngressClasses: []string{"traefik"}, DefaultIngressClass: "nginx",
	},
	"of a cluster with parents": {
		Cluster: "hades",
		IngressRoute: func(string, string) *traefik.IngressRoute {
			return read[traefik.IngressRoute]("spec: {routes: [{match: Host(`p.x.io`)}]}")
		},
		Gateway: func(_, name string) *gatewayv1.Gateway {
			if name == "narrow" {
				return read[gatewayv1.Gateway]("metadata: {namespace: default, name: narrow}\nspec: {listeners: [{name: a, port: 443, protocol: HTTPS, hostname: a.x.io}]}")
			}
			return read[gatewayv1.Gateway]("metadata: {namespace: default, name: g}\nspec: {listeners: [{name: a, port: 443, protocol: HTTPS, hostname: '*.x.io'}, {name: b, port: 8443, protocol: TLS}]}")
		},
		ListenerSet: func(string, string, string) *gatewayv1.ListenerSet {
			return read[gatewayv1.ListenerSet]("metadata: {namespace: default, name: set}\nspec: {parentRef: {name: g}, listeners: [{name: a, port: 443, protocol: HTTPS, hostname: s.x.io}]}")
		},
		NamespaceLabels: func(string) map[string]string { return map[string]string{} },
	},
}

// An object claims and names the same hosts before and after it is trimmed, in every
// context.
func TestTrimmedObjectsClaimTheSame(t *testing.T) {
	for _, test := range []struct {
		name string
		kind string // and group, for Traefik's old one
		spec string
	}{
		{"hosts and a wildcard", source.KindIngress, "rules: [{host: a.x.io, http: {paths: [{path: /}]}}, {host: '*.x.io', http: {paths: [{path: /}]}}]"},
		{"of another class", source.KindIngress, "ingressClassName: nginx, rules: [{host: a.x.io, http: {paths: [{path: /}]}}]"},
		{"a default backend", source.KindIngress, "defaultBackend: {service: {name: app}}"},
		{"rules", source.KindIngressRoute, "routes: [{match: Host(`a.x.io`) || Host(`b.x.io`)}, {match: 'Host('}]"},
		{"of no syntax, and both", source.KindIngressRoute, "routes: [{match: Host(`*.x.io`)}, {match: 'Host(`a.x.io`, `b.x.io`)'}]"},
		{"parents", source.KindIngressRoute, "parentRefs: [{name: p}], routes: [{match: PathPrefix(`/`)}]"},
		{"in the old group", source.KindIngressRoute + " of old", "routes: [{match: Host(`a.x.io`)}]"},
		{"parents in the old group", source.KindIngressRoute + " of old", "parentRefs: [{name: p}], routes: [{match: PathPrefix(`/`)}]"},
		{"server names", source.KindIngressRouteTCP, "tls: {}, routes: [{match: HostSNI(`a.x.io`)}]"},
		{"without TLS", source.KindIngressRouteTCP, "routes: [{match: HostSNI(`a.x.io`)}]"},
		{"in the old group", source.KindIngressRouteTCP + " of old", "tls: {}, routes: [{match: HostSNI(`a.x.io`)}]"},
		{"its own hostname", source.KindHTTPRoute, "parentRefs: [{name: g}], hostnames: [a.x.io]"},
		{"its own hostnames, in capitals", source.KindHTTPRoute, "parentRefs: [{name: g}], hostnames: [A.x.io, other.example.org]"},
		{"a wildcard that its listener narrows", source.KindHTTPRoute, "parentRefs: [{name: narrow}], hostnames: ['*.x.io', b.x.io]"},
		{"its listeners' hostnames", source.KindHTTPRoute, "parentRefs: [{name: g}]"},
		{"its own hostname", source.KindTLSRoute, "parentRefs: [{name: g}], hostnames: [a.x.io]"},
		{"its own hostname", source.KindTLSRoute + " of v1alpha3", "parentRefs: [{name: g}], hostnames: [a.x.io]"},
		{"its own hostname", source.KindTLSRoute + " of v1alpha2", "parentRefs: [{name: g}], hostnames: [a.x.io]"},
		{"its own hostname", source.KindGRPCRoute, "parentRefs: [{name: g}], hostnames: [a.x.io]"},
		{"a ListenerSet's hostnames", source.KindGRPCRoute, "parentRefs: [{kind: ListenerSet, name: set}]"},
	} {
		for annotation, metadata := range map[string]string{
			"":                   "usher.techn.is/expose: 'true'",
			"naming hosts":       "usher.techn.is/expose: 'true', usher.techn.is/hosts: 'A.x.io, p.x.io, bad host'",
			"malformed":          "usher.techn.is/expose: 'true', usher.techn.is/allow-from: me",
			"not exposed at all": "usher.techn.is/expose: 'yes'",
		} {
			t.Run(strings.Join([]string{test.kind, test.name, annotation}, " "), func(t *testing.T) {
				k := kindNamed(t, test.kind)
				o := k.object.DeepCopyObject().(client.Object)
				status := "{parents: [{parentRef: {name: g}, conditions: [{type: Accepted, status: 'True'}]}, {parentRef: {name: narrow}, conditions: [{type: Accepted, status: 'True'}]}, {parentRef: {kind: ListenerSet, name: set}, conditions: [{type: Accepted, status: 'True'}]}]}"
				testkit.Must(t, yaml.Unmarshal([]byte("metadata: {namespace: default, name: o, annotations: {"+metadata+"}}\nspec: {"+test.spec+"}\n"), o))
				accept(t, o, status)
				checkTrimmed(t, k, o)
			})
		}
	}
}

// A Gateway and a ListenerSet keep what a route needs of them.
func TestTrimmedParentsServeTheSame(t *testing.T) {
	set := read[gatewayv1.ListenerSet]("metadata: {namespace: default, name: set}\nspec: {parentRef: {name: g}, listeners: [{name: a, port: 443, protocol: HTTPS, hostname: s.x.io}]}\nstatus: {conditions: [{type: Programmed, status: 'False'}, {type: Accepted, status: 'True', message: long}]}")
	gateway := read[gatewayv1.Gateway]("metadata: {namespace: default, name: g}\nspec: {gatewayClassName: traefik, listeners: [{name: a, port: 443, protocol: HTTPS}]}\nstatus: {addresses: [{value: 192.0.2.10}]}")
	other := read[gatewayv1.Gateway]("metadata: {namespace: default, name: other}\nspec: {gatewayClassName: other, listeners: [{name: a, port: 443, protocol: HTTPS}]}")
	route := read[gatewayv1.HTTPRoute]("metadata: {namespace: default, name: o, annotations: {usher.techn.is/expose: 'true'}}\nspec: {parentRefs: [{kind: ListenerSet, name: set}]}\nstatus: {parents: [{parentRef: {kind: ListenerSet, name: set}, conditions: [{type: Accepted, status: 'True'}]}]}")
	claims := func() []source.Claim {
		return source.FromHTTPRoute(route, source.Context{
			Gateway:     func(string, string) *gatewayv1.Gateway { return gateway },
			ListenerSet: func(string, string, string) *gatewayv1.ListenerSet { return set },
			Gateways: func() *source.Gateways {
				return source.NewGateways([]*gatewayv1.Gateway{gateway, other}, []string{"192.0.2.10"}, true)
			},
		}).Claims
	}
	whole := claims()
	set, gateway, other = trim(set).(*gatewayv1.ListenerSet), trim(gateway).(*gatewayv1.Gateway), trim(other).(*gatewayv1.Gateway)
	if trimmed := claims(); len(whole) != 1 || whole[0].Host != "s.x.io" || whole[0].Refusal != nil || !reflect.DeepEqual(whole, trimmed) {
		t.Errorf("the route claims %+v, and %+v when its parents are trimmed", whole, trimmed)
	}
	if len(set.Status.Conditions) != 1 || set.Status.Conditions[0].Message != "" {
		t.Errorf("the ListenerSet keeps %+v", set.Status)
	}
}

// accept gives a route of the Gateway API its status.
func accept(t *testing.T, o client.Object, status string) {
	t.Helper()
	switch o.(type) {
	case *gatewayv1.HTTPRoute, *gatewayv1.GRPCRoute, *gatewayv1.TLSRoute, *gatewayapi.TLSRouteV1alpha2, *gatewayapi.TLSRouteV1alpha3:
		testkit.Must(t, yaml.Unmarshal([]byte("status: "+status), o))
	}
}

// checkTrimmed compares what an object claims before and after it was trimmed.
func checkTrimmed(t *testing.T, k kind, whole client.Object) {
	t.Helper()
	trimmed := trim(whole.DeepCopyObject()).(client.Object)
	checkNames(t, k, whole, trimmed)
	for name, in := range contexts {
		claims, kept := k.claims(whole, in), k.claims(trimmed, in)
		if !reflect.DeepEqual(claims, kept) {
			t.Errorf("in a context %s it claims %+v, and %+v when it is trimmed", name, claims, kept)
		}
	}
}

// checkNames compares the names of an object before and after it is trimmed. It also
// compares them with the claims that the object would make if it were exposed and did
// not list hosts in its annotation.
func checkNames(t *testing.T, k kind, whole, trimmed client.Object) {
	t.Helper()
	named := k.names(whole)
	if kept := k.names(trimmed); !reflect.DeepEqual(kept, named) {
		t.Errorf("it names %+v, and %+v when it is trimmed", named, kept)
	}
	if len(named.Within) > 0 {
		return // it claims what its parents name
	}
	whole = whole.DeepCopyObject().(client.Object)
	whole.SetAnnotations(map[string]string{v1alpha1.AnnotationExpose: "true"})
	result := k.claims(whole, source.Context{})
	for _, claim := range result.Claims {
		if claim.Refusal == nil && !slices.Contains(named.Hosts, claim.Host) {
			t.Errorf("it would claim %s, and names %+v", claim.Host, named)
		}
	}
}

// kindNamed returns the kind of source of a name: in Traefik's old API group if " of old"
// follows, or in a version that " of VERSION" names.
func kindNamed(t *testing.T, name string) kind {
	t.Helper()
	short, of, _ := strings.Cut(name, " of ")
	for _, k := range sources {
		if k.gvk.Kind == short && (of == "" || of == k.gvk.Version || of == "old" && k.gvk.GroupVersion() == traefik.ContainousGroupVersion) {
			return k
		}
	}
	t.Fatalf("no kind %s", name)
	return kind{}
}

// read decodes an object of a test.
func read[T any](manifest string) *T {
	o := new(T)
	if err := yaml.Unmarshal([]byte(manifest), o); err != nil {
		panic(err)
	}
	return o
}

// A trimmed Ingress that is not annotated keeps nothing but its name, dates and hosts.
func TestTrimLeavesLittle(t *testing.T) {
	o := read[networkingv1.Ingress]("metadata: {name: a, namespace: b, labels: {c: d}, annotations: {e: f}, managedFields: [{manager: g}]}\nspec: {rules: [{host: a.x.io, http: {paths: [{path: /}]}}], ingressClassName: traefik, tls: [{hosts: [a.x.io]}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}")
	trimmed := trim(o)
	got, err := yaml.Marshal(trimmed)
	testkit.Must(t, err)
	if want := "metadata:\n  name: a\n  namespace: b\nspec:\n  rules:\n  - host: a.x.io\nstatus:\n  loadBalancer: {}\n"; string(got) != want {
		t.Errorf("it keeps\n%s", got)
	}
}
