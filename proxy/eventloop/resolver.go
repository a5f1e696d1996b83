package eventloop

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/jovalle/usher/proxy/endpoint"
)

const (
	// cacheLifetime is how long addresses are used without another lookup. The Go
	// resolver does not return the TTL.
	cacheLifetime = 10 * time.Second

	// resolveTimeout bounds one lookup.
	resolveTimeout = 5 * time.Second

	// maxCachedNames bounds the names in the cache.
	maxCachedNames = 4096

	// maxLookups bounds the concurrent lookups. Each uses two sockets, or four while
	// a name server is slow.
	maxLookups = 32
)

// ResolverDescriptors is the maximum number of descriptors for DNS queries.
const ResolverDescriptors = 4 * maxLookups

// resolver looks up the names of backends in goroutines outside of the loops. The
// names come from the routing table, so clients cannot add any.
//
// It is only a cache. net.Resolver, in Go and with StrictErrors, sends the queries,
// retries, and reads resolv.conf and the hosts file. No library replaces it well:
// miekg/dns implements the protocol, but not the search list, the hosts file and the
// choice of servers; caches around net.Resolver neither serve stale addresses nor
// distinguish a name that does not exist from a failed server. If the TTL, which
// net.Resolver hides, is ever needed, use miekg/dns instead of extending this code.
//
// Addresses are served until a name server returns others, even if they are stale, and
// are refreshed in the background. A failed name server thus delays no connection to
// a known name.
type resolver struct {
	lookup      func(ctx context.Context, network, host string) ([]netip.Addr, error)
	lookupSlots chan struct{} // holds one value for each lookup in progress

	mu      sync.Mutex
	cache   map[string]*cacheEntry // by name
	running sync.WaitGroup
}

type cacheEntry struct {
	addrs      []netip.Addr // empty if the name has none, or no lookup has succeeded
	freshUntil time.Time
	lookingUp  bool
	callbacks  []func([]netip.Addr)
}

func newResolver() *resolver {
	// With StrictErrors, a failure for one address family, or for one name of the
	// search list, is an error instead of an empty result.
	strict := &net.Resolver{PreferGo: true, StrictErrors: true}
	return &resolver{lookup: strict.LookupNetIP, lookupSlots: make(chan struct{}, maxLookups), cache: make(map[string]*cacheEntry)}
}

// cached returns the addresses of name if they are known. If they are stale, it starts
// a lookup in the background.
func (r *resolver) cached(ctx context.Context, name string) (addrs []netip.Addr, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.cache[name]
	if a == nil {
		return nil, false
	}
	fresh := time.Now().Before(a.freshUntil)
	if !fresh && len(a.addrs) > 0 {
		r.startLookup(ctx, name, a)
	}
	return a.addrs, fresh || len(a.addrs) > 0
}

// resolve looks up name and calls done with its addresses, or with none if there are
// none, from another goroutine.
func (r *resolver) resolve(ctx context.Context, name string, done func([]netip.Addr)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.cache[name]
	if a == nil {
		a = r.add(name)
	}
	a.callbacks = append(a.callbacks, done)
	r.startLookup(ctx, name, a)
}

// add adds a name to the cache. If the cache is full, it removes a stale name.
func (r *resolver) add(name string) *cacheEntry {
	if len(r.cache) >= maxCachedNames {
		for other, a := range r.cache {
			if !a.lookingUp && time.Now().After(a.freshUntil) {
				delete(r.cache, other)
				break
			}
		}
	}
	a := &cacheEntry{}
	r.cache[name] = a
	return a
}

// startLookup starts a lookup of a name, unless one is in progress.
func (r *resolver) startLookup(ctx context.Context, name string, a *cacheEntry) {
	if a.lookingUp {
		return
	}
	a.lookingUp = true
	r.running.Go(func() {
		r.lookupSlots <- struct{}{} // each lookup ends within resolveTimeout
		addrs, err := r.lookUp(ctx, name)
		<-r.lookupSlots
		r.finishLookup(a, addrs, err)
	})
}

// finishLookup stores the result of a lookup and runs the callbacks.
func (r *resolver) finishLookup(a *cacheEntry, addrs []netip.Addr, err error) {
	r.mu.Lock()
	if err == nil {
		a.addrs = slices.Clone(addrs[:min(len(addrs), endpoint.MaxResolved)])
	}
	a.freshUntil = time.Now().Add(cacheLifetime)
	a.lookingUp = false
	waiting, known := a.callbacks, a.addrs
	a.callbacks = nil
	r.mu.Unlock()
	for _, done := range waiting {
		done(known)
	}
}

// lookUp returns the addresses of a name. If a name server responds that there are
// none, it returns none and no error. If a server fails for one address family, as
// some do for IPv6, it returns the addresses of the other.
func (r *resolver) lookUp(ctx context.Context, name string) ([]netip.Addr, error) {
	addrs, err := r.lookUpFamily(ctx, "ip", name)
	if err == nil || isNotFound(err) {
		return addrs, nil
	}
	for _, family := range []string{"ip4", "ip6"} {
		if addrs, familyErr := r.lookUpFamily(ctx, family, name); familyErr == nil {
			return addrs, nil
		}
	}
	return nil, err
}

func (r *resolver) lookUpFamily(ctx context.Context, network, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	return r.lookup(ctx, network, name)
}

// isNotFound reports whether err means that a name server has responded that the name
// does not exist (NXDOMAIN) or has no address of the queried family.
func isNotFound(err error) bool {
	var failure *net.DNSError
	return errors.As(err, &failure) && failure.IsNotFound && !failure.IsTimeout && !failure.IsTemporary
}

// wait returns when no lookup is in progress.
func (r *resolver) wait() { r.running.Wait() }
