package eventloop

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// What a connection's sockets are watched for. Edge-triggered: an event comes
// once, when something has changed.
const watchIn = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET

// LoopDescriptors is how many descriptors a loop opens at most besides those of
// its connections: three of its own, and both ends of its pipes.
const LoopDescriptors = 3 + 2*maxPipes

const (
	// slotBatch is how many connections a loop makes room for at a time.
	slotBatch = 128

	// maxEvents is how many events one wait may bring.
	maxEvents = 256

	// yieldInterval is somewhat less than a goroutine may run before Go's
	// scheduler interferes (forcePreemptNS of runtime/proc.go, 10 ms).
	yieldInterval = 8 * time.Millisecond

	// The descriptors of an epoll set that are no connection's. A listener's
	// is firstListener minus its index.
	wakeEvent     = -1
	timerEvent    = -2
	firstListener = -3
)

// loop is one thread that serves its connections by turns: it waits for
// events, lets each connection act on its own, and never blocks on anything
// else. Other goroutines have its shared part, and nothing else of it.
type loop struct {
	*Forwarder
	ctx      context.Context
	kernel   kernel
	epoll    int
	timerfd  timerfd
	timeouts [states]int64

	now       int64 // nanoseconds since the forwarder began; read once a turn
	lastYield int64 // when the scheduler last had its turn
	conns     []*conn
	unused    []*conn // slots to use again
	open      int
	ready     []*conn // their turn ended before their bytes did
	wheel     wheel
	buffers   buffers
	openings  openings
	unrouted  unrouted
	pipes     pipes
	scratch   []byte   // what every read reads into
	peer      sockaddr // what every accept and connect uses
	draining  bool

	acceptor acceptor
	meter    meter

	shared
}

func newLoop(ctx context.Context, f *Forwarder) (*loop, error) {
	l := &loop{
		Forwarder: f,
		ctx:       ctx,
		kernel:    f.kernel,
		scratch:   make([]byte, readBytes),
		timeouts:  f.stateTimeouts(),
	}
	l.pipes.kernel, l.unrouted.oldestTime = &l.kernel, &l.shared.oldestUnrouted
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		closeFD(int32(l.epoll))
		return nil, err
	}
	if l.timerfd, err = newTimerfd(); err != nil {
		closeFD(int32(l.wake))
		closeFD(int32(l.epoll))
		return nil, err
	}
	for fd, event := range map[int]unix.EpollEvent{
		l.wake:       {Events: unix.EPOLLIN, Fd: wakeEvent},
		l.timerfd.fd: {Events: unix.EPOLLIN | unix.EPOLLET, Fd: timerEvent},
	} {
		if errno := l.kernel.watch(l.epoll, unix.EPOLL_CTL_ADD, fd, &event); errno != 0 {
			l.close()
			return nil, errno
		}
	}
	return l, nil
}

// run serves until the loop is draining and its last connection is gone.
func (l *loop) run() {
	events := make([]unix.EpollEvent, maxEvents)
	for !l.draining || l.open > 0 {
		n, err := unix.EpollWait(l.epoll, events, l.epollTimeout())
		l.now = l.clock()
		if err != nil && err != unix.EINTR {
			panic("epoll_wait: " + err.Error()) // the set is gone: nothing can go on
		}
		l.turn(events[:max(n, 0)])
		l.yield()
	}
}

// yield lets Go's scheduler see that the loop is no goroutine that never ends.
// Without it the scheduler's monitor signals the loop's thread every few
// milliseconds, and takes its processor (P) away whenever the loop waits: that
// costs a twentieth of the loop's time, and a round trip the time of two wake-ups.
func (l *loop) yield() {
	if l.now-l.lastYield >= int64(yieldInterval) {
		l.lastYield = l.now
		runtime.Gosched()
	}
}

// turn lets every connection act that has a reason to.
func (l *loop) turn(events []unix.EpollEvent) {
	for i := range events {
		l.dispatch(&events[i])
	}
	l.runReady()
	l.wheel.expire(l.now, (*conn).expired)
	l.acceptor.resume(l)
	if l.meter.sample(l.now) {
		l.busy.Store(l.meter.percent)
		l.balance()
	}
}

// dispatch brings an event to whom it is for.
func (l *loop) dispatch(e *unix.EpollEvent) {
	switch {
	case e.Fd == wakeEvent:
		for _, call := range l.posted() {
			call(l)
		}
	case e.Fd == timerEvent:
		l.timerfd.expired()
	case e.Fd <= firstListener:
		l.acceptor.accept(l, int(firstListener-e.Fd))
	default:
		c := l.conns[e.Fd>>1]
		// The socket that the event is about may be closed by now, and its
		// slot used again, by an event before it in the same batch.
		if c.generation == uint32(e.Pad) && c.state != done {
			c.handle(side(e.Fd&1), e.Events)
		}
	}
}

// watch adds a socket to the epoll set, or changes what it is watched for.
func (l *loop) watch(c *conn, s side, fd, op int, events uint32) unix.Errno {
	event := unix.EpollEvent{Events: events, Fd: int32(c.slot)<<1 | int32(s), Pad: int32(c.generation)}
	return l.kernel.watch(l.epoll, op, fd, &event)
}

// watchClient puts the client's socket into the epoll set. Most hellos are read
// before that is worth its call.
func (c *conn) watchClient() {
	if c.watched {
		return
	}
	c.watched = true
	if c.opening != nil {
		c.loop.unrouted.add(c)
	}
	// Should it fail, no event will come, and a timeout ends the connection.
	_ = c.loop.watch(c, client, int(c.up.src), unix.EPOLL_CTL_ADD, watchIn)
}

// watchWritable has the client's socket watched for room to write, from the first
// time on that there was none.
func (c *conn) watchWritable() {
	if c.watchesWritable {
		return
	}
	c.watchesWritable = true
	_ = c.loop.watch(c, client, int(c.up.src), unix.EPOLL_CTL_MOD, watchIn|unix.EPOLLOUT)
}

// epollTimeout returns how long the next wait may take, in milliseconds: any time,
// since the alarm ends it in time, or none where connections want another turn.
func (l *loop) epollTimeout() int {
	if len(l.ready) > 0 {
		return 0
	}
	if at, ok := l.nextTimeout(); ok {
		l.timerfd.set(l.now, at)
	}
	return -1
}

// nextTimeout returns the loop time at which something is due; ok is false where
// nothing is.
func (l *loop) nextTimeout() (at int64, ok bool) {
	at, ok = l.wheel.next()
	if until := l.acceptor.backoffUntil; until > 0 && (!ok || until < at) {
		return until, true
	}
	return at, ok
}

// requeue gives c another turn after the others have had theirs.
func (l *loop) requeue(c *conn) {
	if !c.queued {
		c.queued = true
		l.ready = append(l.ready, c)
	}
}

// runReady gives those a turn that asked for it before this one.
func (l *loop) runReady() {
	ready := l.ready
	l.ready = nil
	for _, c := range ready {
		if c.queued { // not so where the connection has ended since
			c.queued = false
			c.resume()
		}
	}
	if l.ready == nil {
		l.ready = ready[:0]
	}
}

// alloc returns a conn of a free slot.
func (l *loop) alloc() *conn {
	if len(l.unused) == 0 {
		l.addSlots()
	}
	last := len(l.unused) - 1
	c := l.unused[last]
	l.unused = l.unused[:last]
	l.open++
	l.counters.open.Store(int64(l.open))
	return c
}

// addSlots makes room for more connections, many at a time: that takes less
// memory than one by one.
func (l *loop) addSlots() {
	slots := make([]conn, slotBatch)
	for i := range slots {
		slots[i] = conn{loop: l, slot: uint32(len(l.conns)), state: done}
		l.conns = append(l.conns, &slots[i])
		l.unused = append(l.unused, &slots[i])
	}
}

// free takes back a conn. Its generation moves on, so that nothing meant for
// it reaches the next one in its slot.
func (l *loop) free(c *conn) {
	l.wheel.remove(c)
	*c = conn{loop: l, slot: c.slot, generation: c.generation + 1, state: done}
	l.unused = append(l.unused, c)
	l.open--
	l.counters.open.Store(int64(l.open))
	l.Limits.Close()
}

// drain stops accepting; run returns when the last connection is gone.
func (l *loop) drain() {
	l.acceptor.stop(l)
	l.draining = true
}

// abortAll ends every connection at once.
func (l *loop) abortAll() {
	for _, c := range l.conns {
		switch c.state {
		case done:
		case forwarding, halfClosed, flushing:
			c.abort(drained)
		default:
			c.end()
		}
	}
}

func (l *loop) close() {
	l.pipes.closeAll()
	closeFD(int32(l.timerfd.fd))
	closeFD(int32(l.wake))
	closeFD(int32(l.epoll))
}
