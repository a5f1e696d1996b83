package routing

import (
	"iter"
	"strings"
	"sync/atomic"
)

// Table maps hosts to routes. It never changes, so that any number of
// goroutines may use it. A nil Table is empty.
type Table struct {
	exact    *shards // host → route
	wildcard *shards // host after "*." → route
	refused  int     // routes with a refusal
}

// NewTable returns a table of routes; of two routes with one host the first
// counts. The caller must not change what the routes refer to afterwards.
func NewTable(routes []Route) *Table {
	t := &Table{exact: new(shards), wildcard: new(shards)}
	for i := range routes {
		route := routes[i] // a copy: the caller's slice stays the caller's
		into, key := t.of(route.Host)
		if into.add(key, &route) && route.Refusal != "" {
			t.refused++
		}
	}
	return t
}

// With returns a table in which the route takes the place of any other of its
// host; t stays as it is. The cost is the copy of one shard in 256.
// The caller must not change what the route refers to afterwards.
func (t *Table) With(route Route) *Table { return t.change(route.Host, &route) }

// Without returns a table without the host's own route, as With returns one with it.
func (t *Table) Without(host string) *Table {
	if t.Own(host) == nil {
		return t
	}
	return t.change(host, nil)
}

// change returns a table in which a host, which may be a wildcard, has a route or none.
func (t *Table) change(host string, route *Route) *Table {
	var next Table
	if t != nil {
		next = *t
	}
	if before := t.Own(host); before != nil && before.Refusal != "" {
		next.refused--
	}
	if route != nil && route.Refusal != "" {
		next.refused++
	}
	if parent, ok := strings.CutPrefix(host, "*."); ok {
		next.wildcard = next.wildcard.with(parent, route)
	} else {
		next.exact = next.exact.with(host, route)
	}
	return &next
}

// Lookup returns the route of a host in canonical form, or nil when there is
// none. An exact route wins over a wildcard, a refusal too, and a wildcard covers
// one label, but for those that its route excepts. It allocates nothing.
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

// Own returns the route whose Host it is, or nil: no wildcard stands in for it.
func (t *Table) Own(host string) *Route {
	in, key := t.of(host)
	return in.get(key)
}

// of returns where the route of a host, which may be a wildcard, is, and under which key.
func (t *Table) of(host string) (in *shards, key string) {
	if t == nil {
		return nil, host
	}
	if parent, ok := strings.CutPrefix(host, "*."); ok {
		return t.wildcard, parent
	}
	return t.exact, host
}

// Len returns the number of hosts that are served: of routes without a refusal.
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

// All yields the routes, refusals among them, in no order.
func (t *Table) All() iter.Seq[*Route] {
	return func(yield func(*Route) bool) {
		if t != nil && t.exact.all(yield) {
			t.wildcard.all(yield)
		}
	}
}

// Live holds the table in force. Its zero value holds an empty table. It may
// be used by any number of goroutines and must not be copied.
type Live struct {
	table atomic.Pointer[Table]
}

// Load returns the table in force, which is never nil.
func (l *Live) Load() *Table {
	if t := l.table.Load(); t != nil {
		return t
	}
	return &empty
}

// Store puts t in force; nil stands for an empty table.
func (l *Live) Store(t *Table) { l.table.Store(t) }

var empty Table
