package routing

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// Networks is a set of networks that many routes share. It is immutable. A nil value is
// empty.
type Networks struct {
	prefixes []netip.Prefix // sorted by address; none is within another
}

// NewNetworks returns a set of masked networks, in any order. IPv4 networks are written
// as IPv4.
func NewNetworks(prefixes []netip.Prefix) *Networks {
	sorted := slices.SortedFunc(slices.Values(prefixes), func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	n := &Networks{prefixes: make([]netip.Prefix, 0, len(sorted))}
	for _, prefix := range sorted {
		if last := len(n.prefixes) - 1; last < 0 || !n.prefixes[last].Overlaps(prefix) {
			n.prefixes = append(n.prefixes, prefix)
		}
	}
	return n
}

// String returns the networks, separated by spaces.
func (n *Networks) String() string {
	if n == nil {
		return ""
	}
	texts := make([]string, len(n.prefixes))
	for i, prefix := range n.prefixes {
		texts[i] = prefix.String()
	}
	return strings.Join(texts, " ")
}

// Contains reports whether an address, which must not be IPv4-mapped and have no zone, is
// in one of the networks. It takes logarithmic time, and does not allocate.
func (n *Networks) Contains(addr netip.Addr) bool {
	if n == nil {
		return false
	}
	i, found := slices.BinarySearchFunc(n.prefixes, addr, func(p netip.Prefix, a netip.Addr) int { return p.Addr().Compare(a) })
	return found || i > 0 && n.prefixes[i-1].Contains(addr)
}

// and returns the addresses that are in both sets.
func (n *Networks) and(other *Networks) *Networks {
	var both []netip.Prefix
	for _, p := range n.prefixes {
		for _, q := range other.prefixes {
			switch {
			case !p.Overlaps(q):
			case p.Bits() >= q.Bits():
				both = append(both, p)
			default:
				both = append(both, q)
			}
		}
	}
	return NewNetworks(both)
}

// Within is the clients that are in a network and in several sets of networks at once.
type Within struct {
	// Network is the network; if it is not valid, every address is in it.
	Network netip.Prefix
	// All are the sets. There is at least one.
	All []*Networks
}

// Contains reports whether an address, which must not be IPv4-mapped and have no zone, is
// in the network and in each of the sets.
func (w Within) Contains(addr netip.Addr) bool {
	if w.Network.IsValid() && !w.Network.Contains(addr) {
		return false
	}
	for _, set := range w.All {
		if !set.Contains(addr) {
			return false
		}
	}
	return len(w.All) > 0
}

// Some reports whether there is such a client.
func (w Within) Some() bool {
	if len(w.All) == 0 {
		return false
	}
	all := w.All[0]
	for _, set := range w.All[1:] {
		all = all.and(set)
	}
	if w.Network.IsValid() {
		all = all.and(NewNetworks([]netip.Prefix{w.Network}))
	}
	return len(all.prefixes) > 0
}
