package eventloop

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// helloSlots is the number of slots, 16 bytes each. A ClientHello replaces
	// another with the same slot. At 10,000 connections a second, a ClientHello that
	// returns after 5 ms is missed once in a hundred times, and detected when it
	// returns again.
	helloSlots = 4096

	// helloLifetime is how long a ClientHello is remembered, in ticks of the wheel:
	// one second.
	helloLifetime = 15

	// maxUnanswered is how often the same ClientHello may arrive without an answer:
	// once from the client, and twice by a loop.
	maxUnanswered = 3

	// answerTimeout is how long a ClientHello that has arrived more often waits for a
	// backend to answer one of the earlier ones.
	answerTimeout = 100 * time.Millisecond

	// A mark consists of 40 bits of the hash, the count, and the tick.
	markTickBits = 16
	tickMask     = 1<<markTickBits - 1
	countMask    = 1<<8 - 1
	markBits     = markTickBits + 8

	// loopingCount is the count of a ClientHello that was found to loop.
	loopingCount = countMask
)

// hellos remembers the ClientHellos that were forwarded during the last second. If
// the same bytes arrive several times and no backend answers, there is a loop: the
// route leads back to usher in a way that the address does not show, such as a NAT
// rule or a load balancer. A TLS client never sends the same ClientHello twice,
// because 32 bytes of it are random (RFC 8446, section 4.1.2). A benchmark may, but
// then a backend answers it. A ClientHello after a HelloRetryRequest is sent on the
// same connection and is not checked.
//
// The loops share it without a lock. If they overwrite each other's slots, a
// ClientHello that returns is missed once.
type hellos struct {
	seed       maphash.Seed // random, so that clients cannot create collisions
	slots      [helloSlots]helloSlot
	logLimiter *rate.Limiter // of log lines
}

// helloSlot holds what is remembered of one ClientHello.
type helloSlot struct {
	mark     atomic.Uint64
	answered atomic.Int64 // 1 + the tick in which a backend last answered; 0 if none has
}

// loopStatus says whether a ClientHello loops.
type loopStatus uint8

const (
	noLoop        loopStatus = iota
	possibleLoop             // it has arrived too often without an answer
	confirmedLoop            // and no backend has answered within answerTimeout
)

func newHellos() *hellos {
	return &hellos{seed: maphash.MakeSeed(), logLimiter: rate.NewLimiter(failureRate, failureBurst)}
}

func (h *hellos) slot(sum uint64) *helloSlot { return &h.slots[sum%helloSlots] }

// forward records a ClientHello that is about to be forwarded. It returns the hash of
// the ClientHello and whether it loops.
func (h *hellos) forward(hello []byte, now int64) (sum uint64, v loopStatus) {
	sum = maphash.Bytes(h.seed, hello)
	tick, slot := now>>tickBits, h.slot(sum)
	mark := slot.mark.Load()
	times := uint64(1)
	if sameHello(mark, sum) && isRecent(uint64(tick), mark) {
		times = mark >> markTickBits & countMask
		times = max(times, min(times+1, loopingCount-1)) // loopingCount is kept
	} else {
		slot.answered.Store(0)
	}
	slot.record(sum, times, tick)
	switch {
	case times == loopingCount:
		return sum, confirmedLoop
	case times > maxUnanswered && !slot.recentlyAnswered(tick):
		return sum, possibleLoop
	}
	return sum, noLoop
}

// markLooping marks a ClientHello as looping, until it has not arrived for a second.
func (h *hellos) markLooping(sum uint64, now int64) {
	h.slot(sum).record(sum, loopingCount, now>>tickBits)
}

// answered records that a backend has answered a ClientHello.
func (h *hellos) answered(sum uint64, now int64) {
	if slot := h.slot(sum); sameHello(slot.mark.Load(), sum) {
		slot.answered.Store(now>>tickBits + 1)
	}
}

// isAnswered reports whether a backend has answered a ClientHello during the last
// second.
func (h *hellos) isAnswered(sum uint64, now int64) bool {
	slot := h.slot(sum)
	return sameHello(slot.mark.Load(), sum) && slot.recentlyAnswered(now>>tickBits)
}

func (p *helloSlot) record(sum, times uint64, tick int64) {
	p.mark.Store(sum>>markBits<<markBits | times<<markTickBits | uint64(tick)&tickMask)
}

func (p *helloSlot) recentlyAnswered(tick int64) bool {
	at := p.answered.Load()
	return at > 0 && tick+1-at <= helloLifetime
}

// isRecent reports whether a mark was recorded during the last second.
func isRecent(tick, mark uint64) bool { return (tick-mark)&tickMask <= helloLifetime }

func sameHello(mark, sum uint64) bool { return mark>>markBits == sum>>markBits }

// dialUnlessLooping dials a backend of the route, unless the ClientHello has arrived
// too often without an answer.
func (c *conn) dialUnlessLooping() {
	l, o := c.loop, c.opening
	sum, status := l.hellos.forward(o.received.bytes()[:o.parser.Size()], l.now)
	c.hello = sum
	switch status {
	case noLoop:
		c.dial()
	case possibleLoop:
		c.awaitAnswer(sum)
	case confirmedLoop:
		c.refuseLoop(sum)
	}
}

// awaitAnswer waits for a backend to answer the same ClientHello on another
// connection. If the route leads back to usher, none will.
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

// refuseLoop refuses a connection with a ClientHello that has returned.
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

// isOwnAddress reports whether an address reaches a listener of this process, and
// logs it.
func (c *conn) isOwnAddress(addr netip.AddrPort) bool {
	l := c.loop
	if !l.Self.Reaches(addr) {
		return false
	}
	l.logQueue.logLoop(l.hellos.logLimiter, c.opening.host, "address", addr)
	return true
}

// logLoop logs a host whose route leads back to usher. what and value are a key and a
// value of the log line.
func (j *logQueue) logLoop(lines *rate.Limiter, host, what string, value netip.AddrPort) {
	if !lines.Allow() {
		return
	}
	j.add(func() {
		j.log.Info("Route leads back to usher: give the host's backend another address or port", "host", host, what, value)
	})
}
