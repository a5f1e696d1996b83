package health

import (
	"context"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"

	"github.com/jovalle/usher/proxy/endpoint"
	"github.com/jovalle/usher/proxy/routing"
)

const (
	// maxWatched and maxWatchedOfCluster bound the addresses and names that are checked:
	// 16 addresses on each of 16 ports for a cluster.
	maxWatched          = 1024
	maxWatchedOfCluster = 256

	// maxAtOnce and maxAtOnceOfCluster bound the checks in progress.
	maxAtOnce          = 32
	maxAtOnceOfCluster = 8

	// followInterval is the least time between two looks at a table that has changed.
	followInterval = 2 * time.Second

	// jitter is the divisor of the part of an interval that is random, so that replicas
	// do not check at the same time.
	jitter = 10

	// Bounds on the log lines, which a backend can cause.
	logBurst    = 100
	logInterval = time.Second
)

// Descriptors is the maximum number of descriptors of checks, without those of lookups.
const Descriptors = maxAtOnce

// Checks checks addresses while Run runs. Set its fields before. Its other methods may be
// called from any goroutine.
type Checks struct {
	// Table has the backends, with what they ask for.
	Table *routing.Live

	// Endpoints gets the results.
	Endpoints *endpoint.Memory

	// IsOwnAddress reports whether an address leads back to this process. It is not
	// checked. May be nil.
	IsOwnAddress func(netip.AddrPort) bool

	// Log gets a line when an address becomes unhealthy or healthy.
	Log logr.Logger

	// Changed is called with the name of a cluster whose Summary has changed. It must
	// not block. May be nil.
	Changed func(cluster string)

	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error) // net.DefaultResolver's, except in tests
	limiter *rate.Limiter
	atOnce  chan struct{} // holds one value for each check in progress; made by Run, except in tests
	running sync.WaitGroup
	results [results]atomic.Uint64
	watches map[subject]*watch       // what is checked; Run's own
	slots   map[string]chan struct{} // cluster → one value for each check in progress; Run's own

	mu       sync.Mutex
	clusters map[string]Summary // cluster → of its addresses
}

// Summary says how many addresses are checked, and how many of them are healthy.
type Summary struct{ Healthy, Total int }

// result is how a check has ended.
type result uint8

const (
	passed     result = iota
	failed            // no connection, or no handshake, within the timeout
	unresolved        // the name could not be resolved: what was known of its addresses remains
	notDialled        // the address is usher's own, or not allowed for the backend
	results           // the number of results
)

// String returns the value of the metric label result.
func (r result) String() string {
	return [results]string{"passed", "failed", "unresolved", "not_dialled"}[r]
}

// Run checks until ctx ends.
func (c *Checks) Run(ctx context.Context) {
	c.limiter = newLimiter()
	if c.atOnce == nil {
		c.atOnce = make(chan struct{}, maxAtOnce)
	}
	c.watches, c.slots = make(map[subject]*watch), make(map[string]chan struct{})
	if c.lookup == nil {
		c.lookup = net.DefaultResolver.LookupNetIP
	}
	ticker := time.NewTicker(followInterval)
	defer ticker.Stop()
	var followed *routing.Table
	for {
		if table := c.Table.Load(); table != followed {
			c.follow(ctx, table)
			followed = table
		}
		select {
		case <-ctx.Done():
			c.stop(func(subject) bool { return true })
			c.running.Wait()
			return
		case <-ticker.C:
		}
	}
}

func newLimiter() *rate.Limiter { return rate.NewLimiter(rate.Every(logInterval), logBurst) }

// Summary returns what is known of the addresses of each cluster that are checked.
func (c *Checks) Summary() map[string]Summary {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Collect(maps.All(c.clusters))
}

// Of returns the Summary of one cluster.
func (c *Checks) Of(cluster string) Summary {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clusters[cluster]
}

// count adds to the summary of a cluster.
func (c *Checks) count(cluster string, healthy, total int) {
	c.mu.Lock()
	if c.clusters == nil {
		c.clusters = make(map[string]Summary)
	}
	sum := c.clusters[cluster]
	sum.Healthy += healthy
	sum.Total += total
	if c.clusters[cluster] = sum; sum.Total == 0 {
		delete(c.clusters, cluster)
	}
	c.mu.Unlock()
	if c.Changed != nil {
		c.Changed(cluster)
	}
}

// follow starts and ends checks, so that they are those that a table asks for.
func (c *Checks) follow(ctx context.Context, table *routing.Table) {
	wanted := plansOf(table)
	c.stop(func(s subject) bool { return wanted[s] == nil })
	for s, p := range wanted {
		if known := c.watches[s]; known != nil {
			known.plan.Store(p)
			continue
		}
		if c.slots[s.cluster] == nil {
			c.slots[s.cluster] = make(chan struct{}, maxAtOnceOfCluster)
		}
		w := &watch{checks: c, subject: s, slots: c.slots[s.cluster], states: make(map[netip.Addr]*state), ended: make(chan struct{})}
		w.plan.Store(p)
		var watching context.Context
		watching, w.cancel = context.WithCancel(ctx)
		c.watches[s] = w
		c.running.Go(func() { w.run(watching) })
	}
	watched := make(map[string]bool)
	for s := range wanted {
		watched[s.cluster] = true
	}
	maps.DeleteFunc(c.slots, func(cluster string, _ chan struct{}) bool { return !watched[cluster] })
}

// stop ends the checks of some subjects, and waits for that.
func (c *Checks) stop(which func(subject) bool) {
	var stopped []*watch
	for s, w := range c.watches {
		if which(s) {
			w.cancel()
			delete(c.watches, s)
			stopped = append(stopped, w)
		}
	}
	for _, w := range stopped {
		<-w.ended
	}
}

// watch checks an address, or the addresses of a name, again and again.
type watch struct {
	checks  *Checks
	subject subject
	plan    atomic.Pointer[plan]
	slots   chan struct{}
	states  map[netip.Addr]*state // address → what its checks have shown; of run
	cancel  context.CancelFunc
	ended   chan struct{} // closed when run has returned
}

// state is what the checks of an address have shown.
type state struct {
	unhealthy bool
	against   int // checks in a row that have shown the opposite
}

// run checks until ctx ends, and then takes back what it has recorded.
func (w *watch) run(ctx context.Context) {
	defer close(w.ended)
	defer w.forget(func(netip.Addr) bool { return true })
	interval := w.plan.Load().Interval
	for pause := rand.N(interval); wait(ctx, pause); pause = interval - rand.N(interval/jitter) { //nolint:gosec // it only spreads the checks
		w.round(ctx)
		interval = w.plan.Load().Interval
	}
}

// wait waits, and returns false if ctx ends before.
func wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// round checks each address once. If a name cannot be resolved, what is known of its
// addresses remains.
func (w *watch) round(ctx context.Context) {
	p := w.plan.Load()
	addrs, err := w.resolve(ctx, p)
	if err != nil {
		w.checks.results[unresolved].Add(1)
		return
	}
	w.forget(func(addr netip.Addr) bool { return !slices.Contains(addrs, addr) })
	for _, addr := range addrs {
		at := netip.AddrPortFrom(addr, w.subject.port)
		if own := w.checks.IsOwnAddress; own != nil && own(at) || !p.backend.Dials(addr) {
			w.forget(func(other netip.Addr) bool { return other == addr })
			w.checks.results[notDialled].Add(1)
			continue
		}
		err := w.check(ctx, p, at)
		if ctx.Err() != nil {
			return
		}
		w.record(addr, p, err)
	}
}

// resolve returns the addresses to check.
func (w *watch) resolve(ctx context.Context, p *plan) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(w.subject.address); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	addrs, err := w.checks.lookup(ctx, "ip", w.subject.address)
	addrs = addrs[:min(len(addrs), endpoint.MaxResolved)]
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return addrs, err
}

// check checks one address. It waits for its turn first, which does not count towards the
// timeout.
func (w *watch) check(ctx context.Context, p *plan, at netip.AddrPort) error {
	if err := enter(ctx, w.slots); err != nil {
		return err
	}
	defer func() { <-w.slots }()
	if err := enter(ctx, w.checks.atOnce); err != nil {
		return err
	}
	defer func() { <-w.checks.atOnce }()
	return p.probe(ctx, at)
}

// enter waits for one of the slots.
func enter(ctx context.Context, slots chan<- struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// record records the result of a check.
func (w *watch) record(addr netip.Addr, p *plan, err error) {
	c, s := w.checks, w.states[addr]
	if s == nil {
		s = &state{}
		w.states[addr] = s
		c.count(w.subject.cluster, 1, 1)
	}
	defer c.results[resultOf(err)].Add(1)
	if (err != nil) == s.unhealthy {
		s.against = 0
	} else if s.against++; s.against >= p.needed(s.unhealthy) {
		s.unhealthy, s.against = !s.unhealthy, 0
		w.changed(addr, p, s.unhealthy, err)
	}
	if s.unhealthy { // again, since another watch may have the same address and end
		c.Endpoints.Down(w.endpoint(addr))
	}
}

func resultOf(err error) result {
	if err != nil {
		return failed
	}
	return passed
}

func (w *watch) endpoint(addr netip.Addr) endpoint.Endpoint {
	return endpoint.Of(w.subject.cluster, netip.AddrPortFrom(addr, w.subject.port))
}

// changed reports that an address has become unhealthy, or healthy.
func (w *watch) changed(addr netip.Addr, p *plan, unhealthy bool, err error) {
	c, e := w.checks, w.endpoint(addr)
	log := c.Log.WithValues("cluster", e.Cluster, "address", e.Addr.String(), "check", p.Type.String())
	if !c.limiter.Allow() {
		log = logr.Discard()
	}
	if unhealthy {
		c.Endpoints.Down(e)
		c.count(e.Cluster, -1, 0)
		log.Info("An address does not pass its health check; it is dialled after the others", "error", err.Error(), "host", p.host)
		return
	}
	c.Endpoints.Up(e)
	c.count(e.Cluster, 1, 0)
	log.Info("An address passes its health check again")
}

// forget takes back what was recorded of some addresses.
func (w *watch) forget(which func(netip.Addr) bool) {
	for addr, s := range w.states {
		if !which(addr) {
			continue
		}
		healthy := -1
		if s.unhealthy {
			healthy = 0
			w.checks.Endpoints.Unchecked(w.endpoint(addr))
		}
		delete(w.states, addr)
		w.checks.count(w.subject.cluster, healthy, -1)
	}
}
