package source

import (
	"cmp"
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
)

// Port is a TLS port of a member other than https.
type Port struct {
	// Name of the port at the edge.
	Name string
	// EntryPoints of Traefik that its connections come to; empty if they are unknown.
	EntryPoints []string
}

// PortsOf returns the ports of a MemberCluster's spec. named are the entry points of
// Traefik by the ports of its Service, as EntryPointsOf returns them.
func PortsOf(spec []v1alpha1.IngressPort, named map[int32][]string) []Port {
	ports := make([]Port, len(spec))
	for i, p := range spec {
		if ports[i] = (Port{p.Name, named[p.Port]}); p.EntryPoint != "" {
			ports[i].EntryPoints = []string{p.EntryPoint}
		}
	}
	return ports
}

// port returns a TLS port of the member other than https; nil if it has none of the name.
func (in Context) port(name string) *Port {
	if i := slices.IndexFunc(in.Ports, func(p Port) bool { return p.Name == name }); i >= 0 {
		return &in.Ports[i]
	}
	return nil
}

// checkPorts checks each TLS port that the object requests. field and names are the
// object's entry points of Traefik; without names it is on Traefik's default ones. An
// object that can be served on no port is refused. One that can be served on some of them
// keeps these, and says why it is not on the others.
func (p *publication) checkPorts(field string, names []string) {
	var served, refused []string
	why := map[string]*Refusal{} // port → why it is refused
	for _, port := range p.request.options.TLSPorts() {
		check := p.checkPort
		if port == v1alpha1.PortHTTPS {
			check = p.checkHTTPS
		}
		if why[port] = check(port, field, names); why[port] == nil {
			served = append(served, port)
		} else {
			refused = append(refused, port)
		}
	}
	options := &p.request.options
	onPlain := p.in.onPlain(names) && options.PlainHTTP == v1alpha1.PlainHTTPForward
	switch {
	case len(refused) == 0:
		return
	case len(served) == 0 && onPlain && why[v1alpha1.PortHTTPS] != nil: // it is on plain HTTP, as it requests
		refused = slices.DeleteFunc(refused, func(port string) bool { return port == v1alpha1.PortHTTPS })
	case len(served) == 0:
		p.objectRefusal = cmp.Or(p.objectRefusal, why[refused[0]])
		return
	case why[v1alpha1.PortHTTPS] != nil && options.PlainHTTP == v1alpha1.PlainHTTPRedirect:
		options.PlainHTTP = "" // there is nothing to redirect to
	}
	*options = options.WithTLSPorts(served)
	if len(refused) > 0 {
		p.refusedPorts = &RefusedPorts{Names: refused, First: *why[refused[0]]}
	}
}

// checkHTTPS returns why Traefik does not serve the object on the port https: its routes
// are only on entry points that usher sends no connections of this port to. Port 443
// refuses the hosts of an object on the entry point of plain HTTP that asks to forward
// plain HTTP.
func (p *publication) checkHTTPS(_, field string, names []string) *Refusal {
	served := p.in.HTTPSEntryPoints
	if len(served) == 0 || len(names) == 0 || common(names, served) {
		return nil
	}
	var or string
	if p.in.onPlain(names) {
		or = ", or publish the hosts on plain HTTP only with the annotation " + v1alpha1.AnnotationPlainHTTP + ": forward"
	}
	for _, port := range p.in.Ports {
		if common(names, port.EntryPoints) {
			or = ", or publish the hosts on port " + port.Name + " with the annotation " + v1alpha1.AnnotationPorts + ": " + port.Name
		}
	}
	return p.refuse(reason.EntryPoint, field, "the routes are only on %s, and TLS connections from usher come to %s of cluster %s; add one of these%s, or correct the MemberCluster's spec.ingress.entryPoints",
		strings.Join(names, ", "), strings.Join(served, ", "), p.in.Cluster, or)
}

// checkPort returns why Traefik does not serve the object on a port other than https. With
// isolation the object must name the entry point: Traefik would give connections that no
// router of the object takes to the HTTP routers of the entry point, with its default TLS
// options, and so to every private host on it.
func (p *publication) checkPort(name, field string, names []string) *Refusal {
	port := p.in.port(name)
	switch {
	case port == nil:
		return p.refuse(reason.PortUnknown, annotationField(v1alpha1.AnnotationPorts), "cluster %s has no port %s; add it to the MemberCluster's spec.ingress.ports, or correct the annotation", p.in.Cluster, name)
	case common(names, port.EntryPoints):
		return nil
	case len(port.EntryPoints) > 0 && len(names) > 0:
		return p.refuse(reason.EntryPoint, field, "the routes are only on %s, and connections to port %s come to %s of cluster %s; add one of these, or correct the MemberCluster's spec.ingress.ports",
			strings.Join(names, ", "), name, strings.Join(port.EntryPoints, ", "), p.in.Cluster)
	case p.in.Isolation == nil:
		return nil
	case len(port.EntryPoints) == 0:
		return p.refuse(reason.NotIsolated, annotationField(v1alpha1.AnnotationPorts), "cluster %s has spec.isolation, and the entry point of its port %s is not known; set entryPoint of the port in the MemberCluster's spec.ingress.ports", p.in.Cluster, name)
	}
	return p.refuse(reason.NotIsolated, field, "cluster %s has spec.isolation, and the object does not name the entry point of port %s, so another router may take its connections; add %s",
		p.in.Cluster, name, strings.Join(port.EntryPoints, " or "))
}

// onPlain reports whether one of these entry points is of plain HTTP from usher.
func (in Context) onPlain(names []string) bool {
	plain := in.HTTPEntryPoints
	if len(plain) == 0 {
		plain = []string{plainEntryPoint}
	}
	return common(names, plain)
}

// common reports whether two lists have a name in common.
func common(a, b []string) bool {
	return slices.ContainsFunc(a, func(name string) bool { return slices.Contains(b, name) })
}
