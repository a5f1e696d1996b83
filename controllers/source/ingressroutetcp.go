package source

import (
	"cmp"
	"fmt"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// FromIngressRouteTCP reads a Traefik IngressRouteTCP of either API group. Who
// ends TLS, Traefik or the service, makes no difference; but without TLS there
// are no server names.
func FromIngressRouteTCP(route *traefik.IngressRouteTCP, in Context) Result {
	if makesNoClaim(route) {
		return Result{}
	}
	p := newPublication(KindIngressRouteTCP, route, classOf(route, route.Spec.IngressClassName), in.unservedRoute(route, route.Spec.IngressClassName), in)
	if route.Spec.TLS == nil {
		p.refuseObject(reason.TLSMissing, "spec.tls", "it is not set, so the routes accept no TLS connections; set it, with passthrough: true if the service terminates TLS itself")
	}
	p.checkPorts("spec.entryPoints", route.Spec.EntryPoints)
	p.checkIsolation(TLSOfIngressRouteTCP(route, in), "spec.tls.options", "set spec.tls.options to it, or spec.tls.passthrough: true where the service ends TLS itself")
	var routes []routeHosts
	for i, r := range route.Spec.Routes {
		field := fmt.Sprintf("spec.routes[%d].match", i)
		rule, err := tcpRule(r, in)
		routes = append(routes, p.ofRule(field, rule, err))
	}
	return p.publish(routes)
}

func tcpRule(r traefik.RouteTCP, in Context) (*traefikrule.Set, error) {
	syntax, err := traefikrule.ParseSyntax(r.Syntax)
	if err != nil {
		return nil, err
	}
	return traefikrule.ParseTCP(r.Match, cmp.Or(syntax, in.RuleSyntax))
}
