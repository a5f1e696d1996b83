package source

import (
	"fmt"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// RuleOfIngress returns the field of an Ingress that names a host, with its value; "" if
// none does. The host is as in Names.
func RuleOfIngress(ingress *networkingv1.Ingress, host string) string {
	for i, rule := range ingress.Spec.Rules {
		if names(rule.Host, host) {
			return field("spec.rules[%d].host", i, rule.Host)
		}
	}
	return ""
}

// RuleOfIngressRoute returns the rule of an IngressRoute that names a host, as RuleOfIngress.
func RuleOfIngressRoute(route *traefik.IngressRoute, host string) string {
	for i, r := range route.Spec.Routes {
		if ruleNames(r.Match, r.Syntax, host, traefikrule.NamesHTTP) {
			return field("spec.routes[%d].match", i, r.Match)
		}
	}
	return ""
}

// RuleOfIngressRouteTCP returns the rule of an IngressRouteTCP that names a host, as
// RuleOfIngress.
func RuleOfIngressRouteTCP(route *traefik.IngressRouteTCP, host string) string {
	for i, r := range route.Spec.Routes {
		if ruleNames(r.Match, r.Syntax, host, traefikrule.NamesTCP) {
			return field("spec.routes[%d].match", i, r.Match)
		}
	}
	return ""
}

// RuleOfRouter returns the rule of a router of Traefik's API.
func RuleOfRouter(rule string) string { return message.Format("%s: %s", fieldRule, rule) }

// RuleOfHostnames returns the hostname of a route of the Gateway API that names a host, as
// RuleOfIngress.
func RuleOfHostnames(hostnames []gatewayv1.Hostname, host string) string {
	for i, name := range hostnames {
		if names(string(name), host) {
			return field("spec.hostnames[%d]", i, string(name))
		}
	}
	return ""
}

func field(format string, index int, value string) string {
	return message.Format("%s: %s", fmt.Sprintf(format, index), value)
}

// names reports whether a host in the spelling of an object is a host of Names.
func names(spelling, host string) bool {
	var n Names
	n.add(spelling)
	return slices.Contains(n.Hosts, host)
}

// ruleNames reports whether a rule names a host.
func ruleNames(rule, syntax, host string, namesOf func(string, traefikrule.Syntax) ([]string, bool, error)) bool {
	var n Names
	n.addRule(rule, syntax, namesOf)
	return slices.Contains(n.Hosts, host)
}
