package eventloop

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/proxy/routing"
)

// state is what a connection waits for.
//
//	hello ──▶ connecting ──▶ forwarding ──▶ halfClosed ──▶ done
//	  │            │              │              │           ▲
//	  │            │              ├──────────────┴▶ flushing ┤
//	  ├────────────┴─▶ refusing ──┼──────────────────────────┤
//	  └───────────────────────────┴──────────────────────────┘
//
// From each state a reset, a timeout or the end of the drain leads to done.
type state uint8

const (
	hello      state = iota // the client is to say which host it wants
	connecting              // a backend's name is being resolved, or its address dialled
	forwarding              // bytes go both ways
	halfClosed              // one side has ended; the other's bytes still go its way
	flushing                // one side is dead; what it had said still goes its way
	refusing                // the client was told no; what it still sends is thrown away
	done                    // nothing is left but a free slot
	states                  // how many there are
)

// side is the end of a connection that an event came from.
type side uint8

const (
	client side = iota
	backend
)

// conn is one connection, from the client's first byte to both sides' last. It
// lives on one loop and is touched by no other goroutine. It is small, because
// most connections are idle: what only its opening needs is in opening.
type conn struct {
	loop            *loop
	slot            uint32 // its index in loop.conns
	generation      uint32 // how often the slot was used: an event for an earlier use is void
	attempt         uint32 // how often a state was entered, or an answer came: see attempt
	state           state
	watched         bool // the client's socket is in the epoll set
	watchesWritable bool // and waited on for room to write
	keptAlive       bool // keepalive is set on both sockets
	counted         bool // in the count of the client's connections
	queued          bool // in loop.ready

	up, down flow   // client → backend, backend → client
	accepted int64  // when the client was accepted
	since    int64  // when the state began, or bytes last moved
	acked    uint64 // bytes that the survivor had acknowledged: see flush
	timer    timer

	hello   uint64 // under which Forwarder.hellos has it; 0: it is answered
	client  netip.AddrPort
	route   *routing.Route
	traffic *traffic // of the backend's cluster
	opening *opening // nil once forwarding
}

// start begins with a client that was accepted. Its hello is here already, most
// of the time: TCP_DEFER_ACCEPT saw to that.
func (c *conn) start(fd int32, peer netip.AddrPort) {
	l := c.loop
	c.up = flow{src: fd, dst: -1, readable: true}
	c.down = flow{src: -1, dst: fd, writable: true}
	c.client = peer
	c.accepted = l.now
	c.opening = l.openings.get()
	c.opening.received = l.buffers.get(smallBuffer)
	c.opening.awaitHeader = l.ProxyProtocolFrom.Contain(peer.Addr())
	c.enter(hello)
	if !c.reserveHello(len(c.opening.received.data)) {
		return
	}
	if !c.opening.awaitHeader && !c.join() {
		return
	}
	c.readHello()
}

// join counts the connection as one of its client's.
func (c *conn) join() bool {
	if !c.loop.Limits.Join(c.client.Addr()) {
		c.refuse(tooManyFromClient)
		return false
	}
	c.counted = true
	return true
}

// handle reacts to an event on one side.
func (c *conn) handle(from side, events uint32) {
	c.recordEvent(from, events)
	switch c.state {
	case hello:
		c.readHello()
	case connecting:
		c.handleConnecting(from, events)
	case forwarding, halfClosed:
		c.forward()
	case flushing:
		c.flush()
	case refusing:
		c.discard()
	}
}

// recordEvent remembers what an event says: with edge-triggered events each is told
// once only.
func (c *conn) recordEvent(from side, events uint32) {
	in, out := &c.up, &c.down
	if from == backend {
		in, out = &c.down, &c.up
	}
	const over = unix.EPOLLHUP | unix.EPOLLERR
	if events&(unix.EPOLLIN|unix.EPOLLRDHUP|over) != 0 {
		in.readable = true
	}
	if events&(unix.EPOLLRDHUP|over) != 0 {
		in.closing = true
		in.cleanEnd = in.cleanEnd || events&over == 0
	}
	if events&(unix.EPOLLOUT|over) != 0 {
		out.writable = true
	}
	if events&over != 0 && in.ended && !out.shut {
		out.sinkDead = true // a reset after the end: no read will tell
	}
}

// enter changes the state, whose time begins now. Whatever was asked for in the one
// before is void.
func (c *conn) enter(s state) {
	l := c.loop
	c.state, c.since = s, l.now
	c.attempt++
	l.wheel.set(c, l.now+l.timeouts[s])
}

// readHello reads until the hello is whole, or no hello.
func (c *conn) readHello() {
	l := c.loop
	for c.state == hello && c.up.readable {
		received := c.opening.received
		n, errno := l.kernel.read(int(c.up.src), received.space())
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			c.up.readable = false
		case errno != 0 || n == 0:
			c.refuse(leftBeforeHello)
		default:
			c.up.readable = n == len(received.space()) || c.up.closing
			received.end += n
			c.parse()
		}
	}
	if c.state == hello {
		c.watchClient()
	}
}

// decide finds the route, and whether this client may take it.
func (c *conn) decide() {
	l, o := c.loop, c.opening
	l.helloSeconds.Observe(seconds(l.now - c.since))
	route := l.Table.Load().Lookup(o.host)
	switch {
	case route == nil && l.IsSelfCheckHost != nil && l.IsSelfCheckHost(o.host):
		c.end()
	case route == nil:
		c.refuse(unknownHost)
	case route.Refusal != "":
		o.routeRefusal = route.Refusal
		c.refuse(refusedHost)
	case route.PlainOnly:
		o.routeRefusal = routing.ReasonPlainOnly
		c.refuse(refusedHost)
	case !route.Allows(c.client.Addr()):
		c.refuse(clientNotAllowed)
	default:
		c.route = route
		o.targets, o.dialRefusal = newTargets(route), noBackend
		c.enter(connecting)
		c.dialUnlessLooping()
	}
}

// handleConnecting hears whether the dial succeeded, or that the client left.
func (c *conn) handleConnecting(from side, events uint32) {
	const failed = unix.EPOLLERR | unix.EPOLLHUP
	switch {
	case from == client && events&failed != 0:
		c.refuse(leftBeforeBackend)
	case from == backend && events&failed != 0:
		c.dialFailed(socketError(c.down.src))
		c.closeBackend()
		c.dial()
	case from == backend && events&unix.EPOLLOUT != 0:
		c.connected()
	}
}

// connected lets the bytes flow.
func (c *conn) connected() {
	c.loop.dialSeconds.Observe(seconds(c.loop.now - c.since))
	first, err := c.firstBytes()
	if err != nil {
		c.refuse(noBackend)
		return
	}
	c.loop.setPending(&c.up, first)
	c.dropOpening()
	c.enter(forwarding)
	c.forward()
}

// resume takes the next turn of one whose bytes were not through.
func (c *conn) resume() {
	if c.state == flushing {
		c.flush()
	} else {
		c.forward()
	}
}

// forward moves bytes both ways as far as they go now, and passes on the ends
// that it meets.
func (c *conn) forward() {
	c.since = c.loop.now
	for _, f := range [...]*flow{&c.up, &c.down} {
		if last := c.forwardFlow(f); last != nil {
			c.startFlush(last)
			return
		}
	}
	switch {
	case c.up.shut && c.down.shut:
		c.close(closed)
	case c.up.shut != c.down.shut && c.state == forwarding:
		c.enter(halfClosed)
	}
}

// forwardFlow moves what one direction has, and passes on its end. Where a side turns out to
// be dead it returns the direction that comes from there.
func (c *conn) forwardFlow(f *flow) (last *flow) {
	l, reverse := c.loop, &c.down
	if f == reverse {
		reverse = &c.up
	}
	outcome := failed
	if !f.sinkDead {
		outcome = c.move(f)
	}
	switch {
	case f.sinkDead:
		reverse.readable = true // no event of a dead socket will tell
		return reverse
	case outcome == failed:
		return f
	case outcome == ended && !f.shut:
		f.shut = true
		if !reverse.shut { // otherwise close says as much, with a call less
			shutdownWrite(f.dst)
		}
	case outcome == unfinished:
		l.requeue(c)
	case f == &c.down && !f.writable:
		c.watchWritable()
	}
	return nil
}

// move gives one direction its turn, and counts what it moves.
func (c *conn) move(f *flow) outcome {
	before := f.moved
	outcome := c.loop.move(f)
	if n := f.moved - before; n > 0 && f == &c.up {
		c.traffic.up.Add(n)
	} else if n > 0 {
		c.traffic.down.Add(n)
		c.helloAnswered()
	}
	return outcome
}

// expired is called when the state's time is up, or may be.
func (c *conn) expired() {
	l := c.loop
	if deadline := c.since + l.timeouts[c.state]; deadline > l.now {
		if c.state == flushing {
			c.flush()
			return
		}
		c.keepAlive()
		l.wheel.set(c, deadline)
		return
	}
	switch c.state {
	case hello:
		c.refuse(helloTimeout)
	case connecting:
		c.dialTimedOut()
	case forwarding:
		c.abort(idle)
	case halfClosed:
		c.abort(halfClosedIdle)
	case flushing:
		c.abort(reset)
	case refusing:
		c.end()
	}
}

// keepAlive makes the kernel find out whether both sides are still there. Only
// connections that last are worth its calls and timers.
func (c *conn) keepAlive() {
	if c.keptAlive || c.state != forwarding && c.state != halfClosed {
		return
	}
	c.keptAlive = true
	setKeepAlive(c.up.src)
	setKeepAlive(c.up.dst)
}

// abort ends an established connection the hard way: both sides get a reset,
// so that neither takes what it has for all there was.
func (c *conn) abort(why ending) {
	resetOnClose(c.up.src)
	resetOnClose(c.up.dst)
	c.close(why)
}

// close ends an established connection.
func (c *conn) close(why ending) {
	c.loop.counters.closed[why].Add(1)
	c.loop.logQueue.logClosed(c, why)
	c.end()
}

// end gives back all that the connection has.
func (c *conn) end() {
	l := c.loop
	c.dropOpening()
	c.dropBackend()
	closeFD(c.up.src)
	l.release(&c.up)
	l.release(&c.down)
	if c.counted {
		l.Limits.Leave(c.client.Addr())
	}
	c.state = done
	l.free(c)
}
