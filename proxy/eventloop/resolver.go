package eventloop

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// freshFor is how long an answer is used without asking again. The Go
	// resolver does not tell how long it may be used.
	freshFor = 10 * time.Second

	// resolveTimeout bounds one question.
	resolveTimeout = 5 * time.Second
)

// resolver looks up the names of backends, off the loops. An answer is kept,
// and outlives a name server that no longer answers. The names are those of
// the routing table: strangers cannot add to them.
type resolver struct {
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

	mu      sync.Mutex
	answers map[string]*answer // name → the latest answer
	running sync.WaitGroup
}

type answer struct {
	addrs   []netip.Addr
	until   time.Time // fresh
	asking  bool
	waiting []func([]netip.Addr)
}

func newResolver() *resolver {
	return &resolver{lookup: net.DefaultResolver.LookupNetIP, answers: make(map[string]*answer)}
}

// cached returns the addresses of name, if the answer is fresh.
func (r *resolver) cached(name string) ([]netip.Addr, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.answers[name]
	if a == nil || time.Now().After(a.until) {
		return nil, false
	}
	return a.addrs, true
}

// resolve calls done with the addresses of name, from another goroutine; with
// none when there are none. However many ask, a name is looked up once at a
// time.
func (r *resolver) resolve(ctx context.Context, name string, done func([]netip.Addr)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.answers[name]
	if a == nil {
		a = &answer{}
		r.answers[name] = a
	}
	a.waiting = append(a.waiting, done)
	if a.asking {
		return
	}
	a.asking = true
	r.running.Go(func() { r.ask(ctx, name, a) })
}

func (r *resolver) ask(ctx context.Context, name string, a *answer) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, err := r.lookup(ctx, "ip", name)

	r.mu.Lock()
	if err == nil {
		a.addrs = addrs
	}
	a.until = time.Now().Add(freshFor)
	a.asking = false
	waiting, known := a.waiting, a.addrs
	a.waiting = nil
	r.mu.Unlock()
	for _, done := range waiting {
		done(known)
	}
}

// wait returns when no lookup is under way.
func (r *resolver) wait() { r.running.Wait() }
