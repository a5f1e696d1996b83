package routing

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// Route defines how connections to one host are handled. It must not change after it
// is in a Table, because all readers share its slices.
type Route struct {
	// Host is canonical, as ParseHost returns it: lower case A-labels without a
	// trailing dot, optionally after "*.", which matches one label.
	Host string

	// Refusal is the reason why all connections to the host are refused, as a
	// CamelCase word for logs. It is empty if they are not. A refused host is in the
	// table so that no wildcard serves it. The fields below are then unset.
	Refusal string

	// Except are the first labels of names that a wildcard does not cover, sorted.
	// These names are refused unless they have a route of their own.
	Except []string

	// Backends have the addresses to dial, in the order that Strategy defines: the next
	// one if the current one cannot be dialled. Without backends, all connections are
	// refused.
	Backends []Backend

	// Strategy chooses among the addresses of Backends, and of those of Ports.
	Strategy Strategy

	// Turns counts the connections of RoundRobin; nil for other strategies. It is the
	// only part of a route that changes while the route is in a Table.
	Turns *atomic.Uint64

	// PlainHTTP defines how plain HTTP requests for the host are answered.
	PlainHTTP PlainHTTP

	// PlainOnly refuses TLS connections to the host on all ports, with ReasonPlainOnly.
	PlainOnly bool

	// NotHTTPS refuses TLS connections to the host on the port PortHTTPS, with
	// ReasonPortNotServed.
	NotHTTPS bool

	// Ports are the other TLS ports of the edge on which the host is served, sorted by
	// name. On a port that is not among them the host is refused.
	Ports []Port

	// AllowFrom and AllowWithin are the clients that may connect: those of one of the
	// networks, and those of one of the Within. If both are empty, all clients may. IPv4
	// networks are written as IPv4, never as ::ffff:0:0/96.
	AllowFrom   []netip.Prefix
	AllowWithin []Within

	// Source is the object by whose word the host is published; nil if it is not known.
	// It has no effect on connections.
	Source *Source

	// Reached counts what reached a backend since the host is served. Continue sets it, or
	// else the table: a route that With replaces passes it on. Only its counters change.
	Reached *Reached
}

// Source is an object of Kubernetes that publishes a host.
type Source struct {
	// Cluster is the member cluster of the object; empty for an ExposedHost that a person
	// wrote.
	Cluster string `json:"cluster,omitempty"`
	// Kind, Namespace and Name of the object. Namespace may be empty.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// ResourceVersion is the version of the object when it first published the host, and
	// Manager is the field manager of its annotation. Either may be empty.
	ResourceVersion string `json:"resourceVersion,omitempty"`
	Manager         string `json:"manager,omitempty"`
}

// String returns the source in the form Kind namespace/name of cluster.
func (s *Source) String() string {
	text := s.Kind + " "
	if s.Namespace != "" {
		text += s.Namespace + "/"
	}
	if text += s.Name; s.Cluster != "" {
		text += " of " + s.Cluster
	}
	return text
}

// Reached counts what reached the backends of a host.
type Reached struct {
	Connections atomic.Uint64 // TLS connections
	Requests    atomic.Uint64 // plain HTTP requests that were forwarded

	// Traffic is of the open connections, also those of an earlier route of the host that
	// outlive a refusal.
	Traffic *Traffic
}

// Traffic counts the TLS connections of a host.
type Traffic struct {
	Open     atomic.Int64  // connections that are open
	Up, Down atomic.Uint64 // bytes towards the backends, and back
}

// Continue sets the counters of a route that is not in a table yet and replaces another
// one, which may be nil: the same counters if neither is a refusal, otherwise new ones,
// except for Traffic.
func (r *Route) Continue(before *Route) {
	switch {
	case before == nil:
		r.Reached = &Reached{Traffic: new(Traffic)}
	case before.Refusal == "" && r.Refusal == "":
		r.Reached = before.Reached
	default:
		r.Reached = &Reached{Traffic: before.Reached.Traffic}
	}
}

// PortHTTPS is the name of the TLS port on which a host is served by default.
const PortHTTPS = "https"

// Port is a TLS port of the edge other than PortHTTPS, as far as one host is served on it.
type Port struct {
	// Name of the port, a DNS label.
	Name string

	// Backends are as those of the Route. Their HTTPSPort and ProxyProtocol are for the
	// connections of this port.
	Backends []Backend
}

// hasPorts reports whether the host is served on other ports than PortHTTPS. The route
// may be nil.
func (r *Route) hasPorts() bool { return r != nil && len(r.Ports) > 0 }

// On returns the backends for TLS connections to a port of the edge, or the reason why
// they are refused. It does not allocate.
func (r *Route) On(port string) (backends []Backend, refusal string) {
	switch {
	case r.Refusal != "":
		return nil, r.Refusal
	case r.PlainOnly:
		return nil, ReasonPlainOnly
	case port == PortHTTPS && !r.NotHTTPS:
		return r.Backends, ""
	}
	for i := range r.Ports {
		if r.Ports[i].Name == port {
			return r.Ports[i].Backends, ""
		}
	}
	return nil, ReasonPortNotServed
}

// Reasons why a name is refused although its route has no Refusal.
const (
	// ReasonExcepted is the refusal of a name in the Except of its wildcard.
	ReasonExcepted = "Excepted"
	// ReasonPlainOnly refuses a TLS connection to a host that is served on plain HTTP only.
	ReasonPlainOnly = "PlainOnly"
	// ReasonPortNotServed refuses a TLS connection on a port on which the host is not served.
	ReasonPortNotServed = "PortNotServed"
)

// excepted is the route of all such names. It has no host.
var excepted = Route{Refusal: ReasonExcepted}

// under returns the route of the name with this first label under a wildcard: the
// route of the wildcard, or excepted.
func (r *Route) under(label string) *Route {
	if _, found := slices.BinarySearch(r.Except, label); found {
		return &excepted
	}
	return r
}

// Allows reports whether a client at addr may connect. An IPv4-mapped IPv6
// address counts as the IPv4 address, and a zone is ignored.
func (r *Route) Allows(addr netip.Addr) bool {
	if len(r.AllowFrom) == 0 && len(r.AllowWithin) == 0 {
		return true
	}
	addr = addr.Unmap().WithZone("")
	for _, prefix := range r.AllowFrom {
		if prefix.Contains(addr) {
			return true
		}
	}
	return slices.ContainsFunc(r.AllowWithin, func(w Within) bool { return w.Contains(addr) })
}

// Backend is a destination of connections: the ingress of one cluster, or a configured
// endpoint.
type Backend struct {
	// Cluster is the name of the member cluster; empty for a configured endpoint.
	Cluster string

	// Addresses are IP addresses or DNS names without a port, tried in order.
	Addresses []string

	// Discovered means that the addresses come from objects of the cluster, and were
	// not configured at the edge. They are dialled only if DialAllowed.
	Discovered bool

	// Networks are the networks that may be dialled, after names are resolved; empty
	// means all. IPv4 networks are written as IPv4.
	Networks []netip.Prefix

	// HTTPSPort receives TLS connections, HTTPPort plain HTTP: 1 to 65535.
	HTTPSPort uint16
	HTTPPort  uint16

	// ProxyProtocol and HTTPProxyProtocol are the versions of the PROXY header that
	// HTTPSPort and HTTPPort expect.
	ProxyProtocol     ProxyProtocol
	HTTPProxyProtocol ProxyProtocol

	// Weight is the backend's share of the connections relative to the others, 1 to 100;
	// its addresses share it equally. A backend of weight 0 is not in a route.
	Weight uint8

	// Draining backends are dialled after all others that answer.
	Draining bool

	// Health says how the addresses are checked.
	Health HealthCheck
}

// Strategy is how the addresses of a route are ordered.
type Strategy uint8

const (
	// Failover keeps the order of the backends and of their addresses.
	Failover Strategy = iota
	// RoundRobin takes turns, by weight.
	RoundRobin
	// LeastConnections begins with the fewest connections relative to the weight.
	LeastConnections
	// ClientHash orders by a hash of the client's address and the backend's.
	ClientHash
)

// String returns the name of the strategy in the API.
func (s Strategy) String() string {
	switch s {
	case Failover:
		return "Failover"
	case RoundRobin:
		return "RoundRobin"
	case LeastConnections:
		return "LeastConnections"
	case ClientHash:
		return "ClientHash"
	}
	return fmt.Sprintf("Strategy(%d)", uint8(s))
}

// HealthCheck says how the addresses of a backend are checked. The zero value is no check.
type HealthCheck struct {
	Type     HealthCheckType
	Interval time.Duration
	Timeout  time.Duration
	// Rise and Fall are how many results in a row make an address healthy or unhealthy.
	Rise, Fall int
}

// HealthCheckType is a kind of health check.
type HealthCheckType uint8

const (
	// NoCheck does not check.
	NoCheck HealthCheckType = iota
	// CheckTCP opens a connection.
	CheckTCP
	// CheckTLS completes a TLS handshake.
	CheckTLS
)

// String returns the name of the type in the API.
func (t HealthCheckType) String() string {
	switch t {
	case NoCheck:
		return "None"
	case CheckTCP:
		return "TCP"
	case CheckTLS:
		return "TLS"
	}
	return fmt.Sprintf("HealthCheckType(%d)", uint8(t))
}

// PlainHTTP defines how plain HTTP requests for a host are answered. In each mode,
// ACME challenges (/.well-known/acme-challenge/) are forwarded to the backend.
type PlainHTTP uint8

const (
	// Redirect answers with 308 and the same URL over HTTPS.
	Redirect PlainHTTP = iota
	// Forward forwards each request to the HTTP port of the backend.
	Forward
	// Deny answers with 404.
	Deny
)

// String returns the name of the mode in the API.
func (p PlainHTTP) String() string {
	switch p {
	case Redirect:
		return "Redirect"
	case Forward:
		return "Forward"
	case Deny:
		return "Deny"
	}
	return fmt.Sprintf("PlainHTTP(%d)", uint8(p))
}

// ProxyProtocol is the version of the PROXY header that a backend expects: see
// proxy-protocol.txt of HAProxy.
type ProxyProtocol uint8

const (
	// None sends no header.
	None ProxyProtocol = iota
	// V1 sends the text header.
	V1
	// V2 sends the binary header, with the SNI as PP2_TYPE_AUTHORITY.
	V2
)

// LocalHeader returns a header that carries no client, for a connection that the proxy itself
// makes: "UNKNOWN" of V1, LOCAL of V2 (proxy-protocol.txt of HAProxy, sections 2.1 and 2.2).
// It is empty for None.
func (p ProxyProtocol) LocalHeader() string {
	switch p {
	case V1:
		return "PROXY UNKNOWN\r\n"
	case V2:
		return "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
	}
	return ""
}

// String returns the name of the version in the API.
func (p ProxyProtocol) String() string {
	switch p {
	case None:
		return "None"
	case V1:
		return "V1"
	case V2:
		return "V2"
	}
	return fmt.Sprintf("ProxyProtocol(%d)", uint8(p))
}
