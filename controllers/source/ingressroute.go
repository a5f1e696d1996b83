package source

import (
	"cmp"
	"fmt"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// FromIngressRoute reads a Traefik IngressRoute of either API group. One with
// parents serves only the hosts that a parent's rule and its own both match.
func FromIngressRoute(route *traefik.IngressRoute, in Context) Result {
	if makesNoClaim(route) {
		return Result{}
	}
	p := newPublication(KindIngressRoute, route, classOf(route, route.Spec.IngressClassName), in.unservedRoute(route, route.Spec.IngressClassName), in)
	p.checkPorts("spec.entryPoints", route.Spec.EntryPoints)
	p.checkIsolation(TLSOfIngressRoute(route, in), "spec.tls.options", "set spec.tls.options to it, or to a TLSOption of this name in the object's own namespace")
	if p.mark.Options != "" {
		p.named = in.namedByIngressRoute(route)
	}
	parents := parentReader{in: in}
	above, err := parents.rulesAbove(route, 0)
	if err != nil {
		p.refuseObject(reason.ParentNotAccepted, "spec.parentRefs", "%v", err)
	}
	var routes []routeHosts
	for i, r := range route.Spec.Routes {
		field := fmt.Sprintf("spec.routes[%d].match", i)
		rule, err := httpRule(r, in)
		if err != nil {
			routes = append(routes, p.invalidRule(field, err))
			continue
		}
		hosts, err := parents.within(above, rule)
		if err != nil {
			p.refuseObject(reason.ParentNotAccepted, "spec.parentRefs", "%v", err)
			above, hosts = nil, union{rule} // so that the refusals name the hosts
		}
		routes = append(routes, p.ruleHosts(field, hosts))
	}
	return p.publish(routes)
}

func httpRule(r traefik.Route, in Context) (*traefikrule.Set, error) {
	if r.Kind != "" && r.Kind != "Rule" {
		return nil, fmt.Errorf("the route's kind %s is not Rule", message.Quote(r.Kind))
	}
	syntax, err := traefikrule.ParseSyntax(r.Syntax)
	if err != nil {
		return nil, err
	}
	return traefikrule.ParseHTTP(r.Match, cmp.Or(syntax, in.RuleSyntax))
}

// ruleHosts returns the hosts that a route with a rule can publish.
func (p *publication) ruleHosts(field string, rules union) routeHosts {
	route := routeHosts{field: field, hosts: rules}
	if p.in.WithoutWildcards != "" {
		route.served = rules.withoutWildcards()
	}
	return route
}

// ofRule returns the hosts that a route can publish by its rule alone, or why the rule is
// refused.
func (p *publication) ofRule(field string, rule *traefikrule.Set, err error) routeHosts {
	if err != nil {
		return p.invalidRule(field, err)
	}
	return p.ruleHosts(field, union{rule})
}

// unserved refuses a host that only a wildcard in a rule covers, if the member's Traefik
// has no wildcards.
func (p *publication) unserved(field, host string) *Refusal {
	return p.refuse(reason.RuleInvalid, field, "it matches %s by a wildcard, and the cluster's Traefik %s serves no wildcard of a rule; upgrade Traefik to 3.7 or later, publish the wildcard by an Ingress, or use HostRegexp and name the hosts in the annotation %s",
		host, p.in.WithoutWildcards, v1alpha1.AnnotationHosts)
}

func (p *publication) invalidRule(field string, err error) routeHosts {
	return routeHosts{refusal: p.refuse(reason.RuleInvalid, field, "%v; correct the rule", err)}
}
