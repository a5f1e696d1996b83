package source

import (
	"cmp"
	"fmt"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// FromIngressRoute reads a Traefik IngressRoute of either API group. One with
// parents serves only the hosts that a parent's rule and its own both match.
func FromIngressRoute(route *traefik.IngressRoute, in Context) Result {
	if silent(route) {
		return Result{}
	}
	p := newPublication(KindIngressRoute, route, classOf(route, route.Spec.IngressClassName), in)
	family := family{in: in}
	above, err := family.rulesAbove(route, 0)
	if err != nil {
		p.spoil(reason.ParentNotAccepted, "spec.parentRefs", "%v", err)
	}
	var offers []offer
	for i, r := range route.Spec.Routes {
		field := fmt.Sprintf("spec.routes[%d].match", i)
		rule, err := httpRule(r, in)
		if err != nil {
			offers = append(offers, p.invalidRule(field, err))
			continue
		}
		hosts, err := family.within(above, rule)
		if err != nil {
			p.spoil(reason.ParentNotAccepted, "spec.parentRefs", "%v", err)
			above, hosts = nil, union{rule} // so that the hosts that are refused have names
		}
		offers = append(offers, offer{field: field, hosts: hosts})
	}
	return p.publish(offers)
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

func (p *publication) invalidRule(field string, err error) offer {
	return offer{refusal: p.refuse(reason.RuleInvalid, field, "%v; correct the rule", err)}
}
