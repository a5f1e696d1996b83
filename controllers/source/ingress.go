package source

import (
	"cmp"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/jovalle/usher/api/v1alpha1/reason"
)

// FromIngress reads an Ingress. A rule without a host, and a default backend
// without rules, serve every host. A rule without paths is refused, since Traefik
// does not serve it.
func FromIngress(ingress *networkingv1.Ingress, in Context) Result {
	if makesNoClaim(ingress) {
		return Result{}
	}
	class := cmp.Or(classOf(ingress, ingress.Spec.IngressClassName), in.DefaultIngressClass)
	p := newPublication(KindIngress, ingress, class, in.unservedIngress(ingress), in)
	p.checkPorts(annotationField(AnnotationRouterEntryPoints), entryPointsOfIngress(ingress))
	p.checkIsolation(TLSOfIngress(ingress, in), annotationField(annotationRouterTLSOptions), "set the annotation to NAMESPACE-NAME"+crdProvider)
	if p.mark.Options != "" {
		p.named = in.namedByIngress(ingress)
	}
	if len(ingress.Spec.Rules) == 0 {
		return p.publish([]routeHosts{{field: "spec.rules", hosts: hostnames{}}})
	}
	var routes []routeHosts
	for i, rule := range ingress.Spec.Rules {
		routes = append(routes, p.ingressRule(fmt.Sprintf("spec.rules[%d]", i), rule))
	}
	return p.publish(routes)
}

func (p *publication) ingressRule(field string, rule networkingv1.IngressRule) routeHosts {
	switch {
	case rule.HTTP == nil || len(rule.HTTP.Paths) == 0:
		return routeHosts{refusal: p.refuse(reason.RuleInvalid, field+".http", "it has no paths, so Traefik does not serve %s; add a path", cmp.Or(rule.Host, "it"))}
	case rule.Host == "":
		return routeHosts{field: field + ".host", hosts: hostnames{}}
	default:
		return routeHosts{field: field + ".host", hosts: hostnames{list: []string{rule.Host}}}
	}
}
