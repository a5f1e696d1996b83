package reach

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Addresses says at which of the machine's addresses is checked. The zero value
// is none.
type Addresses struct {
	auto bool
	list []netip.Addr
}

// ParseAddresses reads a flag's values: "auto", "off", or addresses. auto is the
// addresses that the listeners are bound to, but for loopback; where one is bound
// to every address it is the one by which the machine reaches others, for IPv4
// and IPv6. Errors name the value.
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
			return Addresses{}, fmt.Errorf("%q stands alone", value)
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

func (a Addresses) none() bool { return !a.auto && len(a.list) == 0 }

// Validate returns an error where an address is given that none of the listeners
// covers.
func (a Addresses) Validate(bound []netip.AddrPort) error {
	for _, addr := range a.list {
		if !slices.ContainsFunc(bound, func(b netip.AddrPort) bool { return covers(b.Addr(), addr) }) {
			return fmt.Errorf("nothing listens on %s: give addresses of --https-listen or --http-listen", addr)
		}
	}
	return nil
}

// of returns the addresses to check of a listener.
func (a Addresses) of(bound netip.Addr) []netip.Addr {
	switch {
	case !a.auto:
		return slices.DeleteFunc(slices.Clone(a.list), func(addr netip.Addr) bool { return !covers(bound, addr) })
	case bound.IsLoopback():
		return nil
	case !bound.IsUnspecified():
		return []netip.Addr{bound.Unmap()}
	}
	return slices.DeleteFunc(slices.Concat(outward(false), outward(true)), func(addr netip.Addr) bool { return !covers(bound, addr) })
}

// covers reports whether a listener gets what comes to an address. One on [::]
// gets IPv4 too.
func covers(bound, addr netip.Addr) bool {
	if bound.IsUnspecified() {
		return bound.Is6() || addr.Is4()
	}
	return bound.Unmap() == addr
}

// outward returns the address by which the machine reaches others, and where it
// reaches nobody all that it has.
//
// Not all that it has in any case: an address may be on the machine for the very
// purpose that another answers there, such as a load balancer's that is announced
// from here.
func outward(v6 bool) []netip.Addr {
	// Addresses for documentation (RFC 5737, RFC 3849). To connect a UDP socket
	// asks the kernel for its route and sends nothing.
	somewhere := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 9)
	if v6 {
		somewhere = netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), 9)
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(somewhere))
	if err != nil {
		return ofInterfaces(v6)
	}
	defer conn.Close()
	own := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone("")
	if !own.IsGlobalUnicast() {
		return ofInterfaces(v6)
	}
	return []netip.Addr{own}
}

// ofInterfaces returns the global unicast addresses of interfaces that are up. A
// process that may not ask the kernel for them has none.
func ofInterfaces(v6 bool) []netip.Addr {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var all []netip.Addr
	for i := range interfaces {
		if interfaces[i].Flags&net.FlagUp == 0 {
			continue // kube-proxy, in its mode ipvs, has every Service's address on one that is down
		}
		addrs, err := interfaces[i].Addrs()
		if err != nil {
			continue // it has gone
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
