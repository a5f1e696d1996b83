package eventloop

import (
	"context"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	// DefaultHelloMemory suits a memory limit of 128 MiB: garbage of about the
	// same size comes on top.
	DefaultHelloMemory = 16 << 20

	// maxPending is how many bytes one loop holds that were read for clients or
	// backends which do not read, before it takes smaller bites. A connection
	// then holds a small buffer at most.
	maxPending = 16 << 20

	// releaseInterval is how often memory is given back to the system at most. It
	// takes a garbage collection.
	releaseInterval = 10 * time.Second
)

// helloMemory counts the bytes of the buffers that connections hold, on all
// loops, until their backend has their hello.
type helloMemory struct {
	limit int64
	held  atomic.Int64
	high  atomic.Bool   // half of limit was held since memory was last given back
	low   chan struct{} // told when hardly anything is held any more, and high was set
	free  func()        // debug.FreeOSMemory, but for tests
}

func newHelloMemory(limit int64) *helloMemory {
	if limit <= 0 {
		limit = DefaultHelloMemory
	}
	return &helloMemory{limit: limit, low: make(chan struct{}, 1), free: debug.FreeOSMemory}
}

// softLimit is how much may be held before connections are refused, the oldest of
// all loops first. The rest is for the time that another loop takes to do so: one
// that would exceed the limit meanwhile refuses connections of its own.
func (m *helloMemory) softLimit() int64 { return m.limit - m.limit/8 }

// reserve counts bytes in, and reports whether there are more than wanted then.
func (m *helloMemory) reserve(bytes int) (tooMany bool) {
	held := m.held.Add(int64(bytes))
	if held > m.limit/2 && !m.high.Load() {
		m.high.Store(true)
	}
	return held > m.softLimit()
}

// release counts bytes out.
func (m *helloMemory) release(bytes int) {
	const ebb = 8
	if held := m.held.Add(-int64(bytes)); held < m.limit/ebb && m.high.Load() && m.high.CompareAndSwap(true, false) {
		select {
		case m.low <- struct{}{}:
		default:
		}
	}
}

// releaseToSystem returns memory to the system after many bytes were held, until ctx
// ends. The loops make hardly any garbage, so that Go would collect what a flood
// of hellos left only after minutes.
func (m *helloMemory) releaseToSystem(ctx context.Context) {
	for {
		select {
		case <-m.low:
			m.free()
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(releaseInterval):
		case <-ctx.Done():
			return
		}
	}
}

// unrouted is a loop's connections that wait, for their hello or their backend,
// in the order in which they began to wait.
type unrouted struct {
	oldest, newest *conn
	oldestTime     *atomic.Int64 // shared.oldest
}

// add puts c at the end.
func (u *unrouted) add(c *conn) {
	o := c.opening
	o.listed, o.older = true, u.newest
	if u.newest != nil {
		u.newest.opening.younger = c
	} else {
		u.setOldest(c)
	}
	u.newest = c
}

// setOldest makes c the oldest; nil is none.
func (u *unrouted) setOldest(c *conn) {
	u.oldest = c
	if c == nil {
		u.oldestTime.Store(0)
		return
	}
	u.oldestTime.Store(max(c.accepted, 1))
}

// remove takes c out, if it is in.
func (u *unrouted) remove(c *conn) {
	o := c.opening
	if !o.listed {
		return
	}
	if o.older != nil {
		o.older.opening.younger = o.younger
	} else {
		u.setOldest(o.younger)
	}
	if o.younger != nil {
		o.younger.opening.older = o.older
	} else {
		u.newest = o.older
	}
	o.listed, o.older, o.younger = false, nil, nil
}

// reserveHello counts bytes that c's opening holds from now on. Where all openings hold
// too much, the oldest that waits is refused, and so on; hold reports whether c
// itself goes on.
func (c *conn) reserveHello(bytes int) bool {
	l, o := c.loop, c.opening
	o.held += bytes
	if !l.helloMemory.reserve(bytes) {
		return true
	}
	l.refuseOldest()
	if c.opening == o && l.helloMemory.held.Load() > l.helloMemory.limit {
		c.refuse(outOfHelloMemory) // nothing else of this loop waits
	}
	return c.opening == o
}

// refuseOldest refuses the connections that have waited longest, until no more
// is held than wanted. Where the oldest is another loop's, it leaves the choice to
// that loop, unless the limit itself is exceeded.
func (l *loop) refuseOldest() {
	m := l.helloMemory
	for m.held.Load() > m.limit && l.unrouted.oldest != nil {
		l.unrouted.oldest.refuse(outOfHelloMemory)
	}
	for m.held.Load() > m.softLimit() {
		oldest := l.loopWithOldest()
		if oldest != &l.shared {
			oldest.requestRefusal()
			return
		}
		l.unrouted.oldest.refuse(outOfHelloMemory)
	}
}

// loopWithOldest returns the loop on which a connection waits longest; nil where none
// waits.
func (l *loop) loopWithOldest() (oldest *shared) {
	first := int64(math.MaxInt64)
	for _, other := range *l.loops.Load() {
		if since := other.oldestUnrouted.Load(); since != 0 && since < first {
			oldest, first = other, since
		}
	}
	return oldest
}

// requestRefusal has the loop refuse its oldest connections soon. Any loop may ask;
// nil is asked for nothing.
func (s *shared) requestRefusal() {
	if s == nil || s.refusalRequested.Swap(true) {
		return
	}
	s.post(func(l *loop) {
		l.refusalRequested.Store(false)
		l.refuseOldest()
	})
}

// setPending makes a buffer the flow's, until its sink has the bytes.
func (l *loop) setPending(f *flow, b *buffer) {
	f.pending = b
	l.addPending(len(b.data))
}

func (l *loop) addPending(bytes int) { l.pending.Store(l.pending.Load() + int64(bytes)) }

// readBuffer is what one read may take.
func (l *loop) readBuffer() []byte {
	if l.pending.Load() > maxPending {
		return l.scratch[:smallBuffer]
	}
	return l.scratch
}
