package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/jovalle/usher/proxy/endpoint"
	"github.com/jovalle/usher/proxy/routing"
)

const (
	// tryTimeout bounds one attempt of Try, and the resolution of a name.
	tryTimeout = 2 * time.Second
	// maxTries bounds the attempts of one Try at the same time.
	maxTries = 8
)

// Attempt is one attempt to open a TCP connection to an address of a backend.
type Attempt struct {
	// Cluster is empty for a configured endpoint.
	Cluster string
	// Address is the address of the backend with its port, and To is what was dialled; it is
	// not valid if the name could not be resolved.
	Address string
	To      netip.AddrPort
	// Err is nil if the connection was accepted.
	Err error
	// Took is how long it took.
	Took time.Duration
}

// Errors of addresses that are not dialled.
var (
	errOwn        = errors.New("the address leads back to usher itself, so that it is not dialled")
	errNotAllowed = errors.New("the address may not be dialled for this backend")
)

// Try opens and closes a TCP connection to each address of the backends of a route, once,
// as connections of clients would be: it sends the PROXY header that the backend expects,
// and nothing else. Own reports whether an address leads back to this process; it may be
// nil. At most the given number of addresses is dialled; more is how many are left out.
// It takes a few seconds at most for 32 addresses, and ends when ctx does.
func Try(ctx context.Context, route *routing.Route, own func(netip.AddrPort) bool, most int) (attempts []Attempt, more int) {
	targets, more := targetsOf(ctx, route, most)
	var running sync.WaitGroup
	slots := make(chan struct{}, maxTries)
	for i := range targets {
		t := &targets[i]
		switch {
		case t.Err != nil:
			continue
		case own != nil && own(t.To):
			t.Err = errOwn
			continue
		case !t.plan.backend.Dials(t.To.Addr()):
			t.Err = errNotAllowed
			continue
		}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			began := time.Now()
			t.Err = t.plan.probe(ctx, t.To)
			t.Took = time.Since(began)
		})
	}
	running.Wait()
	for _, t := range targets {
		attempts = append(attempts, t.Attempt)
	}
	return attempts, more
}

// target is an address to try.
type target struct {
	Attempt
	plan *plan
}

// targetsOf returns the addresses of a route, each once for a cluster and a port.
func targetsOf(ctx context.Context, route *routing.Route, most int) (targets []target, more int) {
	seen := map[subject]bool{}
	for _, b := range triedBackends(route) {
		for _, address := range b.Addresses {
			s := subject{b.Cluster, address, b.HTTPSPort}
			if seen[s] {
				continue
			}
			seen[s] = true
			if len(targets) >= most {
				more++
				continue
			}
			found := resolved(ctx, b, address)
			kept := min(len(found), most-len(targets))
			targets, more = append(targets, found[:kept]...), more+len(found)-kept
		}
	}
	return targets, more
}

// triedBackends returns the backends on all ports on which a route is served. Their
// HTTPSPort is the port to try.
func triedBackends(route *routing.Route) []*routing.Backend {
	var all []*routing.Backend
	add := func(backends []routing.Backend) {
		for i := range backends {
			b := backends[i]
			if route.PlainOnly {
				b.HTTPSPort, b.ProxyProtocol = b.HTTPPort, b.HTTPProxyProtocol
			}
			all = append(all, &b)
		}
	}
	if !route.NotHTTPS || route.PlainOnly {
		add(route.Backends)
	}
	if !route.PlainOnly {
		for i := range route.Ports {
			add(route.Ports[i].Backends)
		}
	}
	return all
}

// resolved returns the targets of an address or a name.
func resolved(ctx context.Context, b *routing.Backend, address string) []target {
	p := &plan{HealthCheck: routing.HealthCheck{Type: routing.CheckTCP, Timeout: tryTimeout}, backend: b}
	t := target{Attempt{Cluster: b.Cluster, Address: net.JoinHostPort(address, strconv.Itoa(int(b.HTTPSPort)))}, p}
	if addr, err := netip.ParseAddr(address); err == nil {
		t.To = netip.AddrPortFrom(addr.Unmap(), b.HTTPSPort)
		return []target{t}
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", address)
	if err != nil || len(addrs) == 0 {
		t.Err = fmt.Errorf("the name cannot be resolved: %w", err)
		if err == nil {
			t.Err = errors.New("the name has no address")
		}
		return []target{t}
	}
	var all []target
	for _, addr := range addrs[:min(len(addrs), endpoint.MaxResolved)] {
		t.To = netip.AddrPortFrom(addr.Unmap(), b.HTTPSPort)
		all = append(all, t)
	}
	return all
}
