package eventloop

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// helloSlots is how many there is room for, 16 bytes each. One that lies
	// in the place of another takes it: at 10,000 connections a second a hello that
	// is back after 5 ms is missed once in a hundred times, and caught a lap later.
	helloSlots = 4096

	// helloLifetime is how long one is remembered, in ticks of the wheel: a second.
	helloLifetime = 15

	// maxUnanswered is how often a hello may come without an answer: a client's own,
	// and two laps of a loop.
	maxUnanswered = 3

	// answerTimeout is how long a hello that has come more often waits for a backend
	// to answer one of the others.
	answerTimeout = 100 * time.Millisecond

	// A mark is 40 bits of a hello's hash, how often it has come, and the tick.
	markTickBits = 16
	tickMask     = 1<<markTickBits - 1
	countMask    = 1<<8 - 1
	markBits     = markTickBits + 8

	// loopingCount is how often a hello has come that was found to go round.
	loopingCount = countMask
)

// hellos remembers the ClientHellos that were forwarded during the last second. One
// that comes again and again, byte for byte, and is never answered, goes round: its
// route leads to usher itself by a way that no address shows, such as a NAT rule or a
// load balancer. A TLS client never says the same twice, since 32 bytes of each hello
// are random (RFC 8446, section 4.1.2); a benchmark may, but a backend answers it.
// A hello that follows a HelloRetryRequest comes on the same connection, and is not
// looked at.
//
// It is shared by the loops, and takes no lock: what they overwrite for one another
// is a hello that is then not noticed this time.
type hellos struct {
	seed       maphash.Seed // strangers cannot make hellos that collide
	slots      [helloSlots]helloSlot
	logLimiter *rate.Limiter // of the log
}

// helloSlot is what is remembered of one hello.
type helloSlot struct {
	mark     atomic.Uint64
	answered atomic.Int64 // the tick after that in which a backend last answered; 0: none has
}

// loopStatus is what a hello's history says of it.
type loopStatus uint8

const (
	noLoop        loopStatus = iota
	possibleLoop             // it has come too often without an answer
	confirmedLoop            // and was not answered since
)

func newHellos() *hellos {
	return &hellos{seed: maphash.MakeSeed(), logLimiter: rate.NewLimiter(failureRate, failureBurst)}
}

func (h *hellos) slot(sum uint64) *helloSlot { return &h.slots[sum%helloSlots] }

// forward remembers a hello that is about to be forwarded, under the sum that it
// returns.
func (h *hellos) forward(hello []byte, now int64) (sum uint64, v loopStatus) {
	sum = maphash.Bytes(h.seed, hello)
	tick, place := now>>tickBits, h.slot(sum)
	mark := place.mark.Load()
	times := uint64(1)
	if sameHello(mark, sum) && isRecent(uint64(tick), mark) {
		times = mark >> markTickBits & countMask
		times = max(times, min(times+1, loopingCount-1)) // once condemned it stays so
	} else {
		place.answered.Store(0)
	}
	place.record(sum, times, tick)
	switch {
	case times == loopingCount:
		return sum, confirmedLoop
	case times > maxUnanswered && !place.recentlyAnswered(tick):
		return sum, possibleLoop
	}
	return sum, noLoop
}

// markLooping has a hello refused for as long as it comes again within a second.
func (h *hellos) markLooping(sum uint64, now int64) {
	h.slot(sum).record(sum, loopingCount, now>>tickBits)
}

// answered notes that a backend has answered a hello.
func (h *hellos) answered(sum uint64, now int64) {
	if place := h.slot(sum); sameHello(place.mark.Load(), sum) {
		place.answered.Store(now>>tickBits + 1)
	}
}

// isAnswered reports whether a backend has answered a hello during the last second.
func (h *hellos) isAnswered(sum uint64, now int64) bool {
	place := h.slot(sum)
	return sameHello(place.mark.Load(), sum) && place.recentlyAnswered(now>>tickBits)
}

func (p *helloSlot) record(sum, times uint64, tick int64) {
	p.mark.Store(sum>>markBits<<markBits | times<<markTickBits | uint64(tick)&tickMask)
}

func (p *helloSlot) recentlyAnswered(tick int64) bool {
	at := p.answered.Load()
	return at > 0 && tick+1-at <= helloLifetime
}

// isRecent reports whether a mark is of the last second.
func isRecent(tick, mark uint64) bool { return (tick-mark)&tickMask <= helloLifetime }

func sameHello(mark, sum uint64) bool { return mark>>markBits == sum>>markBits }

// dialUnlessLooping dials the route's backend, unless the hello has come too
// often without an answer.
func (c *conn) dialUnlessLooping() {
	l, o := c.loop, c.opening
	sum, verdict := l.hellos.forward(o.received.bytes()[:o.parser.Size()], l.now)
	c.hello = sum
	switch verdict {
	case noLoop:
		c.dial()
	case possibleLoop:
		c.awaitAnswer(sum)
	case confirmedLoop:
		c.refuseLoop(sum)
	}
}

// awaitAnswer gives a backend time to answer the same hello of another connection.
// Where the route leads back to usher none does.
func (c *conn) awaitAnswer(sum uint64) {
	l := c.loop
	c.watchClient()
	a := c.currentAttempt()
	time.AfterFunc(min(answerTimeout, l.Timeouts.Dial/2), func() {
		a.answer(func() {
			if l.hellos.isAnswered(sum, l.now) {
				c.dial()
			} else {
				c.refuseLoop(sum)
			}
		})
	})
}

// refuseLoop refuses a connection whose hello has come back.
func (c *conn) refuseLoop(sum uint64) {
	l := c.loop
	l.hellos.markLooping(sum, l.now)
	l.logQueue.logLoop(l.hellos.logLimiter, c.opening.host, "client", c.client)
	c.refuse(routeLoops)
}

// helloAnswered is called when the backend has sent bytes.
func (c *conn) helloAnswered() {
	if c.hello != 0 {
		c.loop.hellos.answered(c.hello, c.loop.now)
		c.hello = 0
	}
}

// isOwnAddress reports whether an address to dial is usher's own.
func (c *conn) isOwnAddress(addr netip.AddrPort) bool {
	l := c.loop
	if !l.Self.Reaches(addr) {
		return false
	}
	l.logQueue.logLoop(l.hellos.logLimiter, c.opening.host, "address", addr)
	return true
}

// logLoop notes a host whose route leads back to usher, and what shows it.
func (j *logQueue) logLoop(lines *rate.Limiter, host, what string, value netip.AddrPort) {
	if !lines.Allow() {
		return
	}
	j.add(func() {
		j.log.Info("Route leads back to usher: give the host's backend another address or port", "host", host, what, value)
	})
}
