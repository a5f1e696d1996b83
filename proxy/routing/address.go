package routing

import (
	"encoding/binary"
	"net/netip"
)

// DialAllowed reports whether an address may be dialled that was not configured at
// the edge: an address in an object of a member, or one that a host name in it
// resolves to.
func DialAllowed(addr netip.Addr) bool { return AddressProblem(addr) == "" }

// AddressProblem returns why an address does not reach another machine of the network,
// as the end of "it is …", or "" if it does. An embedded IPv4 address is checked too:
// see Effective.
func AddressProblem(addr netip.Addr) string {
	if !addr.IsValid() {
		return "no IP address"
	}
	if addr.Zone() != "" {
		return "link-local, of a zone of this machine"
	}
	if problem := special(Effective(addr)); problem != "" {
		return problem
	}
	return special(addr.Unmap())
}

// unusable are blocks of the IANA registries of special-purpose addresses (RFC 6890)
// that no ingress can have.
var unusable = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "of this machine (RFC 1122, section 3.2.1.3)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved or the broadcast address (RFC 1112, section 4)"},
	{netip.MustParsePrefix("::/96"), "an IPv4-compatible address (RFC 4291, section 2.5.5.1)"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "of a translation whose end is not known (RFC 8215)"},
	{netip.MustParsePrefix("2001::/32"), "a Teredo tunnel (RFC 4380)"},
	{netip.MustParsePrefix("fec0::/10"), "site-local (RFC 3879)"},
}

func special(addr netip.Addr) string {
	switch {
	case addr.IsUnspecified():
		return "unspecified"
	case addr.IsLoopback():
		return "loopback"
	case addr.IsLinkLocalUnicast():
		return "link-local"
	case addr.IsMulticast():
		return "multicast"
	}
	for _, block := range unusable {
		if block.prefix.Contains(addr) {
			return block.what
		}
	}
	return ""
}

// embedding are prefixes of addresses that embed an IPv4 address, at byte at.
var embedding = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64: RFC 6052, section 2.1
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // IPv4-translated: RFC 2765, section 2.1
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4: RFC 3056, section 2
}

// isatap is the beginning of an interface identifier that embeds an IPv4 address,
// without the universal bit: RFC 5214, section 6.1.
const isatap = 0x00005efe

// Effective returns the address that a connection to addr reaches, without a zone. For
// an IPv4-mapped address, an address of a well-known translation prefix, or one of a
// tunnel, this is the embedded IPv4 address; else it is addr itself.
func Effective(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !addr.Is6() {
		return addr
	}
	bytes := addr.As16()
	for _, e := range embedding {
		if e.prefix.Contains(addr) {
			return netip.AddrFrom4([4]byte(bytes[e.at : e.at+4]))
		}
	}
	if binary.BigEndian.Uint32(bytes[8:12])&^0x02000000 == isatap {
		return netip.AddrFrom4([4]byte(bytes[12:16]))
	}
	return addr
}

// Dials reports whether an address of the backend, or one that its name resolves to,
// may be dialled. It does not allocate.
func (b *Backend) Dials(addr netip.Addr) bool {
	if b.Discovered && !DialAllowed(addr) {
		return false
	}
	if len(b.Networks) == 0 {
		return true
	}
	addr = addr.Unmap().WithZone("")
	for _, network := range b.Networks {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}
