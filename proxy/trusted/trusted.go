// Package trusted holds the networks of trusted clients: the load balancers whose
// connections begin with a PROXY header, which names the original client.
//
// It must not import Kubernetes, nor anything else of usher.
package trusted

import (
	"errors"
	"fmt"
	"net/netip"
)

// Networks are the networks of trusted clients. Each is in canonical form: IPv4 is not
// written as IPv6, and the host bits are zero.
type Networks []netip.Prefix

// Parse parses networks in CIDR notation. The error names each invalid one.
func Parse(cidrs []string) (Networks, error) {
	var networks Networks
	var wrong []error
	for _, cidr := range cidrs {
		prefix, err := netip.ParsePrefix(cidr)
		switch {
		case err != nil:
			wrong = append(wrong, fmt.Errorf("%q is no network, such as 192.0.2.0/24 or 2001:db8::/32", cidr))
		case prefix.Addr().Is4In6():
			wrong = append(wrong, fmt.Errorf("%q is IPv4 written as IPv6, which no client has: write %s", cidr, unmapped(prefix)))
		default:
			networks = append(networks, prefix.Masked())
		}
	}
	return networks, errors.Join(wrong...)
}

// unmapped returns an IPv4-mapped prefix as IPv4.
func unmapped(prefix netip.Prefix) netip.Prefix {
	const mapped = 96 // bits, RFC 4291, section 2.5.5.2
	return netip.PrefixFrom(prefix.Addr().Unmap(), max(prefix.Bits()-mapped, 0)).Masked()
}

// Contain reports whether a client is in one of the networks. An IPv4-mapped IPv6
// address counts as IPv4, and a zone is ignored.
func (n Networks) Contain(client netip.Addr) bool {
	client = client.Unmap().WithZone("")
	for _, network := range n {
		if network.Contains(client) {
			return true
		}
	}
	return false
}
