package routing

import (
	"iter"
	"maps"
	"strings"
	"sync/atomic"
)

// Table maps hosts to routes. It is immutable, so that any number of goroutines may
// use it. A nil Table is empty.
type Table struct {
	exact    *shards // host → route
	wildcard *shards // host after "*." → route
	refused  int     // routes with a refusal

	ports map[string]int // name of a port other than PortHTTPS → hosts that are served on it
}

// NewTable returns a table of routes. Of several routes with the same host, it uses
// the first. The caller must not change the slices of the routes afterwards.
func NewTable(routes []Route) *Table {
	t := &Table{exact: new(shards), wildcard: new(shards), ports: map[string]int{}}
	for i := range routes {
		route := routes[i] // a copy, because the caller may change its slice
		if route.Reached == nil {
			route.Continue(nil)
		}
		into, key := t.of(route.Host)
		if !into.add(key, &route) {
			continue
		}
		if route.Refusal != "" {
			t.refused++
		}
		t.countPorts(&route, 1)
	}
	return t
}

// With returns a table in which the route replaces any other route of its host. t does
// not change. One of 256 shards is copied. The caller must not change the slices of
// the route afterwards.
func (t *Table) With(route Route) *Table { return t.change(route.Host, &route) }

// Without returns a table without the route of a host. t does not change.
func (t *Table) Without(host string) *Table {
	if t.Own(host) == nil {
		return t
	}
	return t.change(host, nil)
}

// change returns a table in which a host, which may be a wildcard, has the given route,
// or none if route is nil.
func (t *Table) change(host string, route *Route) *Table {
	var next Table
	if t != nil {
		next = *t
	}
	before := t.Own(host)
	if before != nil && before.Refusal != "" {
		next.refused--
	}
	if route != nil {
		route.Continue(before)
	}
	if route != nil && route.Refusal != "" {
		next.refused++
	}
	if parent, ok := strings.CutPrefix(host, "*."); ok {
		next.wildcard = next.wildcard.with(parent, route)
	} else {
		next.exact = next.exact.with(host, route)
	}
	if before.hasPorts() || route.hasPorts() {
		next.ports = maps.Collect(maps.All(next.ports)) // unlike maps.Clone never nil
		next.countPorts(before, -1)
		next.countPorts(route, 1)
	}
	return &next
}

// countPorts adds n to the counts of a route's ports; the route may be nil.
func (t *Table) countPorts(route *Route, n int) {
	if route == nil {
		return
	}
	for _, port := range route.Ports {
		if t.ports[port.Name] += n; t.ports[port.Name] == 0 {
			delete(t.ports, port.Name)
		}
	}
}

// Lookup returns the route for a host in canonical form, or nil if there is none. An
// exact route, including a refusal, takes precedence over a wildcard. A wildcard
// matches one label, except those in its Except. Lookup does not allocate.
func (t *Table) Lookup(host string) *Route {
	if t == nil {
		return nil
	}
	if route := t.exact.get(host); route != nil {
		return route
	}
	label, parent, _ := strings.Cut(host, ".")
	if label == "" {
		return nil
	}
	route := t.wildcard.get(parent)
	if route == nil {
		return nil
	}
	return route.under(label)
}

// Own returns the route with exactly this Host, which may be a wildcard, or nil. A
// wildcard does not match other hosts.
func (t *Table) Own(host string) *Route {
	in, key := t.of(host)
	return in.get(key)
}

// of returns the shards and the key of a host, which may be a wildcard.
func (t *Table) of(host string) (in *shards, key string) {
	if t == nil {
		return nil, host
	}
	if parent, ok := strings.CutPrefix(host, "*."); ok {
		return t.wildcard, parent
	}
	return t.exact, host
}

// Len returns the number of served hosts: of routes without a refusal.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return t.exact.len() + t.wildcard.len() - t.refused
}

// Refused returns the number of routes with a refusal.
func (t *Table) Refused() int {
	if t == nil {
		return 0
	}
	return t.refused
}

// Ports returns the number of hosts that are served on each TLS port other than
// PortHTTPS: name → hosts. The caller must not change the map.
func (t *Table) Ports() map[string]int {
	if t == nil {
		return nil
	}
	return t.ports
}

// All yields all routes, including refusals, in no particular order.
func (t *Table) All() iter.Seq[*Route] {
	return func(yield func(*Route) bool) {
		if t != nil && t.exact.all(yield) {
			t.wildcard.all(yield)
		}
	}
}

// Changes yields the routes of all hosts that have another Route value in t than in before:
// the one in before and the one in t, either of which may be nil. Routes that were made
// again are among them, even if they are equal.
func (t *Table) Changes(before *Table) iter.Seq2[*Route, *Route] {
	return func(yield func(was, is *Route) bool) {
		if t == nil {
			t = &empty
		}
		if before == nil {
			before = &empty
		}
		if t.exact.changes(before.exact, yield) {
			t.wildcard.changes(before.wildcard, yield)
		}
	}
}

// Live holds the current table. Its zero value holds an empty table. It may be used by
// any number of goroutines and must not be copied.
type Live struct {
	// Changed, if not nil, is called after each Store, by its goroutine. It is set
	// before the first Store, and must not wait.
	Changed func(before, after *Table)

	table atomic.Pointer[Table]
}

// Load returns the current table, which is never nil.
func (l *Live) Load() *Table {
	if t := l.table.Load(); t != nil {
		return t
	}
	return &empty
}

// Store sets the current table; nil means an empty table.
func (l *Live) Store(t *Table) {
	before := l.table.Swap(t)
	if l.Changed != nil {
		l.Changed(before, t)
	}
}

var empty Table
