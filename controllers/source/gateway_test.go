package source_test

import (
	"fmt"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/controllers/source"
)

// gateways are those of the tests' cluster: namespace/name → listeners.
var gateways = map[string]string{
	"apps/open":  `{name: web, port: 443, protocol: HTTPS}`,
	"apps/site":  `{name: web, port: 443, protocol: HTTPS, hostname: "*.techn.is"}, {name: one, port: 8443, protocol: HTTPS, hostname: a.example.org}`,
	"apps/tls":   `{name: tls, port: 443, protocol: TLS, hostname: "*.techn.is"}`,
	"apps/mixed": `{name: web, port: 443, protocol: HTTPS, hostname: web.techn.is}, {name: tls, port: 8443, protocol: TLS, hostname: tls.techn.is}`,
	"apps/grpc":  `{name: web, port: 443, protocol: HTTPS, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}`,
	"apps/plain": `{name: web, port: 80, protocol: HTTP}`,
	"infra/same": `{name: web, port: 443, protocol: HTTPS}`,
	"infra/all": `{name: public, port: 443, protocol: HTTPS, hostname: "*.techn.is", allowedRoutes: {namespaces: {from: All}}},
	              {name: private, port: 443, protocol: HTTPS, hostname: "*.lan.example.org"}`,
	"infra/label":   `{name: web, port: 443, protocol: HTTPS, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {public: "yes"}}}}}`,
	"infra/unlabel": `{name: web, port: 443, protocol: HTTPS, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {public: "no"}}}}}`,
}

// gatewayContext is a cluster with those Gateways.
func gatewayContext(t *testing.T) source.Context {
	in := hades
	in.Gateway = func(namespace, name string) *gatewayv1.Gateway {
		listeners, found := gateways[namespace+"/"+name]
		if !found {
			return nil
		}
		return decode[gatewayv1.Gateway](t, fmt.Sprintf("metadata: {namespace: %s, name: %s}\nspec: {gatewayClassName: traefik, listeners: [%s]}", namespace, name, listeners))
	}
	in.NamespaceLabels = func(string) map[string]string { return map[string]string{"public": "yes"} }
	return in
}

// accepted is a route that the parent has accepted.
func accepted(parent, hostnames string) string {
	return attached(parent, parent, "True", hostnames)
}

func attached(parent, statusParent, status, hostnames string) string {
	return exposed + fmt.Sprintf(`spec: {parentRefs: [%s], hostnames: [%s]}
status: {parents: [{parentRef: %s, controllerName: traefik.io/gateway-controller, conditions: [{type: Accepted, status: %q, reason: x, message: x, lastTransitionTime: null}]}]}`,
		parent, hostnames, statusParent, status)
}

func TestFromHTTPRoute(t *testing.T) {
	runSourceTests(t, source.KindHTTPRoute, gatewayContext(t), []sourceTest{
		{"a hostname", accepted("{name: open}", "a.techn.is"), "a.techn.is []"},
		{"without the annotation", "metadata: {name: whoami}\nspec: {hostnames: [a.techn.is]}", "[]"},
		{"cert-manager's solver", "metadata: {name: whoami, annotations: {usher.techn.is/expose: 'true'}, labels: {acme.cert-manager.io/http01-solver: 'true'}}\nspec: {hostnames: [a.techn.is]}", "[]"},
		{"hostnames that the listeners share", accepted("{name: site}", "a.techn.is, b.example.org, a.example.org"), "a.example.org a.techn.is []"},
		{"no hostname that they share", accepted("{name: site}", "b.example.org"), "b.example.org=ParentNotAccepted []"},
		{"no hostnames: the listeners'", accepted("{name: site}", ""), "*.techn.is a.example.org []"},
		{"no hostnames on either side", accepted("{name: open}", ""), "[UnknownHosts]"},
		{"a wildcard: one label of it is published", accepted("{name: open}", "'*.techn.is'"), "*.techn.is []"},
		{"a wildcard and a listener's name", accepted("{name: site}", "'*.example.org'"), "a.example.org []"},
		{"a wildcard within a listener's", accepted("{name: site}", "'*.b.techn.is'"), "*.b.techn.is []"},
		{"a wildcard around a listener's", accepted("{name: site}", "'*.is'"), "*.techn.is []"},
		{"two labels under a listener's wildcard", accepted("{name: site}", "a.b.techn.is"), "a.b.techn.is []"},
		{"one listener by its name", accepted("{name: site, sectionName: one}", ""), "a.example.org []"},
		{"one listener by its port", accepted("{name: site, port: 8443}", ""), "a.example.org []"},
		{"a listener for another protocol", accepted("{name: mixed}", ""), "web.techn.is []"},
		{"no listener for the protocol", accepted("{name: tls}", "a.techn.is"), "a.techn.is=ParentNotAccepted []"},
		{"a listener for other kinds", accepted("{name: grpc}", "a.techn.is"), "a.techn.is=ParentNotAccepted []"},
		{"a listener without TLS", accepted("{name: plain}", "a.techn.is"), "a.techn.is=TLSMissing []"},
		{"not accepted", attached("{name: open}", "{name: open}", "False", "a.techn.is"), "a.techn.is=ParentNotAccepted []"},
		{"no status yet", exposed + "spec: {parentRefs: [{name: open}], hostnames: [a.techn.is]}", "a.techn.is=ParentNotAccepted []"},
		{"accepted by a parent that it has no more", attached("{name: open}", "{name: site}", "True", "a.techn.is"), "a.techn.is=ParentNotAccepted []"},
		{"the status spells the defaults out", attached("{name: open}", "{group: gateway.networking.k8s.io, kind: Gateway, namespace: apps, name: open}", "True", "a.techn.is"), "a.techn.is []"},
		{"a parent that is no Gateway", accepted("{group: '', kind: Service, name: open}", "a.techn.is"), "a.techn.is=ParentNotAccepted []"},
		{"a Gateway that is not there", accepted("{name: missing}", "a.techn.is"), "a.techn.is=ParentNotAccepted []"},
		{"a Gateway for its own namespace", accepted("{namespace: infra, name: same}", "a.techn.is"), "a.techn.is=ParentNotAccepted []"},
		{"a Gateway with one listener for all namespaces, and one for its own", accepted("{namespace: infra, name: all}", "a.techn.is, a.lan.example.org"), "a.techn.is []"},
		{"a Gateway for labelled namespaces", accepted("{namespace: infra, name: label}", "a.techn.is"), "a.techn.is []"},
		{"a Gateway for otherwise labelled namespaces", accepted("{namespace: infra, name: unlabel}", "a.techn.is"), "a.techn.is=ParentNotAccepted []"},
	})

	otherClass := gatewayContext(t)
	otherClass.IngressClasses = []string{"internal"}
	runSourceTests(t, source.KindHTTPRoute, otherClass, []sourceTest{
		{"a Gateway of a class that may not publish", accepted("{name: open}", "a.techn.is"), "a.techn.is=IngressClass []"},
	})
	ownClass := gatewayContext(t)
	ownClass.IngressClasses = []string{"internal", "traefik"}
	runSourceTests(t, source.KindHTTPRoute, ownClass, []sourceTest{
		{"a Gateway of a class that may", accepted("{name: open}", "a.techn.is"), "a.techn.is []"},
	})
	unlabelled := gatewayContext(t)
	unlabelled.NamespaceLabels = nil
	runSourceTests(t, source.KindHTTPRoute, unlabelled, []sourceTest{
		{"labels that are not known are no", accepted("{namespace: infra, name: label}", "a.techn.is"), "a.techn.is=ParentNotAccepted []"},
	})
	runSourceTests(t, source.KindHTTPRoute, hades, []sourceTest{
		{"a cluster without Gateways", accepted("{name: open}", "a.techn.is"), "a.techn.is=ParentNotAccepted []"},
	})
}

func TestHostsAnnotationOfHTTPRoutes(t *testing.T) {
	route := func(hosts, hostnames string) string {
		return meta(fmt.Sprintf("usher.techn.is/hosts: %q", hosts)) + accepted("{name: site}", hostnames)[len(exposed):]
	}
	runSourceTests(t, source.KindHTTPRoute, gatewayContext(t), []sourceTest{
		{"names what is deeper under a wildcard", route("a.b.techn.is, *.c.techn.is", "'*.techn.is'"), "*.c.techn.is a.b.techn.is []"},
		{"not the wildcard's parent", route("techn.is", "'*.techn.is'"), "techn.is=HostNotCovered []"},
		{"narrows the listeners' hostnames", route("a.techn.is, b.example.org", ""), "a.techn.is b.example.org=HostNotCovered []"},
	})
}

func TestFromTLSRoute(t *testing.T) {
	runSourceTests(t, source.KindTLSRoute, gatewayContext(t), []sourceTest{
		{"a hostname", accepted("{name: tls}", "a.techn.is"), "a.techn.is []"},
		{"a hostname that the listener does not have", accepted("{name: tls}", "a.example.org, b.techn.is"), "b.techn.is []"},
		{"a listener for another protocol", accepted("{name: open}", "a.techn.is"), "a.techn.is=ParentNotAccepted []"},
		{"the listener for its protocol", accepted("{name: mixed}", "web.techn.is, tls.techn.is"), "tls.techn.is []"},
		{"not exposed", "metadata: {name: whoami}\nspec: {hostnames: [a.techn.is]}", "[]"},
	})
}
