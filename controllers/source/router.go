package source

import (
	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// Consents reports whether a router of Traefik's API may be published: it is on the public
// entry point, or has TLS options that isolate published routes. Traefik's API shows no
// labels, so that the consent is what Traefik enforces too. Options and provider are as in
// an IngressRoute's TLSOptionRef.
func Consents(entryPoints []string, options *traefik.TLSOptionRef, provider, public string, isolating *v1alpha1.TLSOptionsRef) bool {
	if public != "" && common(entryPoints, []string{public}) {
		return true
	}
	return isolating != nil && isolates(*isolating, referredOptions(options, provider), provider)
}

// FromRouter reads an HTTP router of Traefik's API.
func FromRouter(r *traefik.Router, in Context) Result {
	p := newPublication(v1alpha1.KindTraefikRouter, r, "", "", in)
	p.checkRouter(r.Status, r.Spec.TLS != nil)
	p.checkPorts("entryPoints", r.Spec.EntryPoints)
	p.checkIsolation(TLSOfRouter(r, in), "tls.options", "set tls.options to it")
	if p.mark.Options != "" {
		p.named = in.namedByIngressRoute(&r.IngressRoute)
	}
	var routes []routeHosts
	for _, route := range r.Spec.Routes {
		rule, err := httpRule(route, in)
		routes = append(routes, p.ofRule(fieldRule, rule, err))
	}
	return p.publish(routes)
}

// FromRouterTCP reads a TCP router of Traefik's API.
func FromRouterTCP(r *traefik.RouterTCP, in Context) Result {
	p := newPublication(v1alpha1.KindTraefikRouterTCP, r, "", "", in)
	p.checkRouter(r.Status, r.Spec.TLS != nil)
	p.checkPorts("entryPoints", r.Spec.EntryPoints)
	p.checkIsolation(TLSOfRouterTCP(r, in), "tls.options", "set tls.options to it, or tls.passthrough where the service ends TLS itself")
	var routes []routeHosts
	for _, route := range r.Spec.Routes {
		rule, err := tcpRule(route, in)
		routes = append(routes, p.ofRule(fieldRule, rule, err))
	}
	return p.publish(routes)
}

// fieldRule is the field of a router that names its hosts.
const fieldRule = "rule"

// checkRouter refuses a router that Traefik does not serve, or that takes no TLS connections.
func (p *publication) checkRouter(status traefik.RouterStatus, tls bool) {
	switch {
	case status.Problem != "":
		p.refuseObject(reason.RouterInvalid, "status", "%s", status.Problem)
	case !tls:
		p.refuseObject(reason.TLSMissing, "tls", "it is not set, so the router accepts no TLS connections; set it, or http.tls of the entry point")
	}
}

// NamesOfRouter returns the names of an HTTP router. One that Traefik does not serve, or that
// has no TLS, gets no TLS connection.
func NamesOfRouter(r *traefik.Router) Names {
	if r.Status.Off || r.Spec.TLS == nil {
		return Names{}
	}
	return NamesOfIngressRoute(&r.IngressRoute)
}

// NamesOfRouterTCP returns the names of a TCP router, as NamesOfRouter.
func NamesOfRouterTCP(r *traefik.RouterTCP) Names {
	if r.Status.Off {
		return Names{}
	}
	return NamesOfIngressRouteTCP(&r.IngressRouteTCP)
}

// TLSOfRouter returns how Traefik ends TLS for an HTTP router: its API shows the settings of
// the entry point as those of the router.
func TLSOfRouter(r *traefik.Router, in Context) TLSMark {
	if r.Status.Off || r.Spec.TLS == nil {
		return TLSMark{Plain: in.Isolation != nil}
	}
	return TLSOfIngressRoute(&r.IngressRoute, in)
}

// TLSOfRouterTCP returns how Traefik ends TLS for a TCP router.
func TLSOfRouterTCP(r *traefik.RouterTCP, in Context) TLSMark {
	if r.Status.Off {
		return TLSMark{Plain: true}
	}
	return TLSOfIngressRouteTCP(&r.IngressRouteTCP, in)
}
