package takeover

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// ParseAddress reads an address to listen on: an IP address or nothing, a colon,
// and a port from 0 to 65535, where 0 lets the kernel choose. Nothing, 0.0.0.0 and
// [::] mean every address, of IPv4 and IPv6, and are all returned as [::].
//
// A host name is an error: it may have several addresses, and change them.
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

// canonical writes each way to say an address in one form.
func canonical(address netip.AddrPort) netip.AddrPort {
	ip := address.Addr().Unmap()
	if ip.IsUnspecified() {
		ip = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(ip, address.Port())
}

// Overlap reports whether a connection could be meant for either of two addresses
// that ParseAddress returned. Those with port 0 overlap with none.
func Overlap(a, b netip.AddrPort) bool {
	return a.Port() != 0 && a.Port() == b.Port() &&
		(a.Addr() == b.Addr() || a.Addr().IsUnspecified() || b.Addr().IsUnspecified())
}
