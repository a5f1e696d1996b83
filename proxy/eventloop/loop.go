package eventloop

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/proxy/knocks"
)

// watchIn are the events for which the sockets of a connection are watched. They are
// edge-triggered: an event is reported once after a change.
const watchIn = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET

// LoopDescriptors is the maximum number of descriptors of a loop, without those of its
// connections: three of its own, and both ends of its pipes.
const LoopDescriptors = 3 + 2*maxPipes

const (
	// slotBatch is how many conns a loop allocates at once.
	slotBatch = 128

	// maxEvents bounds the events of one wait.
	maxEvents = 256

	// yieldInterval is less than the time after which the Go scheduler preempts a
	// goroutine (forcePreemptNS of runtime/proc.go, 10 ms).
	yieldInterval = 8 * time.Millisecond

	// Event data of the descriptors that belong to no connection. That of a listener
	// is firstListener minus its index.
	wakeEvent     = -1
	timerEvent    = -2
	firstListener = -3

	// sideBits are the bits of the side in the event data of a connection. The rest is
	// its slot.
	sideBits = 2
)

// The sides must fit into sideBits.
var _ [1<<sideBits - sides]struct{}

// loop is an event loop, which runs on one thread at a time. It waits for events and
// lets each connection handle its own; it never blocks on anything else. Other
// goroutines may access only the embedded shared.
type loop struct {
	*Forwarder
	ctx      context.Context
	kernel   kernel
	epoll    int
	timerfd  timerfd
	timeouts [states]int64

	now       int64 // loop time in nanoseconds, read once a turn: see Forwarder.clock
	lastYield int64 // loop time of the last yield
	conns     []*conn
	unused    []*conn // free slots
	open      int
	ready     []*conn // their turn ended before all bytes were moved
	wheel     wheel
	buffers   buffers
	openings  openings
	unrouted  unrouted
	pipes     pipes
	scratch   []byte   // shared buffer of all reads
	peer      sockaddr // shared argument of all accepts and connects
	draining  bool

	acceptor acceptor
	meter    meter
	knocks   *knocks.Recorder

	shared
}

func newLoop(ctx context.Context, f *Forwarder) (*loop, error) {
	l := &loop{
		Forwarder: f,
		ctx:       ctx,
		kernel:    f.kernel,
		scratch:   make([]byte, readBytes),
		timeouts:  f.stateTimeouts(),
		knocks:    f.Knocks.Recorder(),
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
			panic("epoll_wait: " + err.Error()) // invalid descriptor: a bug
		}
		l.turn(events[:max(n, 0)])
		l.yield()
	}
}

// yield calls the Go scheduler regularly, so that it does not preempt the loop.
// Without it, the monitor of the scheduler signals the loop's thread every few
// milliseconds and takes its processor (P) away whenever the loop waits. This takes a
// twentieth of the loop's time, and delays a round trip by two wake-ups.
func (l *loop) yield() {
	if l.now-l.lastYield >= int64(yieldInterval) {
		l.lastYield = l.now
		runtime.Gosched()
	}
}

// turn handles the events, the connections in ready, and the timers.
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

// dispatch passes an event to its handler.
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
		c := l.conns[e.Fd>>sideBits]
		// An earlier event of the same batch may have closed the socket, and its
		// slot may be in use again.
		if c.generation == uint32(e.Pad) && c.state != done {
			c.handle(sideOf(e), e.Events)
		}
	}
}

// sideOf returns the side of an event of a connection.
func sideOf(e *unix.EpollEvent) side { return side(e.Fd & (1<<sideBits - 1)) }

// watch adds a socket to the epoll set, or changes its events.
func (l *loop) watch(c *conn, s side, fd, op int, events uint32) unix.Errno {
	event := unix.EpollEvent{Events: events, Fd: int32(c.slot)<<sideBits | int32(s), Pad: int32(c.generation)}
	return l.kernel.watch(l.epoll, op, fd, &event)
}

// watchClient adds the client's socket to the epoll set. This is delayed until the
// connection has to wait, because most ClientHellos can be read at once.
func (c *conn) watchClient() {
	if c.watched {
		return
	}
	c.watched = true
	if c.opening != nil {
		c.loop.unrouted.add(c)
	}
	// If this fails, there are no events, and a timeout ends the connection.
	_ = c.loop.watch(c, client, int(c.up.src), unix.EPOLL_CTL_ADD, watchIn)
}

// watchWritable watches the client's socket for EPOLLOUT too. It is called when the
// socket first has no room.
func (c *conn) watchWritable() {
	if c.watchesWritable {
		return
	}
	c.watchesWritable = true
	_ = c.loop.watch(c, client, int(c.up.src), unix.EPOLL_CTL_MOD, watchIn|unix.EPOLLOUT)
}

// epollTimeout returns the timeout of the next wait in milliseconds: 0 if connections
// are ready for another turn, else -1 (none), because the timerfd ends the wait.
func (l *loop) epollTimeout() int {
	if len(l.ready) > 0 {
		return 0
	}
	if at, ok := l.nextTimeout(); ok {
		l.timerfd.set(l.now, at)
	}
	return -1
}

// nextTimeout returns the loop time of the next timeout. ok is false if there is none.
func (l *loop) nextTimeout() (at int64, ok bool) {
	at, ok = l.wheel.next()
	if until := l.acceptor.backoffUntil; until > 0 && (!ok || until < at) {
		return until, true
	}
	return at, ok
}

// requeue gives c another turn after the other connections.
func (l *loop) requeue(c *conn) {
	if !c.queued {
		c.queued = true
		l.ready = append(l.ready, c)
	}
}

// runReady gives a turn to the connections that were queued before this call.
func (l *loop) runReady() {
	ready := l.ready
	l.ready = nil
	for _, c := range ready {
		if c.queued { // false if the connection has ended in the meantime
			c.queued = false
			c.resume()
		}
	}
	if l.ready == nil {
		l.ready = ready[:0]
	}
}

// alloc returns a free conn.
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

// addSlots allocates slotBatch conns at once, which takes less memory than one by one.
func (l *loop) addSlots() {
	slots := make([]conn, slotBatch)
	for i := range slots {
		slots[i] = conn{loop: l, slot: uint32(len(l.conns)), state: done}
		l.conns = append(l.conns, &slots[i])
		l.unused = append(l.unused, &slots[i])
	}
}

// free frees the slot of a conn. It increments the generation, so that no event for
// this connection reaches the next one in the slot.
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

// abortAll ends all connections at once.
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
