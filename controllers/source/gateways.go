package source

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/proxy/routing"
)

// maxGateways bounds the Gateways of a cluster that are compared with one. With more it
// is not known which of them answers at the member's ingress.
const maxGateways = 256

// Gateways tells which Gateways of a cluster answer at the ingress of the member.
//
// A Gateway answers there if an address of its status is one of the ingress. Many have
// no such address, or one that the edge does not use: Traefik's has only what its
// option statusAddress gives, and the edge may reach the ingress by another address.
// So a Gateway is also taken for the one at the ingress while nothing speaks against it.
type Gateways struct {
	ingress   []string   // addresses of the ingress, as placeOf writes them
	traefik   bool       // the ingress is known to be Traefik's
	endpoints []endpoint // the Gateways with a listener for TLS
}

// endpoint is where a Gateway answers.
type endpoint struct {
	name      string // NAMESPACE/NAME
	class     string
	addresses []string // as placeOf writes them
}

// NewGateways returns what is known of a cluster's Gateways. Ingress are the addresses of
// the member's ingress, and traefik says that it is known to be Traefik's.
func NewGateways(all []*gatewayv1.Gateway, ingress []string, traefik bool) *Gateways {
	g := &Gateways{traefik: traefik}
	for _, address := range ingress {
		g.ingress = append(g.ingress, placeOf(address))
	}
	for _, gateway := range all {
		if ServesTLS(gateway) {
			g.endpoints = append(g.endpoints, endpointOf(gateway))
		}
	}
	slices.SortFunc(g.endpoints, func(a, b endpoint) int { return strings.Compare(a.name, b.name) })
	return g
}

// ServesTLS reports whether a Gateway has a listener that usher could lead connections
// to. Those of a mesh, or for TCP and UDP only, have none.
func ServesTLS(gateway *gatewayv1.Gateway) bool {
	return slices.ContainsFunc(gateway.Spec.Listeners, func(l gatewayv1.Listener) bool {
		return l.Protocol == gatewayv1.HTTPSProtocolType || l.Protocol == gatewayv1.TLSProtocolType
	})
}

// GatewayAddresses returns the addresses of a Gateway's status.
func GatewayAddresses(gateway *gatewayv1.Gateway) []string {
	addresses := make([]string, len(gateway.Status.Addresses))
	for i, address := range gateway.Status.Addresses {
		addresses[i] = address.Value
	}
	return addresses
}

func endpointOf(gateway *gatewayv1.Gateway) endpoint {
	d := endpoint{name: nameOfGateway(gateway), class: string(gateway.Spec.GatewayClassName)}
	for _, address := range GatewayAddresses(gateway) {
		d.addresses = append(d.addresses, placeOf(address))
	}
	return d
}

func nameOfGateway(gateway *gatewayv1.Gateway) string { return gateway.Namespace + "/" + gateway.Name }

// placeOf returns the form of an address in which equal ones are the same.
func placeOf(address string) string {
	if addr, err := netip.ParseAddr(address); err == nil {
		return routing.Effective(addr).String()
	}
	return strings.TrimSuffix(strings.ToLower(address), ".")
}

// atIngress reports whether a Gateway has an address of the ingress.
func (g *Gateways) atIngress(d endpoint) bool { return common(d.addresses, g.ingress) }

// OwnAddress reports whether hosts can be led to a Gateway's own address: it has an IP
// address, and does not answer at the ingress.
func (g *Gateways) OwnAddress(gateway *gatewayv1.Gateway) bool {
	d := endpointOf(gateway)
	return !g.atIngress(d) && slices.ContainsFunc(d.addresses, func(address string) bool { return family(address) != 0 })
}

// elsewhere reports whether a Gateway is known to have other addresses than the ingress.
// A name may stand for any address, and an IPv6 address says nothing about an IPv4 one.
func (g *Gateways) elsewhere(d endpoint) bool {
	return !g.atIngress(d) && slices.ContainsFunc(d.addresses, func(address string) bool {
		of := family(address)
		return of != 0 && slices.ContainsFunc(g.ingress, func(own string) bool { return family(own) == of })
	})
}

// family returns 4 or 6 for an IP address, else 0.
func family(place string) int {
	switch addr, err := netip.ParseAddr(place); {
	case err != nil:
		return 0
	case addr.Is4():
		return 4
	}
	return 6
}

// against returns what speaks against that a Gateway which the controllers serve answers
// at the ingress; "" if nothing does.
func (g *Gateways) against(d endpoint, controllers []string) string {
	if g.atIngress(d) {
		return ""
	}
	traefiks := !slices.ContainsFunc(controllers, func(name string) bool { return !ofTraefik(name) })
	if g.traefik && !traefiks {
		return message.Format("the ingress is Traefik's, and controller %s serves the Gateway", message.Quote(controllers[0]))
	}
	if len(g.endpoints) > maxGateways {
		return fmt.Sprintf("the cluster has more than %d Gateways", maxGateways)
	}
	// One Traefik serves all Gateways of its class at the same addresses. Other
	// controllers give each Gateway its own.
	apart := func(o endpoint) bool {
		return o.name != d.name && !common(o.addresses, d.addresses) && !(traefiks && o.class == d.class)
	}
	elsewhere := g.elsewhere(d)
	for _, o := range g.endpoints {
		if apart(o) && (elsewhere || !g.elsewhere(o)) {
			return message.Format("Gateway %s of class %s may be the one that does", o.name, o.class)
		}
	}
	return ""
}

// ofTraefik reports whether a controller of Gateways is a Traefik.
func ofTraefik(controller string) bool { return strings.Contains(controller, "traefik") }

// destination is where usher leads the hosts of a Gateway: to the member's ingress, or
// if own is set to the Gateway's own address.
type destination struct {
	own     bool
	refusal string // why to none of them, without advice; "" if there is a destination
}

// leadTo returns the destination of the hosts of a Gateway that the controllers serve.
func (in Context) leadTo(gateway *gatewayv1.Gateway, controllers []string) destination {
	all, d := in.gateways(), endpointOf(gateway)
	switch {
	case all.atIngress(d):
		return destination{}
	case in.OwnGateways && all.OwnAddress(gateway):
		return destination{own: true}
	case slices.Contains(in.IngressClasses, d.class):
		return destination{}
	}
	why := all.against(d, controllers)
	if why == "" {
		return destination{}
	}
	return destination{refusal: message.Format("Gateway %s %s, and the ingress of cluster %s %s: %s",
		d.name, has(d.addresses), in.Cluster, has(all.ingress), why)}
}

// has lists the first of some addresses.
func has(addresses []string) string {
	const most = 3
	if len(addresses) == 0 {
		return "has no known address"
	}
	return "has " + strings.Join(addresses[:min(len(addresses), most)], ", ")
}
