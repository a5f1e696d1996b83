package eventloop

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// cacheLifetime is how long an answer is used without asking again. The Go
	// resolver does not tell how long it may be used.
	cacheLifetime = 10 * time.Second

	// resolveTimeout bounds one question.
	resolveTimeout = 5 * time.Second

	// maxCachedNames bounds the names that are remembered.
	maxCachedNames = 4096

	// maxLookups bounds the names that are asked for at once: each takes two
	// sockets, or four while a name server is slow.
	maxLookups = 32
)

// ResolverDescriptors is how many descriptors the questions to name servers take at
// most.
const ResolverDescriptors = 4 * maxLookups

// resolver looks up the names of backends, off the loops. The names are those of
// the routing table: strangers cannot add to them.
//
// It is a cache and no more. Questions and answers, retries, resolv.conf and the
// hosts file are net.Resolver's, in Go, with StrictErrors. Libraries that would stand
// in for it were looked at: miekg/dns speaks the protocol, and leaves the search list,
// the hosts file and the choice of servers to its user; caches around net.Resolver
// neither serve what has gone stale nor tell a name that is gone from a server that
// is. Should the time that an answer may be kept ever be needed (net.Resolver hides
// it), that is where miekg/dns comes in, not more code here.
//
// What was answered once is served until a name server says otherwise, however long
// ago that is, and refreshed behind: a dead name server delays nobody.
type resolver struct {
	lookup      func(ctx context.Context, network, host string) ([]netip.Addr, error)
	lookupSlots chan struct{} // holds one for each question under way

	mu      sync.Mutex
	cache   map[string]*cacheEntry // name → the latest answer
	running sync.WaitGroup
}

type cacheEntry struct {
	addrs      []netip.Addr // none where the name has none, or was never answered
	freshUntil time.Time    // fresh
	lookingUp  bool
	callbacks  []func([]netip.Addr)
}

func newResolver() *resolver {
	// With StrictErrors a server that fails for one address family, or for one
	// name of the search list, is not taken for one that says there is nothing.
	strict := &net.Resolver{PreferGo: true, StrictErrors: true}
	return &resolver{lookup: strict.LookupNetIP, lookupSlots: make(chan struct{}, maxLookups), cache: make(map[string]*cacheEntry)}
}

// cached returns the addresses of name, if they are known. Should they not be fresh,
// it has them asked for again, behind.
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

// resolve calls done with the addresses of name, from another goroutine; with none
// when there are none.
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

// add makes room for a name. Should there be none, a name that nobody has asked for
// lately makes way.
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

// startLookup has a name looked up. However many wait for it, it is looked up once at a time.
func (r *resolver) startLookup(ctx context.Context, name string, a *cacheEntry) {
	if a.lookingUp {
		return
	}
	a.lookingUp = true
	r.running.Go(func() {
		r.lookupSlots <- struct{}{} // a question ends within resolveTimeout
		addrs, err := r.lookUp(ctx, name)
		<-r.lookupSlots
		r.finishLookup(a, addrs, err)
	})
}

// finishLookup keeps what a lookup brought, and tells those who wait for it.
func (r *resolver) finishLookup(a *cacheEntry, addrs []netip.Addr, err error) {
	r.mu.Lock()
	if err == nil {
		a.addrs = addrs
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

// lookUp returns a name's addresses: none, and no error, where a name server says that
// there are none. A server that fails for one address family, as some do for IPv6,
// does not hide the other.
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

// isNotFound reports whether err is a name server's word that there is nothing: that
// the name does not exist (NXDOMAIN), or has no address of the family asked for.
func isNotFound(err error) bool {
	var failure *net.DNSError
	return errors.As(err, &failure) && failure.IsNotFound && !failure.IsTimeout && !failure.IsTemporary
}

// wait returns when no lookup is under way.
func (r *resolver) wait() { r.running.Wait() }
