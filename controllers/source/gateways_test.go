package source_test

import (
	"fmt"
	"strings"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/controllers/source"
)

// The controllers of the tests' Gateways.
const (
	traefikController = "traefik.io/gateway-controller"
	otherController   = "io.cilium/gateway-controller"
)

// gatewayAt is a Gateway apps/NAME of a class with addresses in its status.
func gatewayAt(t *testing.T, name, class string, addresses ...string) *gatewayv1.Gateway {
	t.Helper()
	g := decode[gatewayv1.Gateway](t, fmt.Sprintf("metadata: {namespace: apps, name: %s}\nspec: {gatewayClassName: %s, listeners: [{name: web, port: 443, protocol: HTTPS}]}", name, class))
	for _, address := range addresses {
		g.Status.Addresses = append(g.Status.Addresses, gatewayv1.GatewayStatusAddress{Value: address})
	}
	return g
}

// Of several Gateways, only one that answers at the member's ingress publishes. With a
// single one nothing speaks against it.
func TestRoutesAreOfTheGatewayAtTheIngress(t *testing.T) {
	g := func(name, class string, addresses ...string) *gatewayv1.Gateway {
		return gatewayAt(t, name, class, addresses...)
	}
	mesh := g("mesh", "istio-waypoint")
	mesh.Spec.Listeners[0].Protocol = "HBONE"
	many := []*gatewayv1.Gateway{g("own", "cilium")}
	for i := range 300 {
		many = append(many, g(fmt.Sprint("more", i), "cilium", "192.0.2.99"))
	}
	const published, refused = "a.techn.is []", "a.techn.is=GatewayElsewhere []"
	for _, test := range []struct {
		name       string
		gateways   []*gatewayv1.Gateway // the first accepts the route
		controller string
		ingress    []string
		traefik    bool // the ingress is known to be Traefik's
		classes    []string
		want       string
	}{
		{"one, without addresses", []*gatewayv1.Gateway{g("own", "traefik")}, traefikController, []string{"192.0.2.10"}, true, nil, published},
		{"one, with the address", []*gatewayv1.Gateway{g("own", "traefik", "192.0.2.10")}, traefikController, []string{"192.0.2.10"}, true, nil, published},
		{"one, with the address in another form", []*gatewayv1.Gateway{g("own", "cilium", "::ffff:192.0.2.10")}, otherController, []string{"192.0.2.10"}, true, nil, published},
		{"one, with an address within its cluster", []*gatewayv1.Gateway{g("own", "traefik", "10.43.1.2")}, traefikController, []string{"192.0.2.10"}, true, nil, published},
		{"one, with a name", []*gatewayv1.Gateway{g("own", "traefik", "lb.example.org")}, traefikController, []string{"192.0.2.10"}, true, nil, published},
		{"one of another controller, where nothing is known of the ingress", []*gatewayv1.Gateway{g("own", "cilium", "10.43.1.2")}, otherController, []string{"192.0.2.10"}, false, nil, published},
		{"one of another controller, beside Traefik", []*gatewayv1.Gateway{g("own", "cilium", "192.0.2.99")}, otherController, []string{"192.0.2.10"}, true, nil, refused},
		{"one of another controller, beside Traefik, without addresses", []*gatewayv1.Gateway{g("own", "cilium")}, otherController, []string{"192.0.2.10"}, true, nil, refused},
		{"the same, and its class is named", []*gatewayv1.Gateway{g("own", "cilium")}, otherController, []string{"192.0.2.10"}, true, []string{"traefik", "cilium"}, published},
		{"another class is named", []*gatewayv1.Gateway{g("own", "cilium", "192.0.2.10")}, otherController, []string{"192.0.2.10"}, false, []string{"traefik"}, "a.techn.is=IngressClass []"},
		{"two of one Traefik", []*gatewayv1.Gateway{g("own", "traefik"), g("other", "traefik")}, traefikController, []string{"192.0.2.10"}, true, nil, published},
		{"two of one Traefik, seen from elsewhere", []*gatewayv1.Gateway{g("own", "traefik", "10.0.0.1"), g("other", "traefik", "10.0.0.1")}, traefikController, []string{"192.0.2.10"}, false, nil, published},
		{"two classes of Traefik, without addresses", []*gatewayv1.Gateway{g("own", "outer"), g("other", "inner")}, traefikController, []string{"192.0.2.10"}, true, nil, refused},
		{"two of another controller, this one at the ingress", []*gatewayv1.Gateway{g("own", "cilium", "192.0.2.10"), g("other", "cilium", "192.0.2.11")}, otherController, []string{"192.0.2.10"}, false, nil, published},
		{"two of another controller, the other one at the ingress", []*gatewayv1.Gateway{g("own", "cilium", "192.0.2.11"), g("other", "cilium", "192.0.2.10")}, otherController, []string{"192.0.2.10"}, false, nil, refused},
		{"the other one at the ingress, this one without addresses", []*gatewayv1.Gateway{g("own", "cilium"), g("other", "cilium", "192.0.2.10")}, otherController, []string{"192.0.2.10"}, false, nil, refused},
		{"two of another controller, none at the ingress", []*gatewayv1.Gateway{g("own", "cilium", "192.0.2.11"), g("other", "cilium", "192.0.2.12")}, otherController, []string{"192.0.2.10"}, false, nil, refused},
		{"two of another controller, without addresses", []*gatewayv1.Gateway{g("own", "cilium"), g("other", "cilium")}, otherController, []string{"192.0.2.10"}, false, nil, refused},
		{"two at one address", []*gatewayv1.Gateway{g("own", "cilium", "10.0.0.1"), g("other", "cilium", "10.0.0.1")}, otherController, []string{"192.0.2.10"}, false, nil, published},
		{"the other one is elsewhere, this one without addresses", []*gatewayv1.Gateway{g("own", "traefik"), g("other", "cilium", "192.0.2.11")}, traefikController, []string{"192.0.2.10"}, false, nil, published},
		{"the other one has a name, which may be any address", []*gatewayv1.Gateway{g("own", "traefik"), g("other", "cilium", "lb.example.org")}, traefikController, []string{"192.0.2.10"}, false, nil, refused},
		{"the other one has IPv6, the ingress IPv4", []*gatewayv1.Gateway{g("own", "traefik"), g("other", "cilium", "2001:db8::1")}, traefikController, []string{"192.0.2.10"}, false, nil, refused},
		{"the ingress has a name, and this one too", []*gatewayv1.Gateway{g("own", "cilium", "LB.example.org."), g("other", "cilium", "192.0.2.11")}, otherController, []string{"lb.example.org"}, false, nil, published},
		{"the ingress has no address, of two", []*gatewayv1.Gateway{g("own", "cilium", "192.0.2.10"), g("other", "cilium", "192.0.2.11")}, otherController, nil, false, nil, refused},
		{"a Gateway of a mesh does not count", []*gatewayv1.Gateway{g("own", "traefik"), mesh}, traefikController, []string{"192.0.2.10"}, false, nil, published},
		{"more than are compared", many, otherController, []string{"192.0.2.10"}, false, nil, refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := hades
			in.IngressClasses = test.classes
			in.Gateway = func(string, string) *gatewayv1.Gateway { return test.gateways[0] }
			in.Gateways = func() *source.Gateways { return source.NewGateways(test.gateways, test.ingress, test.traefik) }
			manifest := strings.ReplaceAll(accepted("{name: own}", "a.techn.is"), traefikController, test.controller)
			result := translate(t, source.KindHTTPRoute, manifest, in)
			if got := summary(result); got != test.want {
				t.Errorf("it becomes %s, want %s: %+v", got, test.want, result)
			}
			checkMessages(t, result)
			if refusal := refusalOf(result); test.want == refused && !strings.HasSuffix(refusal, "set spec.ingress.gateways: true") {
				t.Errorf("the message gives no advice: %s", refusal)
			}
			for _, claim := range result.Claims {
				if claim.Options.Gateway != "" {
					t.Errorf("it is led to Gateway %s", claim.Options.Gateway)
				}
			}
		})
	}
}

// refusalOf returns the message of the first refused claim.
func refusalOf(r source.Result) string {
	for _, claim := range r.Claims {
		if claim.Refusal != nil {
			return claim.Refusal.Message
		}
	}
	return ""
}

// With spec.ingress.gateways, a host is led to its own Gateway, unless that answers at
// the ingress.
func TestRoutesAreLedToTheirOwnGateway(t *testing.T) {
	own := gatewayAt(t, "own", "cilium", "192.0.2.11")
	front := gatewayAt(t, "front", "traefik", "192.0.2.10")
	empty := gatewayAt(t, "empty", "cilium")
	named := gatewayAt(t, "named", "cilium", "lb.example.org")
	third := gatewayAt(t, "third", "cilium", "192.0.2.12")
	all := []*gatewayv1.Gateway{own, front, empty, named, third}
	in := hades
	in.OwnGateways = true
	in.Gateways = func() *source.Gateways { return source.NewGateways(all, []string{"192.0.2.10"}, true) }
	in.Gateway = func(_, name string) *gatewayv1.Gateway {
		for _, g := range all {
			if g.Name == name {
				return g
			}
		}
		return nil
	}
	status := func(parents ...string) string {
		var list []string
		for _, parent := range parents {
			list = append(list, fmt.Sprintf("{parentRef: {name: %s}, controllerName: %s, conditions: [{type: Accepted, status: 'True', reason: x, message: x, lastTransitionTime: null}]}", parent, otherController))
		}
		return "{parents: [" + strings.Join(list, ", ") + "]}"
	}
	for _, test := range []struct {
		name    string
		parents []string
		gateway string
		want    string
	}{
		{"its own", []string{"own"}, "apps/own", "a.techn.is []"},
		{"the one at the ingress", []string{"front"}, "", "a.techn.is []"},
		{"both: the one at the ingress", []string{"own", "front"}, "", "a.techn.is []"},
		{"two of its own: the first", []string{"third", "own"}, "apps/third", "a.techn.is []"},
		{"one without an address", []string{"empty"}, "", "a.techn.is=GatewayElsewhere []"},
		{"one with a name", []string{"named"}, "", "a.techn.is=GatewayElsewhere []"},
		{"one without an address, and its own", []string{"empty", "own"}, "apps/own", "a.techn.is []"},
	} {
		t.Run(test.name, func(t *testing.T) {
			result := translate(t, source.KindGRPCRoute, exposed+"spec: {parentRefs: [{name: "+strings.Join(test.parents, "}, {name: ")+"}], hostnames: [a.techn.is]}\nstatus: "+status(test.parents...), in)
			if got := summary(result); got != test.want {
				t.Fatalf("it becomes %s, want %s: %+v", got, test.want, result)
			}
			if got := result.Claims[0].Options.Gateway; got != test.gateway {
				t.Errorf("it is led to %q, want %q", got, test.gateway)
			}
		})
	}
}

// listenerSets are those of the tests' cluster: kind/name → manifest.
var listenerSets = map[string]string{
	"ListenerSet/shop":   "spec: {parentRef: {name: plain}, listeners: [{name: shop, port: 443, protocol: HTTPS, hostname: '*.techn.is'}]}",
	"ListenerSet/later":  "spec: {parentRef: {name: plain}, listeners: [{name: shop, port: 443, protocol: HTTPS}]}\nstatus: {conditions: [{type: Accepted, status: 'False', reason: x, message: x, lastTransitionTime: null}]}",
	"ListenerSet/other":  "spec: {parentRef: {kind: Service, group: '', name: plain}, listeners: [{name: shop, port: 443, protocol: HTTPS}]}",
	"ListenerSet/adrift": "spec: {parentRef: {name: missing}, listeners: [{name: shop, port: 443, protocol: HTTPS}]}",
	"ListenerSet/infra":  "metadata: {namespace: infra}\nspec: {parentRef: {name: same}, listeners: [{name: own, port: 443, protocol: HTTPS, hostname: private.techn.is}, {name: all, port: 8443, protocol: HTTPS, allowedRoutes: {namespaces: {from: All}}}]}",
	"XListenerSet/shop":  "spec: {parentRef: {name: plain}, listeners: [{name: tls, port: 443, protocol: TLS, hostname: x.techn.is}]}",
}

// The listeners of a ListenerSet are those of its Gateway too.
func TestRoutesOfListenerSets(t *testing.T) {
	in := gatewayContext(t)
	in.ListenerSet = func(kind, _, name string) *gatewayv1.ListenerSet {
		manifest, found := listenerSets[kind+"/"+name]
		if !found {
			return nil
		}
		set := decode[gatewayv1.ListenerSet](t, manifest)
		return set
	}
	const notAccepted = "a.techn.is=ParentNotAccepted []"
	runSourceTests(t, source.KindHTTPRoute, in, []sourceTest{
		{"a ListenerSet", accepted("{kind: ListenerSet, name: shop}", "a.techn.is"), "a.techn.is []"},
		{"its section", accepted("{kind: ListenerSet, name: shop, sectionName: shop}", ""), "*.techn.is []"},
		{"another section", accepted("{kind: ListenerSet, name: shop, sectionName: other}", "a.techn.is"), notAccepted},
		{"the status is of the Gateway of that name", attached("{kind: ListenerSet, name: shop}", "{name: shop}", "True", "a.techn.is"), notAccepted},
		{"a Gateway, the status is of the ListenerSet of that name", attached("{name: open}", "{kind: ListenerSet, name: open}", "True", "a.techn.is"), notAccepted},
		{"not accepted by its Gateway", accepted("{kind: ListenerSet, name: later}", "a.techn.is"), notAccepted},
		{"of something that is no Gateway", accepted("{kind: ListenerSet, name: other}", "a.techn.is"), notAccepted},
		{"of a Gateway that is not there", accepted("{kind: ListenerSet, name: adrift}", "a.techn.is"), notAccepted},
		{"one that is not there", accepted("{kind: ListenerSet, name: missing}", "a.techn.is"), notAccepted},
		{"in another namespace: only listeners that allow it", accepted("{kind: ListenerSet, namespace: infra, name: infra}", "private.techn.is, a.techn.is"), "a.techn.is private.techn.is []"},
		{"in another namespace: a listener for its own", accepted("{kind: ListenerSet, namespace: infra, name: infra, sectionName: own}", "a.techn.is"), notAccepted},
		{"of a group that has no ListenerSets", accepted("{group: example.org, kind: ListenerSet, name: shop}", "a.techn.is"), notAccepted},
		{"an experimental one by the name of the other", accepted("{kind: XListenerSet, name: shop}", "a.techn.is"), notAccepted},
	})
	runSourceTests(t, source.KindTLSRoute, in, []sourceTest{
		{"an experimental one", accepted("{group: gateway.networking.x-k8s.io, kind: XListenerSet, name: shop}", "x.techn.is"), "x.techn.is []"},
	})
	classes := in
	classes.IngressClasses = []string{"internal"}
	runSourceTests(t, source.KindHTTPRoute, classes, []sourceTest{
		{"the class of its Gateway counts", accepted("{kind: ListenerSet, name: shop}", "a.techn.is"), "a.techn.is=IngressClass []"},
	})
}

func TestFromGRPCRoute(t *testing.T) {
	runSourceTests(t, source.KindGRPCRoute, gatewayContext(t), []sourceTest{
		{"a hostname", accepted("{name: open}", "a.techn.is"), "a.techn.is []"},
		{"a listener for its kind", accepted("{name: grpc}", "a.techn.is"), "a.techn.is []"},
		{"no hostnames: the listeners'", accepted("{name: site}", ""), "*.techn.is a.example.org []"},
		{"a listener without TLS", accepted("{name: plain}", "a.techn.is"), "a.techn.is=TLSMissing []"},
		{"a listener for another protocol", accepted("{name: tls}", "a.techn.is"), "a.techn.is=ParentNotAccepted []"},
		{"not exposed", "metadata: {name: whoami}\nspec: {hostnames: [a.techn.is]}", "[]"},
	})
}
