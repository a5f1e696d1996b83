// Package routetable turns ExposedHosts, MemberClusters and NetworkLists into the routing
// table that the data plane consults. It is pure: the API server, the snapshot and
// manifests all use the same code. It must not import Kubernetes clients.
package routetable

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/allowfrom"
	"github.com/jovalle/usher/proxy/routing"
)

// The default ports of a backend.
const (
	defaultHTTPSPort = 443
	defaultHTTPPort  = 80
)

var (
	specPath      = field.NewPath("spec")
	allowFromPath = specPath.Child("allowFrom")
)

// routeOf returns the route of an object, or an error for its first invalid field. For a
// NetworkList that does not exist, the error has the type ErrorTypeNotFound.
func routeOf(eh *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster, lists allowfrom.Lists) (routing.Route, *field.Error) {
	if err := CheckHost(eh.Spec.Host); err != nil {
		return routing.Route{}, field.Invalid(specPath.Child("host"), eh.Spec.Host, err.Error())
	}
	var err error
	route := routing.Route{Host: eh.Spec.Host, Backends: Backends(eh.Spec.Backends, clusters)}
	route.PlainOnly = eh.Spec.TLS == v1alpha1.TLSDeny
	route.NotHTTPS = len(eh.Spec.Ports) > 0 && !slices.Contains(eh.Spec.Ports, v1alpha1.PortHTTPS)
	route.Ports = ports(eh.Spec, clusters)
	if route.Strategy, err = strategy(eh.Spec.Strategy); err != nil {
		return routing.Route{}, field.Invalid(specPath.Child("strategy"), eh.Spec.Strategy, err.Error())
	}
	route.Turns = turns(&route)
	if route.PlainHTTP, err = plainHTTP(eh.Spec.PlainHTTP); err != nil {
		return routing.Route{}, field.Invalid(specPath.Child("plainHTTP"), eh.Spec.PlainHTTP, err.Error())
	}
	if len(eh.Spec.Except) > 0 {
		route.Except = slices.Sorted(slices.Values(eh.Spec.Except))
	}
	var invalid *allowfrom.Invalid
	if route.AllowFrom, route.AllowWithin, invalid = allowfrom.Resolve(eh.Spec.AllowFrom, lists); invalid != nil {
		return routing.Route{}, clientsError(invalid)
	}
	return route, nil
}

// clientsError returns the error of an entry of allowFrom.
func clientsError(invalid *allowfrom.Invalid) *field.Error {
	path := allowFromPath.Index(invalid.Index)
	if invalid.Unknown == "" {
		return field.Invalid(path, invalid.Entry, invalid.Problem.Error())
	}
	err := field.NotFound(path, invalid.Entry)
	err.Detail = fmt.Sprintf("there is no NetworkList %s, or its file is refused: add it, or correct the name", invalid.Unknown)
	return err
}

// CheckHost returns an error if no client can request a spec.host that the API server
// accepts. A schema cannot decode an internationalized label.
func CheckHost(host string) error {
	switch parsed, err := routing.ParseHost(host); {
	case err != nil:
		return err
	case parsed != host:
		return fmt.Errorf("host %q: clients send %q", host, parsed)
	}
	return nil
}

func plainHTTP(p v1alpha1.PlainHTTP) (routing.PlainHTTP, error) {
	switch p {
	case v1alpha1.PlainHTTPRedirect, "":
		return routing.Redirect, nil
	case v1alpha1.PlainHTTPForward:
		return routing.Forward, nil
	case v1alpha1.PlainHTTPDeny:
		return routing.Deny, nil
	}
	return 0, fmt.Errorf("%q is none of Redirect, Forward, Deny", p)
}

// ports returns the ports of a host other than https, without those that none of its
// backends has.
func ports(spec v1alpha1.ExposedHostSpec, clusters map[string]*v1alpha1.MemberCluster) []routing.Port {
	var all []routing.Port
	for _, name := range slices.Sorted(slices.Values(spec.Ports)) {
		if name == v1alpha1.PortHTTPS {
			continue
		}
		if backends := PortBackends(name, spec.Backends, clusters); len(backends) > 0 {
			all = append(all, routing.Port{Name: name, Backends: backends})
		}
	}
	return all
}

// PortBackends is Backends for the connections of a TLS port other than https, without
// the backends that do not have the port.
func PortBackends(name string, backends []v1alpha1.HostBackend, clusters map[string]*v1alpha1.MemberCluster) []routing.Backend {
	var having []routing.Backend
	for _, b := range weighted(backends) {
		at := portOf(name, b, clusters)
		if at == nil {
			continue
		}
		for _, backend := range Backends([]v1alpha1.HostBackend{b}, clusters) {
			backend.HTTPSPort, backend.ProxyProtocol = port(at.Port, defaultHTTPSPort), proxyProtocol(at.ProxyProtocol)
			having = append(having, backend)
		}
	}
	return drainingLast(having)
}

// MissingPorts returns the ports of a host that none of its backends has, sorted. The host
// is not served on them.
func MissingPorts(spec v1alpha1.ExposedHostSpec, clusters map[string]*v1alpha1.MemberCluster) []string {
	return slices.DeleteFunc(slices.Sorted(slices.Values(spec.Ports)), func(name string) bool {
		return name == v1alpha1.PortHTTPS ||
			slices.ContainsFunc(weighted(spec.Backends), func(b v1alpha1.HostBackend) bool { return portOf(name, b, clusters) != nil })
	})
}

// portOf returns where a backend takes the connections of a TLS port other than https;
// nil if it does not.
func portOf(name string, b v1alpha1.HostBackend, clusters map[string]*v1alpha1.MemberCluster) *v1alpha1.BackendPort {
	for i := range b.Ports {
		if b.Ports[i].Name == name {
			return &b.Ports[i]
		}
	}
	// The ports are those of the cluster's ingress. A Gateway with its own address has others.
	if cluster := clusters[b.Cluster]; cluster != nil && b.Gateway == "" {
		for i := range cluster.Spec.Ingress.Ports {
			if at := &cluster.Spec.Ingress.Ports[i]; at.Name == name {
				return &at.BackendPort
			}
		}
	}
	return nil
}

// Backends resolves a host's backends in their order, those of drained clusters last, and
// without those that have no address or the weight 0. Clusters: name → cluster.
func Backends(backends []v1alpha1.HostBackend, clusters map[string]*v1alpha1.MemberCluster) []routing.Backend {
	var resolved []routing.Backend
	for _, b := range weighted(backends) {
		if b.Cluster == "" {
			resolved = append(resolved, routing.Backend{
				Addresses: []string{b.Address},
				HTTPSPort: port(b.HTTPSPort, defaultHTTPSPort),
				HTTPPort:  port(b.HTTPPort, defaultHTTPPort),

				ProxyProtocol:     proxyProtocol(b.ProxyProtocol),
				HTTPProxyProtocol: proxyProtocol(b.HTTPProxyProtocol),

				Weight: weight(b),
				Health: healthCheck(b.HealthCheck),
			})
			continue
		}
		if backend := clusterBackend(clusters[b.Cluster], b.Gateway); len(backend.Addresses) > 0 {
			backend.Weight = weight(b)
			backend.Draining, _ = Drains(clusters[b.Cluster])
			resolved = append(resolved, backend)
		}
	}
	return drainingLast(resolved)
}

// clusterBackend returns the endpoint of a cluster, or of one of its Gateways if that is
// not empty, with only the addresses that may be dialled; it has none for a nil cluster.
// It checks the addresses of the status again, since others may have written the status.
func clusterBackend(c *v1alpha1.MemberCluster, gateway string) routing.Backend {
	ingress := Ingress(c)
	if gateway != "" {
		ingress = gatewayIngress(c, gateway)
	}
	if len(ingress.Addresses) == 0 {
		return routing.Backend{}
	}
	backend := Backend(c.Name, c.Spec.Ingress, ingress)
	refused := func(address string) bool { return Refusal(&backend, address) != "" }
	if slices.ContainsFunc(ingress.Addresses, refused) {
		backend.Addresses = slices.DeleteFunc(slices.Clone(ingress.Addresses), refused)
	}
	return backend
}

// Backend returns an endpoint of a cluster as the data plane uses it, with all of its
// addresses, including those that Refusal refuses.
func Backend(cluster string, spec v1alpha1.IngressEndpoint, ingress v1alpha1.ResolvedIngress) routing.Backend {
	return routing.Backend{
		Cluster:    cluster,
		Addresses:  ingress.Addresses,
		HTTPSPort:  port(ingress.HTTPSPort, defaultHTTPSPort),
		HTTPPort:   port(ingress.HTTPPort, defaultHTTPPort),
		Discovered: !ingress.Pinned,
		Networks:   networks(spec),

		ProxyProtocol:     proxyProtocol(ingress.ProxyProtocol),
		HTTPProxyProtocol: proxyProtocol(ingress.HTTPProxyProtocol),

		Weight: v1alpha1.MaxWeight,
		Health: healthCheck(spec.HealthCheck),
	}
}

// Refusal returns why an address of a cluster's ingress is not used, as the end of
// "it is …"; "" if it is used. A DNS name is used only if a person set it, since a name
// of an object may resolve to any address at any time. The addresses that a person's
// name resolves to are checked when they are dialled.
func Refusal(backend *routing.Backend, address string) string {
	addr, err := netip.ParseAddr(address)
	switch {
	case err != nil && backend.Discovered:
		return "a name, which may resolve to any address at any time"
	case err != nil:
		return ""
	case backend.Dials(addr):
		return ""
	case backend.Discovered && !routing.DialAllowed(addr):
		return routing.AddressProblem(addr)
	}
	return "outside spec.ingress.allowedNetworks"
}

// networks returns the allowedNetworks of a spec. An invalid one contains no address.
func networks(spec v1alpha1.IngressEndpoint) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, cidr := range spec.AllowedNetworks {
		prefix, _ := netip.ParsePrefix(cidr)
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes
}

// Ingress returns the endpoint of a cluster: the one of its spec, else the one that was
// last discovered; the zero value for a nil cluster.
func Ingress(c *v1alpha1.MemberCluster) v1alpha1.ResolvedIngress {
	switch {
	case c == nil:
		return v1alpha1.ResolvedIngress{}
	case len(c.Spec.Ingress.Addresses) > 0:
		return Resolve(c.Spec.Ingress, c.Spec.Ingress.Addresses, true)
	case c.Status.Ingress != nil:
		return Resolve(c.Spec.Ingress, c.Status.Ingress.Addresses, c.Status.Ingress.Pinned)
	}
	return v1alpha1.ResolvedIngress{}
}

// GatewayOf returns what is known of a Gateway of a cluster, which may be nil; nil if hosts
// are not led to Gateways, or not to this one. Gateway is NAMESPACE/NAME.
func GatewayOf(c *v1alpha1.MemberCluster, gateway string) *v1alpha1.ResolvedGateway {
	if c == nil || !c.Spec.Ingress.Gateways {
		return nil
	}
	for i := range c.Status.Gateways {
		if g := &c.Status.Gateways[i]; g.Namespace+"/"+g.Name == gateway {
			return g
		}
	}
	return nil
}

// gatewayIngress returns the endpoint of a Gateway of a cluster; the zero value if it has
// none. The addresses come from the member, even if those of its ingress are pinned.
func gatewayIngress(c *v1alpha1.MemberCluster, gateway string) v1alpha1.ResolvedIngress {
	g := GatewayOf(c, gateway)
	if g == nil {
		return v1alpha1.ResolvedIngress{}
	}
	return Resolve(c.Spec.Ingress, g.Addresses, false)
}

// Resolve returns the endpoint of a spec with the given addresses. Pinned means that a
// person set them.
func Resolve(spec v1alpha1.IngressEndpoint, addresses []string, pinned bool) v1alpha1.ResolvedIngress {
	resolved := v1alpha1.ResolvedIngress{
		Addresses:     addresses,
		Pinned:        pinned,
		HTTPSPort:     int32(port(spec.HTTPSPort, defaultHTTPSPort)),
		HTTPPort:      int32(port(spec.HTTPPort, defaultHTTPPort)),
		ProxyProtocol: spec.ProxyProtocol,
	}
	if spec.HTTPProxyProtocol != v1alpha1.ProxyProtocolNone {
		resolved.HTTPProxyProtocol = spec.HTTPProxyProtocol
	}
	return resolved
}

// port returns the given port, or the default if it is not set or not valid.
func port(given int32, defaultPort uint16) uint16 {
	if given < 1 || given > 65535 {
		return defaultPort
	}
	return uint16(given)
}

func proxyProtocol(p v1alpha1.ProxyProtocol) routing.ProxyProtocol {
	switch p {
	case v1alpha1.ProxyProtocolV1:
		return routing.V1
	case v1alpha1.ProxyProtocolV2:
		return routing.V2
	}
	return routing.None
}

// Endpoints returns addresses with their HTTPS port, as address:port.
func Endpoints(addresses []string, httpsPort int32) []string {
	endpoints := make([]string, len(addresses))
	for i, address := range addresses {
		endpoints[i] = net.JoinHostPort(address, strconv.Itoa(int(httpsPort)))
	}
	return endpoints
}
