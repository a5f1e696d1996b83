package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/allowfrom"
	"github.com/jovalle/usher/proxy/routing"
)

// Host is an accepted exposed host.
type Host struct {
	// Name of its ExposedHost.
	Name string
	// Host as in its spec; a wildcard begins with "*.".
	Host string
	// Except are the first labels that a wildcard does not cover.
	Except []string
	// Written are the backends of its spec.
	Written []v1alpha1.HostBackend
	// Backends that receive its connections on the port https.
	Backends []routing.Backend
	// PlainOnly means that only plain HTTP is served, and Forwarded that it is forwarded.
	PlainOnly, Forwarded bool
	// AllowFrom as in its spec.
	AllowFrom []string
	// Sources are the objects that publish it; none if it was manually written.
	Sources []v1alpha1.SourceRef
	// Recorded means that usher writes its public DNS records, and Proxied that they lead to
	// a CDN.
	Recorded, Proxied bool
	// Drift is why its DNS records are not as wanted; empty if they are, or nobody knows.
	Drift string
}

// asked returns a name that the host covers: for a wildcard, one under it.
func (h *Host) asked() string { return routing.NameWithin(h.Host) }

// covers reports whether the host serves a name.
func (h *Host) covers(name string) bool {
	parent, wildcard := strings.CutPrefix(h.Host, "*.")
	if !wildcard {
		return h.Host == name
	}
	label, rest, _ := strings.Cut(name, ".")
	return rest == parent && !slices.Contains(h.Except, label)
}

// admitsMore reports whether a client may connect to the host, and not to the other one.
func (h *Host) admitsMore(other *Host) bool {
	if len(other.AllowFrom) == 0 {
		return false
	}
	if len(h.AllowFrom) == 0 {
		return true
	}
	both, ok := allowfrom.Intersect(h.AllowFrom, other.AllowFrom)
	if !ok {
		return true
	}
	own, _ := allowfrom.Intersect(h.AllowFrom, h.AllowFrom)
	slices.Sort(both)
	slices.Sort(own)
	return !slices.Equal(both, own)
}

// at returns where a backend takes TLS connections: backends with the same text are the
// same.
func at(b *routing.Backend) string {
	return fmt.Sprintf("%s %q %d", b.Cluster, b.Addresses, b.HTTPSPort)
}

// Inventory finds exposed hosts by name and by backend. It does not change.
type Inventory struct {
	byName    map[string]*Host   // host → the host
	under     map[string][]*Host // parent domain → hosts under it
	byBackend map[string][]*Host // backend → its hosts
}

// NewInventory returns the inventory of hosts.
func NewInventory(hosts []*Host) *Inventory {
	i := &Inventory{byName: map[string]*Host{}, under: map[string][]*Host{}, byBackend: map[string][]*Host{}}
	for _, h := range hosts {
		i.byName[h.Host] = h
		_, parent, _ := strings.Cut(h.Host, ".")
		i.under[parent] = append(i.under[parent], h)
		for b := range h.Backends {
			key := at(&h.Backends[b])
			i.byBackend[key] = append(i.byBackend[key], h)
		}
	}
	return i
}

// Exposed reports whether a name is served by any host.
func (i *Inventory) Exposed(name string) bool {
	if i.byName[name] != nil {
		return true
	}
	_, parent, _ := strings.Cut(name, ".")
	wildcard := i.byName["*."+parent]
	return wildcard != nil && wildcard.covers(name)
}

// narrower returns no more than most hosts of the same backend which clients of h may not
// connect to.
func (i *Inventory) narrower(h *Host, b *routing.Backend, most int) []*Host {
	var found []*Host
	for n, other := range i.byBackend[at(b)] {
		if len(found) == most || n == maxCompared {
			break
		}
		if other != h && h.admitsMore(other) {
			found = append(found, other)
		}
	}
	return found
}

// elsewhere returns no more than most hosts that one of the names of a certificate covers and
// that other backends serve.
func (i *Inventory) elsewhere(h *Host, b *routing.Backend, names []string, most int) []*Host {
	var found []*Host
	compared := 0
	for _, name := range names {
		candidates := []*Host{i.byName[name]}
		if parent, wildcard := strings.CutPrefix(name, "*."); wildcard {
			candidates = i.under[parent]
		}
		for _, other := range candidates {
			if compared++; len(found) == most || compared == maxCompared {
				return found
			}
			if other != nil && other != h && len(other.Backends) > 0 && !slices.Contains(found, other) && !other.servedAt(b) {
				found = append(found, other)
			}
		}
	}
	return found
}

// servedAt reports whether a backend serves the host.
func (h *Host) servedAt(b *routing.Backend) bool {
	return slices.ContainsFunc(h.Backends, func(own routing.Backend) bool { return at(&own) == at(b) })
}
