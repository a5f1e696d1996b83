// Package reach checks whether connections to this machine reach this process. That
// the process listens on the ports is no proof: NAT rules in the kernel, such as
// those of a Kubernetes hostPort or load balancer, redirect connections before the
// kernel looks up a socket, and need no socket themselves.
//
// A Check connects to the machine's own addresses and sends a random host name. The
// same rules apply to such a connection as to one from outside: what rewrites the
// destination of incoming packets (PREROUTING) normally does so for local packets
// (OUTPUT) as well. A rule for packets of one network interface only cannot be
// detected in this way.
//
// It must not import Kubernetes, nor anything else of usher but proxy/trusted.
package reach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/proxy/trusted"
)

// Check checks whether connections reach this process. Set its fields before Run;
// they must not change later. Seen, Err and the metrics may be used by any number of
// goroutines at any time.
type Check struct {
	// HTTPS and HTTP are the addresses that the process listens on, for TLS
	// and for plain HTTP.
	HTTPS, HTTP []netip.AddrPort

	// Addresses are the addresses to connect to, on the ports of HTTPS and HTTP.
	Addresses Addresses

	// ProxyProtocolFrom are the clients that must send a PROXY header. The check
	// sends one if it connects from such an address.
	ProxyProtocolFrom trusted.Networks

	// Limited returns how many connections were refused so far because of a
	// limit. If it changes during a probe, that probe may be one of them, and its
	// result is unknown. nil means that there is no limit.
	Limited func() uint64

	// Log records when connections begin to reach another program, and when they
	// reach this process again.
	Log logr.Logger

	timing   timing                                  // zero: defaultTiming
	expected atomic.Pointer[expectation]             // of the current probe
	states   atomic.Pointer[map[target]addressState] // of the latest round; nil before the first has ended
	results  [outcomes]atomic.Uint64
}

// timing holds the intervals and timeouts of a Check.
type timing struct {
	interval      time.Duration // between rounds
	shadowed      time.Duration // between rounds while connections reach another program
	tries         int           // missed probes until an address counts as shadowed
	retryInterval time.Duration // between tries
	timeout       time.Duration // for one probe
}

// defaultTiming needs up to 11 s in a round to detect that connections reach another
// program, and up to 11 s to detect that they no longer do. It opens one connection
// a minute to each address.
var defaultTiming = timing{
	interval:      time.Minute,
	shadowed:      10 * time.Second,
	tries:         3,
	retryInterval: time.Second,
	timeout:       3 * time.Second,
}

// maxTargets bounds the addresses that are probed in a round.
const maxTargets = 16

// An addressState is the result of the checks of one address.
type addressState struct {
	shadowed    bool   // connections reach another program
	certificate string // the name in the certificate of that program, if it has one
}

// Run checks at once, and then regularly until ctx ends.
func (c *Check) Run(ctx context.Context) {
	if c.timing == (timing{}) {
		c.timing = defaultTiming
	}
	if c.Addresses.off() {
		return
	}
	for c.round(ctx); ctx.Err() == nil; c.round(ctx) {
		select {
		case <-ctx.Done():
		case <-time.After(c.pause()):
		}
	}
}

// pause returns the time until the next round, with jitter.
func (c *Check) pause() time.Duration {
	pause := c.timing.interval
	if len(c.shadowed()) > 0 {
		pause = c.timing.shadowed
	}
	return withJitter(pause)
}

// round probes each address and stores the states. An address is shadowed after
// several missed probes in a row, and no longer shadowed after one that was seen. An
// unknown result leaves the state as it was.
func (c *Check) round(ctx context.Context) {
	former := c.known()
	states := map[target]addressState{}
	pending := c.targets()
	for try := 1; len(pending) > 0; try++ {
		var missed []target
		for _, t := range pending {
			v, certain := c.tryOnce(ctx, t, former[t], try)
			if states[t] = v; !certain {
				missed = append(missed, t)
			}
		}
		if pending = missed; len(pending) == 0 {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(c.timing.retryInterval):
		}
		if ctx.Err() != nil {
			return // the current probe has no result
		}
	}
	if ctx.Err() == nil {
		c.logChanges(former, states)
		c.states.Store(&states)
	}
}

// known returns the latest states.
func (c *Check) known() map[target]addressState {
	if states := c.states.Load(); states != nil {
		return *states
	}
	return nil
}

// tryOnce probes an address once. certain is false if another try is needed.
func (c *Check) tryOnce(ctx context.Context, t target, former addressState, try int) (v addressState, certain bool) {
	outcome, certificate := c.probe(ctx, t)
	c.results[outcome].Add(1)
	switch {
	case outcome == seen:
		return addressState{}, true
	case outcome == missed && (former.shadowed || try >= c.timing.tries):
		return addressState{shadowed: true, certificate: certificate}, true
	}
	return former, outcome == unknown
}

// logChanges logs which addresses are now shadowed and which no longer are.
func (c *Check) logChanges(former, now map[target]addressState) {
	began, ended := map[target]addressState{}, map[target]addressState{}
	for t, v := range now {
		switch {
		case v.shadowed && !former[t].shadowed:
			began[t] = v
		case !v.shadowed && former[t].shadowed:
			ended[t] = v
		}
	}
	if len(began) > 0 {
		c.Log.Error(errShadowed, "Connections reach another program", "addresses", describe(began), "cure", remedy)
	}
	if len(ended) > 0 {
		c.Log.Info("Connections reach usher again", "addresses", describe(ended))
	}
}

var (
	errShadowed   = errors.New("another program receives the connections instead of usher")
	errNoRoundYet = errors.New("usher has not seen yet whether connections reach it")
)

// remedy says what to do if connections reach another program.
const remedy = "a hostPort, a load balancer or a firewall's rule takes them: on K3s disable ServiceLB or Traefik (--disable=servicelb, " +
	"--disable=traefik), or give Traefik's Service other ports or another type; see docs/troubleshooting.md"

// Err returns an error that names the addresses whose connections reach another
// program and says what to do, or nil if there are none. Before the first round has
// ended, it returns an error that says so.
func (c *Check) Err() error {
	switch {
	case c.Addresses.off():
		return nil
	case c.states.Load() == nil && len(c.targets()) > 0:
		return errNoRoundYet
	}
	shadowed := c.shadowed()
	if len(shadowed) == 0 {
		return nil
	}
	return fmt.Errorf("connections to %s reach another program instead of usher: %s", strings.Join(describe(shadowed), ", "), remedy)
}

// shadowed returns the states of the addresses whose connections reach another
// program.
func (c *Check) shadowed() map[target]addressState {
	shadowed := map[target]addressState{}
	for t, v := range c.known() {
		if v.shadowed {
			shadowed[t] = v
		}
	}
	return shadowed
}

// describe returns the addresses, each with the name in the certificate there.
func describe(states map[target]addressState) []string {
	all := make([]string, 0, len(states))
	for t, v := range states {
		text := t.at.String()
		if v.certificate != "" {
			text = fmt.Sprintf("%s (certificate %q)", t.at, v.certificate)
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}
