package routing

import (
	"iter"
	"strings"
	"sync/atomic"
)

// Table maps hosts to routes. It never changes, so that any number of
// goroutines may use it. A nil Table is empty.
type Table struct {
	routes   []*Route          // in the order given
	exact    map[string]*Route // host → route
	wildcard map[string]*Route // host after "*." → route
}

// NewTable returns a table of routes; of two routes with one host the first
// counts. The caller must not change what the routes refer to afterwards.
func NewTable(routes []Route) *Table {
	t := &Table{
		exact:    make(map[string]*Route, len(routes)),
		wildcard: make(map[string]*Route),
	}
	for i := range routes {
		route := routes[i] // a copy: the caller's slice stays the caller's
		t.add(&route)
	}
	return t
}

func (t *Table) add(route *Route) {
	hosts, key := t.exact, route.Host
	if parent, ok := strings.CutPrefix(key, "*."); ok {
		hosts, key = t.wildcard, parent
	}
	if _, taken := hosts[key]; taken {
		return
	}
	hosts[key] = route
	t.routes = append(t.routes, route)
}

// Lookup returns the route of a host in canonical form, or nil when there is
// none. An exact route wins over a wildcard, and a wildcard covers one label.
// It allocates nothing.
func (t *Table) Lookup(host string) *Route {
	if t == nil {
		return nil
	}
	if route := t.exact[host]; route != nil {
		return route
	}
	label, parent, _ := strings.Cut(host, ".")
	if label == "" {
		return nil
	}
	return t.wildcard[parent]
}

// Len returns the number of routes.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return len(t.routes)
}

// All yields the routes in the order that NewTable was given them.
func (t *Table) All() iter.Seq[*Route] {
	return func(yield func(*Route) bool) {
		if t == nil {
			return
		}
		for _, route := range t.routes {
			if !yield(route) {
				return
			}
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
