package eventloop

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"

	"golang.org/x/time/rate"
)

const (
	// rememberedHellos is how many there is room for, 8 bytes each. One that lies
	// in the place of another takes it: at 10,000 connections a second a hello that
	// is back after 5 ms is missed once in a hundred times, and caught a lap later.
	rememberedHellos = 4096

	// helloTicks is how long one is remembered, in ticks of the wheel: a second.
	helloTicks = 15

	// tickMask is the part of a mark that is its time.
	tickMask = 1<<16 - 1
)

// hellos remembers the ClientHellos that were forwarded during the last second and
// that no backend has answered yet. One that comes again then, byte for byte, has
// come back: its route leads to usher itself by a way that no address shows, such as
// a NAT rule or a load balancer. A TLS client never says the same twice, since 32
// bytes of each hello are random (RFC 8446, section 4.1.2); and whoever repeats what
// another has said is refused alone. A hello that follows a HelloRetryRequest comes
// on the same connection, and is not looked at.
//
// It is shared by the loops, and takes no lock: what they overwrite for one another
// is a hello that is then not noticed this time.
type hellos struct {
	seed  maphash.Seed                    // strangers cannot make hellos that collide
	marks [rememberedHellos]atomic.Uint64 // hash of a hello, with the time in place of its last bits
	lines *rate.Limiter                   // of the log
}

func newHellos() *hellos {
	return &hellos{seed: maphash.MakeSeed(), lines: rate.NewLimiter(failureRate, failureBurst)}
}

// forward remembers a hello that is about to be forwarded, under the sum that it
// returns. known says that the same hello is under way already.
func (h *hellos) forward(hello []byte, now int64) (sum uint64, known bool) {
	sum = maphash.Bytes(h.seed, hello)
	tick := uint64(now>>tickBits) & tickMask
	place := &h.marks[sum%rememberedHellos]
	mark := place.Load()
	if sameHello(mark, sum) && (tick-mark)&tickMask <= helloTicks {
		return sum, true
	}
	place.Store(sum&^tickMask | tick)
	return sum, false
}

// forget forgets a hello.
func (h *hellos) forget(sum uint64) {
	place := &h.marks[sum%rememberedHellos]
	if mark := place.Load(); sameHello(mark, sum) {
		place.CompareAndSwap(mark, 0)
	}
}

func sameHello(mark, sum uint64) bool { return mark&^tickMask == sum&^tickMask }

// cameBack reports whether the hello of a connection is one that usher itself is
// forwarding, and remembers it if not.
func (c *conn) cameBack() bool {
	l, o := c.loop, c.opening
	sum, known := l.hellos.forward(o.received.bytes()[:o.parser.Size()], l.now)
	if known {
		l.journal.ledBack(l.hellos.lines, o.host, "client", c.client)
		return true
	}
	c.hello = sum
	return false
}

// forgetHello is called when the backend answers, or is never told of the hello:
// should the same hello come again, it is from the client.
func (c *conn) forgetHello() {
	if c.hello != 0 {
		c.loop.hellos.forget(c.hello)
		c.hello = 0
	}
}

// leadsHere reports whether an address to dial is usher's own.
func (c *conn) leadsHere(addr netip.AddrPort) bool {
	l := c.loop
	if !l.Self.Leads(addr) {
		return false
	}
	l.journal.ledBack(l.hellos.lines, c.opening.host, "address", addr)
	return true
}

// ledBack notes a host whose route leads back to usher, and what shows it.
func (j *journal) ledBack(lines *rate.Limiter, host, what string, value netip.AddrPort) {
	if !lines.Allow() {
		return
	}
	j.add(func() {
		j.log.Info("Route leads back to usher: give the host's backend another address or port", "host", host, what, value)
	})
}
