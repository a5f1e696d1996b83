// Package reach finds out whether the connections that are made to this machine
// come to this process. That it holds the ports does not say so: rules in the
// kernel, such as those of a Kubernetes hostPort or load balancer, take
// connections away before any socket is asked, and hold no socket themselves.
//
// A Check connects to the machine's own addresses and asks for a name that
// nobody else can know. Such a connection meets the same rules as one that comes
// from outside: what rewrites the destination of packets that arrive
// (PREROUTING) does so for those that begin on the machine (OUTPUT) as well.
// What takes only packets that come by a network card cannot be seen from here.
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

// Check sees whether connections reach this process. Its fields are set before
// Run and not changed after; Seen, Err and the metrics may be used by any number
// of goroutines at any time.
type Check struct {
	// HTTPS and HTTP are the addresses that the process listens on, for TLS
	// and for plain HTTP.
	HTTPS, HTTP []netip.AddrPort

	// Addresses are those to connect to, on the ports of HTTPS and HTTP.
	Addresses Addresses

	// ProxyProtocolFrom are the clients that must send a PROXY header. The
	// check sends one where it is such a client.
	ProxyProtocolFrom trusted.Networks

	// Limited returns how many connections were refused so far because there
	// were enough: the check's own may be one of them, and says nothing then.
	// nil: none are.
	Limited func() uint64

	// Log gets a line when connections begin to reach another, or this
	// process again.
	Log logr.Logger

	pace     pace                               // zero: defaultPace
	expected atomic.Pointer[expectation]        // of the connection that is under way
	verdicts atomic.Pointer[map[target]verdict] // of the latest round; nil: none has ended
	results  [outcomes]atomic.Uint64
}

// pace is how often and how patiently is checked.
type pace struct {
	interval time.Duration // between rounds
	shadowed time.Duration // the same, while connections reach another
	tries    int           // of a round, before another is believed to be there
	between  time.Duration // tries
	patience time.Duration // for one connection
}

// defaultPace believes within 11 s that another is there, and within 11 s that
// it is gone. It makes one connection a minute to each address.
var defaultPace = pace{
	interval: time.Minute,
	shadowed: 10 * time.Second,
	tries:    3,
	between:  time.Second,
	patience: 3 * time.Second,
}

// mostAsked is how many addresses are asked in a round.
const mostAsked = 16

// A verdict is what is known of one address.
type verdict struct {
	shadowed bool   // its connections reach another
	by       string // the name in that one's certificate, if it shows one
}

// Run checks at once and again and again until ctx ends.
func (c *Check) Run(ctx context.Context) {
	if c.pace == (pace{}) {
		c.pace = defaultPace
	}
	if c.Addresses.none() {
		return
	}
	for c.round(ctx); ctx.Err() == nil; c.round(ctx) {
		select {
		case <-ctx.Done():
		case <-time.After(c.pause()):
		}
	}
}

// pause returns how long the next round may wait, somewhat more or less each
// time.
func (c *Check) pause() time.Duration {
	pause := c.pace.interval
	if len(c.shadowed()) > 0 {
		pause = c.pace.shadowed
	}
	return jitter(pause)
}

// round asks each address and keeps what it finds. It takes several connections
// in a row that another had to believe in that one, and one that is seen here to
// believe that it is gone. What says neither leaves the verdict as it was.
func (c *Check) round(ctx context.Context) {
	former := c.known()
	verdicts := map[target]verdict{}
	doubtful := c.targets()
	for try := 1; len(doubtful) > 0; try++ {
		var missed []target
		for _, t := range doubtful {
			v, certain := c.tryOnce(ctx, t, former[t], try)
			if verdicts[t] = v; !certain {
				missed = append(missed, t)
			}
		}
		if doubtful = missed; len(doubtful) == 0 {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(c.pace.between):
		}
		if ctx.Err() != nil {
			return // what was under way says nothing
		}
	}
	if ctx.Err() == nil {
		c.tell(former, verdicts)
		c.verdicts.Store(&verdicts)
	}
}

// known returns the latest verdicts.
func (c *Check) known() map[target]verdict {
	if verdicts := c.verdicts.Load(); verdicts != nil {
		return *verdicts
	}
	return nil
}

// tryOnce makes one connection to an address; certain is false where another is
// needed.
func (c *Check) tryOnce(ctx context.Context, t target, former verdict, try int) (v verdict, certain bool) {
	outcome, by := c.ask(ctx, t)
	c.results[outcome].Add(1)
	switch {
	case outcome == seen:
		return verdict{}, true
	case outcome == missed && (former.shadowed || try >= c.pace.tries):
		return verdict{shadowed: true, by: by}, true
	}
	return former, outcome == unknown
}

// tell logs what has changed.
func (c *Check) tell(former, now map[target]verdict) {
	began, ended := map[target]verdict{}, map[target]verdict{}
	for t, v := range now {
		switch {
		case v.shadowed && !former[t].shadowed:
			began[t] = v
		case !v.shadowed && former[t].shadowed:
			ended[t] = v
		}
	}
	if len(began) > 0 {
		c.Log.Error(errShadowed, "Connections reach another program", "addresses", texts(began), "cure", cure)
	}
	if len(ended) > 0 {
		c.Log.Info("Connections reach usher again", "addresses", texts(ended))
	}
}

var (
	errShadowed = errors.New("another program is asked in usher's place")
	errNotYet   = errors.New("usher has not seen yet whether connections reach it")
)

// cure says what to do where connections reach another.
const cure = "a hostPort, a load balancer or a firewall's rule takes them: on K3s disable ServiceLB or Traefik (--disable=servicelb, " +
	"--disable=traefik), or give Traefik's Service other ports or another type; see docs/troubleshooting.md"

// Err returns where connections reach another and what to do, or nil where no
// address is known at which they do. Before the first round has ended it says so.
func (c *Check) Err() error {
	switch {
	case c.Addresses.none():
		return nil
	case c.verdicts.Load() == nil && len(c.targets()) > 0:
		return errNotYet
	}
	shadowed := c.shadowed()
	if len(shadowed) == 0 {
		return nil
	}
	return fmt.Errorf("connections to %s reach another program instead of usher: %s", strings.Join(texts(shadowed), ", "), cure)
}

// shadowed returns the verdicts on addresses whose connections reach another.
func (c *Check) shadowed() map[target]verdict {
	shadowed := map[target]verdict{}
	for t, v := range c.known() {
		if v.shadowed {
			shadowed[t] = v
		}
	}
	return shadowed
}

// texts names addresses, each with the certificate that was shown there.
func texts(verdicts map[target]verdict) []string {
	all := make([]string, 0, len(verdicts))
	for t, v := range verdicts {
		text := t.at.String()
		if v.by != "" {
			text = fmt.Sprintf("%s (certificate %q)", t.at, v.by)
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}
