package routing

import (
	"fmt"
	"net/netip"
	"slices"
)

// Route says what becomes of the connections to one host. It is immutable once
// it is in a Table: the slices are shared by every reader.
type Route struct {
	// Host is canonical, as ParseHost returns it: lower case A-labels without
	// a trailing dot, or "*." and such a name, which covers one label.
	Host string

	// Refusal is why every connection to the host is refused, as a CamelCase word
	// for logs; empty: they are not. Such a route stands in the table so that no
	// wildcard serves the host. All that follows is unset then.
	Refusal string

	// Except are the first labels, sorted, of names under a wildcard that it does not
	// cover: they are refused unless they have a route of their own.
	Except []string

	// Backends are tried in order: the next one when no address of this one
	// could be dialled. Without any, no connection to the host finds a backend.
	Backends []Backend

	// PlainHTTP is what the host does on plain HTTP.
	PlainHTTP PlainHTTP

	// PlainOnly refuses TLS connections to the host, with ReasonPlainOnly.
	PlainOnly bool

	// AllowFrom are the client addresses that may connect; empty means
	// everyone. An IPv4 range is written as such, never as ::ffff:0:0/96.
	AllowFrom []netip.Prefix
}

// The reasons for which a name is refused that has a route.
const (
	// ReasonExcepted is the Refusal of a name that its wildcard does not cover.
	ReasonExcepted = "Excepted"
	// ReasonPlainOnly refuses a TLS connection to a host that is served on plain HTTP only.
	ReasonPlainOnly = "PlainOnly"
)

// excepted is the route of every such name. It has no host.
var excepted = Route{Refusal: ReasonExcepted}

// under returns the route of the name directly under a wildcard with this first
// label: the wildcard's own, unless it does not cover the name.
func (r *Route) under(label string) *Route {
	if _, found := slices.BinarySearch(r.Except, label); found {
		return &excepted
	}
	return r
}

// Allows reports whether a client at addr may connect. An IPv4-mapped IPv6
// address counts as the IPv4 address, and a zone is ignored.
func (r *Route) Allows(addr netip.Addr) bool {
	if len(r.AllowFrom) == 0 {
		return true
	}
	addr = addr.Unmap().WithZone("")
	for _, prefix := range r.AllowFrom {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// Backend is where a host's connections go: the ingress of one cluster, or an
// endpoint that a person named.
type Backend struct {
	// Cluster is the member cluster's name; empty for an address that a
	// person gave.
	Cluster string

	// Addresses are IP addresses or DNS names, without a port, tried in order.
	Addresses []string

	// Discovered: the addresses are what the cluster's own objects say, and not
	// what a person gave. Of these, only those that DialAllowed are dialled.
	Discovered bool

	// Networks are those that the addresses must be in, once they are resolved;
	// empty: any. An IPv4 network is written as such.
	Networks []netip.Prefix

	// HTTPSPort receives TLS connections, HTTPPort plain HTTP: 1 to 65535.
	HTTPSPort uint16
	HTTPPort  uint16

	// ProxyProtocol is the header that this backend wants ahead of each
	// connection.
	ProxyProtocol ProxyProtocol
}

// PlainHTTP is what a host does on plain HTTP. In each mode
// /.well-known/acme-challenge/ is forwarded to the backend.
type PlainHTTP uint8

const (
	// Redirect answers 308 to the same URL over HTTPS.
	Redirect PlainHTTP = iota
	// Forward passes each request to the backend's HTTP port.
	Forward
	// Deny answers 404.
	Deny
)

// String returns the mode's name as the API spells it.
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

// ProxyProtocol is the version of the PROXY protocol header that a backend
// wants (HAProxy's proxy-protocol.txt).
type ProxyProtocol uint8

const (
	// None sends no header.
	None ProxyProtocol = iota
	// V1 sends the text header.
	V1
	// V2 sends the binary header, with the SNI as PP2_TYPE_AUTHORITY.
	V2
)

// String returns the version's name as the API spells it.
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
