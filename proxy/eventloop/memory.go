package eventloop

import (
	"context"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"
)

const (
	// DefaultHelloMemory is in bytes. It suits a memory limit of 128 MiB, since
	// garbage of about the same size is added.
	DefaultHelloMemory = 16 << 20

	// maxPending bounds the bytes that one loop holds for clients and backends that
	// do not read. Beyond it, the loop reads at most smallBuffer bytes at once, so
	// that a connection holds at most one small buffer.
	maxPending = 16 << 20

	// releaseInterval is the minimum time between two releases of memory to the
	// system, each of which needs a garbage collection.
	releaseInterval = 10 * time.Second
)

// helloMemory counts the bytes of the buffers that the connections of all loops hold
// until the ClientHello is sent to the backend.
type helloMemory struct {
	limit int64
	held  atomic.Int64
	high  atomic.Bool   // more than half of limit was held since the last release to the system
	low   chan struct{} // receives a value when little is held again after high was set
	free  func()        // debug.FreeOSMemory, except in tests
}

func newHelloMemory(limit int64) *helloMemory {
	if limit <= 0 {
		limit = DefaultHelloMemory
	}
	return &helloMemory{limit: limit, low: make(chan struct{}, 1), free: debug.FreeOSMemory}
}

// softLimit is the number of bytes beyond which connections are refused, the oldest
// of all loops first. If the oldest is on another loop, it takes that loop some time
// to refuse it; the rest of the limit is for this time. A loop that would exceed the
// limit itself refuses connections of its own.
func (m *helloMemory) softLimit() int64 { return m.limit - m.limit/8 }

// reserve adds bytes and reports whether more than softLimit are held.
func (m *helloMemory) reserve(bytes int) (tooMany bool) {
	held := m.held.Add(int64(bytes))
	if held > m.limit/2 && !m.high.Load() {
		m.high.Store(true)
	}
	return held > m.softLimit()
}

// release subtracts bytes.
func (m *helloMemory) release(bytes int) {
	const lowFraction = 8
	if held := m.held.Add(-int64(bytes)); held < m.limit/lowFraction && m.high.Load() && m.high.CompareAndSwap(true, false) {
		select {
		case m.low <- struct{}{}:
		default:
		}
	}
}

// releaseToSystem returns memory to the system after many bytes were held, until ctx
// ends. The loops create little garbage, so that Go would free the memory of a flood
// of ClientHellos only after minutes.
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

// unrouted is the list of a loop's connections that wait for their ClientHello or
// their backend, in the order in which they began to wait.
type unrouted struct {
	oldest, newest *conn
	oldestTime     *atomic.Int64 // shared.oldestUnrouted
}

// add appends c.
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

// setOldest sets the oldest connection; nil means that the list is empty.
func (u *unrouted) setOldest(c *conn) {
	u.oldest = c
	if c == nil {
		u.oldestTime.Store(0)
		return
	}
	u.oldestTime.Store(max(c.accepted, 1))
}

// remove removes c if it is in the list.
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

// reserveHello adds bytes to those that the opening of c holds. If all openings hold
// too much, the connections that have waited longest are refused. It returns false if
// c is one of them.
func (c *conn) reserveHello(bytes int) bool {
	l, o := c.loop, c.opening
	o.held += bytes
	if !l.helloMemory.reserve(bytes) {
		return true
	}
	l.refuseOldest()
	if c.opening == o && l.helloMemory.held.Load() > l.helloMemory.limit {
		c.refuse(outOfHelloMemory) // no other connection of this loop waits
	}
	return c.opening == o
}

// refuseOldest refuses the connections that have waited longest, until at most
// softLimit is held. If the oldest is on another loop, that loop is requested to
// refuse it. While the limit itself is exceeded, the loop refuses its own.
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

// loopWithOldest returns the loop with the connection that has waited longest, or nil
// if none waits.
func (l *loop) loopWithOldest() (oldest *shared) {
	first := int64(math.MaxInt64)
	for _, other := range *l.loops.Load() {
		if since := other.oldestUnrouted.Load(); since != 0 && since < first {
			oldest, first = other, since
		}
	}
	return oldest
}

// requestRefusal makes the loop call refuseOldest. Any loop may call it. On nil it does
// nothing.
func (s *shared) requestRefusal() {
	if s == nil || s.refusalRequested.Swap(true) {
		return
	}
	s.post(func(l *loop) {
		l.refusalRequested.Store(false)
		l.refuseOldest()
	})
}

// setPending gives the flow a buffer with bytes to write to its sink.
func (l *loop) setPending(f *flow, b *buffer) {
	f.pending = b
	l.addPending(len(b.data))
}

func (l *loop) addPending(bytes int) { l.pending.Store(l.pending.Load() + int64(bytes)) }

// readBuffer returns the buffer for the next read.
func (l *loop) readBuffer() []byte {
	if l.pending.Load() > maxPending {
		return l.scratch[:smallBuffer]
	}
	return l.scratch
}
