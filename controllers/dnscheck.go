package controllers

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/jovalle/usher/controllers/dnsrecord"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/proxy/routing"
)

// LookupAddrs returns the addresses of a name as the world sees them. A name without an
// address is no error.
type LookupAddrs func(ctx context.Context, name string) ([]netip.Addr, error)

const (
	// checkRate is how many hosts are checked in a second at most. A check is two to four
	// questions.
	checkRate    = 5
	checkWorkers = 2
	// checkEvery is the pause between two checks of a host that is as wanted, with a jitter
	// of half of it.
	checkEvery = 10 * time.Minute
	// checkFirst is that pause after the first check of a host that is not as wanted. It
	// doubles until checkMost.
	checkFirst = 2 * time.Second
	checkMost  = 2 * time.Minute
)

// dnsChecks compares the public records of hosts with what a resolver answers. A nil
// *dnsChecks checks nothing.
type dnsChecks struct {
	lookup  LookupAddrs
	changed func(name string) // called when the result of a host has changed
	limit   *rate.Limiter
	queue   *trigger

	mu    sync.Mutex
	hosts map[string]*dnsCheck // ExposedHost → its check
}

// dnsCheck is the check of one host.
type dnsCheck struct {
	records dnsrecord.Records
	result  dnsResult
	failed  int // checks in a row that have not seen the records
}

// dnsResult is the result of the last check.
type dnsResult struct {
	done  bool
	drift string // what differs; empty if nothing does
	err   string // why the resolver could not be asked; empty if it could
}

// seen reports whether the resolver answers as wanted.
func (r *dnsResult) seen() bool { return r.done && r.drift == "" && r.err == "" }

// unchecked says why there is no result.
func (r *dnsResult) unchecked() string {
	if r.err == "" {
		return "the resolver has not been asked yet"
	}
	return r.err
}

func newDNSChecks(lookup LookupAddrs, changed func(name string)) *dnsChecks {
	return &dnsChecks{lookup: lookup, changed: changed, limit: rate.NewLimiter(checkRate, checkRate), queue: &trigger{}, hosts: map[string]*dnsCheck{}}
}

// setup registers the controller that checks.
func (c *dnsChecks) setup(mgr manager.Manager) error {
	withWorkers := options()
	withWorkers.MaxConcurrentReconciles = checkWorkers
	return builder.ControllerManagedBy(mgr).Named("dnscheck").WithOptions(withWorkers).
		WatchesRawSource(c.queue.source(c.names)).
		Complete(reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
			return reconcile.Result{RequeueAfter: c.check(ctx, req.Name)}, nil
		}))
}

// names returns the hosts whose check was requested before the controller started.
func (c *dnsChecks) names() map[string][]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for name := range c.hosts {
		names = append(names, name)
	}
	return map[string][]string{"": names}
}

// want requests the check of a host's records, and returns the last result for them.
func (c *dnsChecks) want(name string, records dnsrecord.Records) *dnsResult {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	host := c.hosts[name]
	fresh := host == nil || !reflect.DeepEqual(host.records, records)
	if fresh {
		host = &dnsCheck{records: records}
		c.hosts[name] = host
	}
	result := host.result
	c.mu.Unlock()
	if fresh {
		c.queue.add("", []string{name})
	}
	return &result
}

// forget ends the checks of a host.
func (c *dnsChecks) forget(name string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	delete(c.hosts, name)
	c.mu.Unlock()
}

// check checks a host, and returns the time until the next check; 0 for none.
func (c *dnsChecks) check(ctx context.Context, name string) time.Duration {
	c.mu.Lock()
	host := c.hosts[name]
	c.mu.Unlock()
	if host == nil || c.limit.Wait(ctx) != nil {
		return 0
	}
	result := c.ask(ctx, host.records)
	if ctx.Err() != nil {
		return 0
	}
	c.mu.Lock()
	if c.hosts[name] != host { // other records are wanted now, and queued
		c.mu.Unlock()
		return 0
	}
	changed := host.result != result
	host.result = result
	host.failed++
	if result.seen() {
		host.failed = 0
	}
	pause := checkPause(host.failed)
	c.mu.Unlock()
	if changed {
		c.changed(name)
	}
	return pause
}

// checkPause returns the pause after a number of checks in a row that have not seen the
// records.
func checkPause(failed int) time.Duration {
	pause := checkEvery
	if failed > 0 {
		pause = min(checkMost, checkFirst<<min(failed-1, 10))
	}
	return pause + rand.N(pause/2) //nolint:gosec // G404: the jitter is no secret
}

// ask compares what the resolver answers with the records.
func (c *dnsChecks) ask(ctx context.Context, records dnsrecord.Records) dnsResult {
	var answer dnsrecord.Answer
	var err error
	if answer.Addrs, err = c.lookup(ctx, routing.NameWithin(records.Host)); err != nil {
		return dnsResult{done: true, err: message.Of(err)}
	}
	if name := records.CNAME(); name != "" && !records.Proxied() {
		if answer.Target, err = c.lookup(ctx, name); err != nil {
			return dnsResult{done: true, err: message.Of(err)}
		}
	}
	return dnsResult{done: true, drift: records.Drift(answer)}
}
