// Package balance orders the addresses of a route for one connection, as the strategy of
// the route says: which is dialled first, and which if that one does not answer.
//
// The package is pure: it does no I/O and has no state. What it knows of connections and
// of addresses that return is in the Choice. It must not import anything of usher but
// routing.
package balance

import (
	"cmp"
	"math"
	"net/netip"
	"slices"

	"github.com/jovalle/usher/proxy/routing"
)

const (
	// Few is the number of addresses up to which Order does not allocate.
	Few = 16

	// Max bounds the addresses that are ordered: 16 backends with 16 addresses each. The
	// remaining ones are not dialled.
	Max = 256
)

// Target is an address of a backend: the index of the backend, and of the address in
// its Addresses.
type Target struct{ Backend, Address uint8 }

// Choice is what the order for one connection depends on.
type Choice struct {
	Strategy routing.Strategy

	// Turn is the number of the connection for RoundRobin, and a random number for
	// LeastConnections, which decides between equals.
	Turn uint64

	// Client is the address of the client, for ClientHash.
	Client netip.Addr

	// State returns the open connections of an address, for LeastConnections, and the
	// part of its weight that counts, for RoundRobin too: more than 0, at most 1. nil
	// means 0 and 1.
	State func(backend *routing.Backend, address string) (open int, part float64)
}

// Needed reports whether addresses have to be ordered: they are tried as they stand for
// Failover, and if there is one at most.
func Needed(strategy routing.Strategy, backends []routing.Backend) bool {
	return strategy != routing.Failover && count(backends) > 1
}

func count(backends []routing.Backend) int {
	n := 0
	for i := range backends {
		n += len(backends[i].Addresses)
	}
	return n
}

// Order appends the addresses of backends to into, in the order in which they are
// dialled. Each backend has its Weight, or 1 if that is 0, and its addresses share it
// equally. Those of draining backends come after all others.
//
//   - RoundRobin: the first is that of the turn. Over any number of turns in a row each
//     address is the first as often as its weight says, within a few connections.
//   - LeastConnections: those without connections first, then by (connections+1)/weight.
//   - ClientHash: by weighted rendezvous hashing. If an address comes or goes, only the
//     clients move that it gets or had. All replicas agree, also after a restart.
//
// Whatever remains equal, and the order after the first address of RoundRobin, is drawn
// by the weights from a hash of the turn, so that the load of an address that does not
// answer spreads over all others.
func Order(into []Target, backends []routing.Backend, c Choice) []Target {
	var few [Few]scored
	all := few[:0]
	if n := count(backends); n > Few {
		all = make([]scored, 0, min(n, Max))
	}
	for i := range backends {
		all = c.score(all, backends, i)
	}
	if c.Strategy == routing.RoundRobin {
		takeTurn(all, c.Turn)
	}
	if c.Strategy != routing.Failover {
		slices.SortFunc(all, compare)
	}
	for i := range all {
		into = append(into, all[i].target)
	}
	return into
}

// scored is a target with what it is ordered by: the smaller the earlier.
type scored struct {
	key, tie float64
	share    float64 // of the connections, relative to the others
	draining bool
	target   Target
}

func compare(a, b scored) int {
	switch {
	case a.draining != b.draining && b.draining:
		return -1
	case a.draining != b.draining:
		return 1
	case a.key != b.key:
		return cmp.Compare(a.key, b.key)
	}
	return cmp.Compare(a.tie, b.tie)
}

// score appends the addresses of a backend.
func (c *Choice) score(all []scored, backends []routing.Backend, i int) []scored {
	b := &backends[i]
	share := float64(max(b.Weight, 1)) / float64(len(b.Addresses))
	client, cluster := uint64(0), uint64(0)
	if c.Strategy == routing.ClientHash {
		client, cluster = clientHash(c.Client), hash(hash(hashBasis, b.Cluster), "\x00")
	}
	for j, address := range b.Addresses {
		if len(all) == Max {
			break
		}
		s := scored{share: share, draining: b.Draining, target: Target{uint8(i), uint8(j)}} //nolint:gosec // G115: Max addresses are less than 256 backends, and 256 addresses
		switch c.Strategy {
		case routing.RoundRobin:
			_, part := c.state(b, address)
			s.share *= part
			s.key = draw(c.Turn, uint64(len(all)), s.share)
		case routing.LeastConnections:
			open, part := c.state(b, address)
			s.share *= part
			if open > 0 {
				s.key = float64(open+1) / s.share
			}
			s.tie = draw(c.Turn, uint64(len(all)), s.share)
		case routing.ClientHash:
			s.key = draw(client, hash(cluster, address), s.share)
		}
		all = append(all, s)
	}
	return all
}

func (c *Choice) state(b *routing.Backend, address string) (open int, part float64) {
	if c.State == nil {
		return 0, 1
	}
	return c.State(b, address)
}

// golden is the fraction of the golden ratio, in units of 2⁻⁶⁴. The fractions of its
// multiples are spread as evenly as those of any number: D. E. Knuth, The Art of Computer
// Programming, volume 3, section 6.4.
const golden = 0x9e3779b97f4a7c15

// takeTurn puts the target of a turn first: the one at the turn's place on a line on which
// each target has a segment as long as its share. A draining one has none, unless all are.
func takeTurn(all []scored, turn uint64) {
	serving := slices.ContainsFunc(all, func(s scored) bool { return !s.draining })
	line := 0.0
	for i := range all {
		if all[i].draining != serving {
			line += all[i].share
		}
	}
	at := fraction(turn*golden) * line
	for i := range all {
		if all[i].draining == serving {
			continue
		}
		if at -= all[i].share; at < 0 || i == len(all)-1 {
			all[i].key = -1
			return
		}
	}
}

// draw returns a number that depends on both hashes. Of several targets, the probability
// that one has the smallest is in proportion to its share.
func draw(a, b uint64, share float64) float64 {
	return -math.Log(fraction(mix(a^mix(b)))) / share
}

// fraction returns a number between 0 and 1, without either.
func fraction(hash uint64) float64 {
	const bits = 52
	return (float64(hash>>(64-bits)) + 0.5) / (1 << bits)
}

// clientHash returns the hash of an IPv4 address, or of the /64 of an IPv6 address, which
// is the usual prefix of a household or host.
func clientHash(addr netip.Addr) uint64 {
	bytes := addr.As16() // IPv4 as IPv4-mapped
	low := uint64(0)
	if addr.Unmap().Is4() {
		low = bigEndian(bytes[8:])
	}
	return mix(bigEndian(bytes[:8]) ^ mix(low))
}

func bigEndian(bytes []byte) (n uint64) {
	for _, b := range bytes {
		n = n<<8 | uint64(b)
	}
	return n
}

// hash continues a hash of text: FNV-1a of draft-eastlake-fnv, which must never change,
// since every replica and every version has to order in the same way.
func hash(h uint64, text string) uint64 {
	const prime = 0x100000001b3
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * prime
	}
	return h
}

const hashBasis = 0xcbf29ce484222325

// mix spreads each bit over all bits: the finalizer of SplitMix64 (G. Steele et al., Fast
// Splittable Pseudorandom Number Generators, 2014). It must never change.
func mix(h uint64) uint64 {
	h += golden
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
