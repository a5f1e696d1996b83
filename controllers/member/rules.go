package member

import "github.com/jovalle/usher/api/v1alpha1"

// Rules are what a MemberCluster says about the sources of its cluster.
type Rules struct {
	// IngressClasses that may be published; empty allows all.
	IngressClasses []string
	// Providers of the member's Traefik; nil if they are not known.
	Providers *v1alpha1.TraefikProviders
	// Isolation of the published routes; nil for none.
	Isolation *v1alpha1.Isolation
	// EntryPoints that usher leads to; empty: those that the Service's ports name.
	EntryPoints []string
	// Addresses of the ingress; empty: those of the Service.
	Addresses []string
	// Gateways leads hosts to the addresses of their own Gateways.
	Gateways bool
	// HTTPSPort and HTTPPort are those of the ingress.
	HTTPSPort, HTTPPort int32
	// Ports are the TLS ports of the ingress other than https.
	Ports []v1alpha1.IngressPort
	// RuleSyntax of rules whose route does not say; empty: what is detected.
	RuleSyntax v1alpha1.RuleSyntax
}

// RulesOf reads a MemberCluster.
func RulesOf(spec *v1alpha1.MemberClusterSpec) Rules {
	return Rules{
		IngressClasses: spec.IngressClasses, Providers: spec.Ingress.Providers, Isolation: spec.Isolation, EntryPoints: spec.Ingress.EntryPoints,
		Addresses: spec.Ingress.Addresses, Gateways: spec.Ingress.Gateways,
		HTTPSPort: spec.Ingress.HTTPSPort, HTTPPort: spec.Ingress.HTTPPort, Ports: spec.Ingress.Ports, RuleSyntax: spec.Ingress.RuleSyntax,
	}
}
