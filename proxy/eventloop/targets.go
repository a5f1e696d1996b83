package eventloop

import (
	"net/netip"

	"github.com/jovalle/usher/proxy/routing"
)

// targets iterates over the addresses of a route in the order in which they are
// dialled: the addresses of each backend, and the IP addresses of each name.
type targets struct {
	backends []routing.Backend // after the current one
	backend  *routing.Backend  // the current one
	names    []string          // remaining addresses of the current backend
	resolved []netip.Addr      // remaining IP addresses of the current name
}

func newTargets(backends []routing.Backend) targets {
	return targets{backends: backends}
}

// next returns an IP address to dial, or a name to resolve; pass its addresses to
// setResolved. ok is false if there are no more.
func (t *targets) next() (addr netip.Addr, name string, ok bool) {
	if len(t.resolved) > 0 {
		addr, t.resolved = t.resolved[0], t.resolved[1:]
		return addr, "", true
	}
	for len(t.names) == 0 {
		if len(t.backends) == 0 {
			return netip.Addr{}, "", false
		}
		t.backend, t.backends = &t.backends[0], t.backends[1:]
		t.names = t.backend.Addresses
	}
	name, t.names = t.names[0], t.names[1:]
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr, "", true
	}
	return netip.Addr{}, name, true
}

// setResolved sets the addresses of the name that next returned.
func (t *targets) setResolved(addrs []netip.Addr) { t.resolved = addrs }
