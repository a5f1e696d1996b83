package reach

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Addresses selects the addresses of the machine to check. The zero value selects
// none.
type Addresses struct {
	auto bool
	list []netip.Addr
}

// ParseAddresses parses the values of a flag: "auto", "off", or IP addresses. auto
// selects the addresses that the listeners are bound to, except loopback. For a
// listener on every address, auto selects the source addresses of outbound
// connections, for IPv4 and IPv6. Errors name the value.
func ParseAddresses(values []string) (Addresses, error) {
	if len(values) == 1 {
		switch values[0] {
		case "auto":
			return Addresses{auto: true}, nil
		case "off":
			return Addresses{}, nil
		}
	}
	var a Addresses
	for _, value := range values {
		addr, err := netip.ParseAddr(value)
		switch {
		case value == "auto" || value == "off":
			return Addresses{}, fmt.Errorf("%q cannot be combined with other values", value)
		case err != nil:
			return Addresses{}, fmt.Errorf("%q is no IP address: give addresses, or auto, or off", value)
		case addr.IsUnspecified() || addr.IsMulticast():
			return Addresses{}, fmt.Errorf("%s is no address to connect to", value)
		}
		a.list = append(a.list, addr.Unmap())
	}
	if len(a.list) == 0 {
		return Addresses{}, errors.New("is empty: give addresses, or auto, or off")
	}
	return a, nil
}

func (a Addresses) off() bool { return !a.auto && len(a.list) == 0 }

// Validate returns an error if one of the addresses is not covered by any of the
// listeners.
func (a Addresses) Validate(bound []netip.AddrPort) error {
	for _, addr := range a.list {
		if !slices.ContainsFunc(bound, func(b netip.AddrPort) bool { return covers(b.Addr(), addr) }) {
			return fmt.Errorf("nothing listens on %s: give addresses of --https-listen, --tls-listen or --http-listen", addr)
		}
	}
	return nil
}

// forListener returns the addresses to check for a listener.
func (a Addresses) forListener(bound netip.Addr) []netip.Addr {
	switch {
	case !a.auto:
		return slices.DeleteFunc(slices.Clone(a.list), func(addr netip.Addr) bool { return !covers(bound, addr) })
	case bound.IsLoopback():
		return nil
	case !bound.IsUnspecified():
		return []netip.Addr{bound.Unmap()}
	}
	return slices.DeleteFunc(slices.Concat(outboundAddresses(false), outboundAddresses(true)), func(addr netip.Addr) bool { return !covers(bound, addr) })
}

// covers reports whether a listener accepts connections to an address. A listener
// on [::] accepts IPv4 too.
func covers(bound, addr netip.Addr) bool {
	if bound.IsUnspecified() {
		return bound.Is6() || addr.Is4()
	}
	return bound.Unmap() == addr
}

// outboundAddresses returns the source address of outbound connections. If there is
// no route, it returns all addresses of the interfaces.
//
// It does not always return all, because an interface may have an address that
// another program is meant to serve, such as the address of a load balancer that is
// announced from this machine.
func outboundAddresses(v6 bool) []netip.Addr {
	// Addresses for documentation (RFC 5737, RFC 3849). Connecting a UDP socket
	// selects a route and sends nothing.
	destination := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 9)
	if v6 {
		destination = netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), 9)
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(destination))
	if err != nil {
		return interfaceAddresses(v6)
	}
	defer conn.Close()
	own := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone("")
	if !own.IsGlobalUnicast() {
		return interfaceAddresses(v6)
	}
	return []netip.Addr{own}
}

// interfaceAddresses returns the global unicast addresses of the interfaces that are
// up, or none if the process is not permitted to read them.
func interfaceAddresses(v6 bool) []netip.Addr {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var all []netip.Addr
	for i := range interfaces {
		if interfaces[i].Flags&net.FlagUp == 0 {
			continue // in IPVS mode kube-proxy keeps the addresses of Services on such an interface
		}
		addrs, err := interfaces[i].Addrs()
		if err != nil {
			continue // the interface was removed
		}
		for _, addr := range addrs {
			prefix, err := netip.ParsePrefix(addr.String())
			if own := prefix.Addr(); err == nil && own.IsGlobalUnicast() && own.Is6() == v6 {
				all = append(all, own)
			}
		}
	}
	return all
}
