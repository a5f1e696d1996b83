package eventloop

import (
	"net/netip"

	"github.com/jovalle/usher/proxy/endpoint"
	"github.com/jovalle/usher/proxy/routing"
)

// target is an address of a backend to dial, or a name to resolve.
type target struct {
	backend *routing.Backend
	addr    netip.AddrPort // unless name is set
	name    string
}

// String returns the name, or the address.
func (t target) String() string {
	if t.name != "" {
		return t.name
	}
	return t.addr.String()
}

func (t target) endpoint() endpoint.Endpoint { return endpoint.Of(t.backend.Cluster, t.addr) }

// targets iterates over the targets of a route in the order in which they are dialled:
//
//   - the addresses of each backend, and the IP addresses of each name, in the order of
//     the route;
//   - then those of them that are known to fail;
//   - then those that were abandoned, because they did not answer soon and there were
//     others.
type targets struct {
	backends  []routing.Backend // after the current one
	backend   *routing.Backend  // the current one
	names     []string          // remaining addresses of the current backend
	resolved  []netip.Addr      // remaining IP addresses of the current name
	failing   []target
	abandoned []target
}

// start begins with the first target of a route on one of its ports. The order of the
// backends is the order in which they are dialled.
func (t *targets) start(backends []routing.Backend) { t.backends = backends }

// next returns the next target. If it is a name, pass its addresses to setResolved.
// postponed means that it is not in its place, because it is known to fail, or was
// abandoned. ok is false if there are no more.
func (t *targets) next() (next target, postponed, ok bool) {
	if next, ok := t.nextOfRoute(); ok {
		return next, false, true
	}
	for _, later := range []*[]target{&t.failing, &t.abandoned} {
		if len(*later) > 0 {
			next, *later = (*later)[0], (*later)[1:]
			return next, true, true
		}
	}
	return target{}, false, false
}

func (t *targets) nextOfRoute() (next target, ok bool) {
	if len(t.resolved) > 0 {
		next, t.resolved = t.address(t.resolved[0]), t.resolved[1:]
		return next, true
	}
	for len(t.names) == 0 {
		if len(t.backends) == 0 {
			return target{}, false
		}
		t.backend, t.backends = &t.backends[0], t.backends[1:]
		t.names = t.backend.Addresses
	}
	name := t.names[0]
	t.names = t.names[1:]
	if addr, err := netip.ParseAddr(name); err == nil {
		return t.address(addr), true
	}
	return target{backend: t.backend, name: name}, true
}

// address returns the target of an address of the current backend.
func (t *targets) address(addr netip.Addr) target {
	return target{backend: t.backend, addr: netip.AddrPortFrom(addr, t.backend.HTTPSPort)}
}

// setResolved sets the addresses of a name that next returned last.
func (t *targets) setResolved(name target, addrs []netip.Addr) {
	t.backend, t.resolved = name.backend, addrs
}

// untried reports whether next will return a target that it has not returned before.
func (t *targets) untried() bool {
	if len(t.resolved) > 0 || len(t.names) > 0 || len(t.failing) > 0 {
		return true
	}
	for i := range t.backends {
		if len(t.backends[i].Addresses) > 0 {
			return true
		}
	}
	return false
}

// more reports whether next will return a target.
func (t *targets) more() bool { return len(t.abandoned) > 0 || t.untried() }
