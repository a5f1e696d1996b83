package eventloop

import (
	"math/rand/v2"
	"net/netip"

	"github.com/jovalle/usher/proxy/balance"
	"github.com/jovalle/usher/proxy/endpoint"
	"github.com/jovalle/usher/proxy/routing"
)

// target is an address of a backend to dial, or a name to resolve.
type target struct {
	backend *routing.Backend
	address string         // as the backend has it
	addr    netip.AddrPort // unless address is a name that is not resolved yet
}

// isName reports whether the target is to be resolved.
func (t target) isName() bool { return t.backend != nil && !t.addr.IsValid() }

// String returns the name, or the address.
func (t target) String() string {
	if t.isName() {
		return t.address
	}
	return t.addr.String()
}

func (t target) endpoint() endpoint.Endpoint { return endpoint.Of(t.backend.Cluster, t.addr) }

// targets iterates over the targets of a route in the order in which they are dialled:
//
//   - the addresses of each backend, and the IP addresses of each name, in the order of
//     the route's strategy;
//   - then those of them that are known to fail;
//   - then those that were abandoned, because they did not answer soon and there were
//     others.
type targets struct {
	backends  []routing.Backend // of the route
	after     int               // index of the backend after the current one, unless ordered
	order     []balance.Target  // remaining ones, if ordered
	ordered   bool              // order replaces the order of the backends
	buffer    [balance.Few]balance.Target
	backend   *routing.Backend // the current one
	names     []string         // remaining addresses of the current backend, unless ordered
	resolving string           // the current name
	resolved  []netip.Addr     // remaining IP addresses of the current name
	failing   []target
	abandoned []target
}

// start begins with the first target of a route on one of its ports.
func (t *targets) start(l *loop, route *routing.Route, backends []routing.Backend, client netip.Addr) {
	t.backends = backends
	if !balance.Needed(route.Strategy, backends) {
		return
	}
	choice := balance.Choice{Strategy: route.Strategy, Client: client, State: l.addressState}
	switch {
	case route.Strategy == routing.ClientHash:
	case route.Turns != nil:
		choice.Turn = route.Turns.Add(1)
	default:
		choice.Turn = rand.Uint64() //nolint:gosec // it only spreads connections
	}
	t.ordered, t.order = true, balance.Order(t.buffer[:0], backends, choice)
}

// addressState is the State of a balance.Choice.
func (f *Forwarder) addressState(b *routing.Backend, address string) (open int, part float64) {
	part = f.Endpoints.PartOf(b.Cluster, address, b.HTTPSPort)
	return f.Connections.Count(endpoint.Backend{Cluster: b.Cluster, Address: address}), part
}

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
		next, t.resolved = t.at(t.resolving, t.resolved[0]), t.resolved[1:]
		return next, true
	}
	if t.ordered {
		return t.nextOrdered()
	}
	for len(t.names) == 0 {
		if t.after == len(t.backends) {
			return target{}, false
		}
		t.backend = &t.backends[t.after]
		t.names = t.backend.Addresses
		t.after++
	}
	address := t.names[0]
	t.names = t.names[1:]
	return t.of(address), true
}

func (t *targets) nextOrdered() (next target, ok bool) {
	if len(t.order) == 0 {
		return target{}, false
	}
	first := t.order[0]
	t.order = t.order[1:]
	t.backend = &t.backends[first.Backend]
	return t.of(t.backend.Addresses[first.Address]), true
}

// of returns the target of what the current backend has as an address.
func (t *targets) of(address string) target {
	if addr, err := netip.ParseAddr(address); err == nil {
		return t.at(address, addr)
	}
	return target{backend: t.backend, address: address}
}

// at returns the target of an IP address of the current backend.
func (t *targets) at(address string, addr netip.Addr) target {
	return target{backend: t.backend, address: address, addr: netip.AddrPortFrom(addr, t.backend.HTTPSPort)}
}

// setResolved sets the addresses of a name that next returned last.
func (t *targets) setResolved(name target, addrs []netip.Addr) {
	t.backend, t.resolving, t.resolved = name.backend, name.address, addrs
}

// untried reports whether next will return a target that it has not returned before.
func (t *targets) untried() bool {
	if len(t.resolved) > 0 || len(t.order) > 0 || len(t.names) > 0 || len(t.failing) > 0 {
		return true
	}
	if t.ordered {
		return false
	}
	for i := t.after; i < len(t.backends); i++ {
		if len(t.backends[i].Addresses) > 0 {
			return true
		}
	}
	return false
}

// more reports whether next will return a target.
func (t *targets) more() bool { return len(t.abandoned) > 0 || t.untried() }
