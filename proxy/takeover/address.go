package takeover

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// ParseAddress parses an address to listen on: an optional IP address, a colon, and
// a port from 0 to 65535. With port 0 the kernel chooses the port. No IP address,
// 0.0.0.0 and [::] all mean every address of IPv4 and IPv6, and are returned as
// [::].
//
// A host name is an error, because it may have several addresses, which may change.
func ParseAddress(text string) (netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(text)
	if wrong, ok := errors.AsType[*net.AddrError](err); ok {
		return netip.AddrPort{}, fmt.Errorf(`%q: %s: an address is written as ":443", "192.0.2.1:443" or "[2001:db8::1]:443"`, text, wrong.Err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q: port %q is no number from 0 to 65535", text, portText)
	}
	if host == "" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)), nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q: %q is no IP address: a host name is not resolved, give the address itself", text, host)
	}
	return canonical(netip.AddrPortFrom(ip, uint16(port))), nil
}

// canonical returns the same value for all forms of one address.
func canonical(address netip.AddrPort) netip.AddrPort {
	ip := address.Addr().Unmap()
	if ip.IsUnspecified() {
		ip = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(ip, address.Port())
}

// Overlap reports whether there is a destination that both of two listen addresses
// accept. The addresses are results of ParseAddress. An address with port 0 overlaps
// with no other.
func Overlap(a, b netip.AddrPort) bool {
	return a.Port() != 0 && a.Port() == b.Port() &&
		(a.Addr() == b.Addr() || a.Addr().IsUnspecified() || b.Addr().IsUnspecified())
}
