package eventloop

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/proxy/endpoint"
	"github.com/jovalle/usher/proxy/routing"
)

// state is the state of a connection.
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
	hello      state = iota // waits for the ClientHello
	connecting              // a backend's name is being resolved, or its address dialled
	forwarding              // forwards bytes in both directions
	halfClosed              // one side has sent its end; bytes of the other are forwarded
	flushing                // one side is dead; the bytes that it sent are still delivered
	refusing                // the client was refused; what it still sends is discarded
	done                    // the slot is free
	states                  // the number of states
)

// side is the side of a connection to which an event belongs. The side of a dial's events
// is backend plus its index in opening.dials, so that no event of a dial that was closed is
// taken for one of another.
type side uint8

const (
	client side = iota
	backend
	sides = backend + maxDials
)

// conn is one client connection with its backend connection. It belongs to one loop;
// no other goroutine accesses it. It is small, because most connections are idle:
// what is needed only until bytes are forwarded is in opening.
type conn struct {
	loop            *loop
	slot            uint32 // index in loop.conns
	generation      uint32 // how often the slot was used: events for earlier uses are ignored
	attempt         uint32 // incremented when a state is entered or a result arrives: see attempt
	state           state
	port            uint8 // index in Forwarder.ports: the port that the client has connected to
	watched         bool  // the client's socket is in the epoll set
	watchesWritable bool  // the client's socket is watched for EPOLLOUT too
	keptAlive       bool  // keepalive is set on both sockets
	counted         bool  // counted as one of the client's connections
	queued          bool  // in loop.ready
	backendSide     side  // side of the backend's events, once connected

	up, down flow   // client → backend, backend → client
	accepted int64  // when the client was accepted
	since    int64  // when the state began, or bytes were last moved
	acked    uint64 // bytes that the surviving side has acknowledged: see flush
	timer    timer

	hello   uint64 // hash of the ClientHello in Forwarder.hellos; 0 after the backend has answered
	client  netip.AddrPort
	route   *routing.Route
	traffic *traffic       // of the backend's cluster, once it is connected
	load    *endpoint.Open // counts the connection, if the route's strategy needs that
	opening *opening       // nil once forwarding
}

// start starts an accepted connection. In most cases the ClientHello has arrived
// already, because of TCP_DEFER_ACCEPT.
func (c *conn) start(fd int32, peer netip.AddrPort, port uint8) {
	l := c.loop
	c.port = port
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

// join counts the connection as one of its client's, or refuses it if the client has
// too many.
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
	switch {
	case from == client:
		c.recordEvent(from, events)
	case c.state == connecting:
		c.handleDial(from, events)
		return
	case from != c.backendSide:
		return // the dial was closed after the kernel had reported the event
	default:
		c.recordEvent(backend, events)
	}
	switch c.state {
	case hello:
		c.readHello()
	case connecting:
		if events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			c.refuse(leftBeforeBackend)
		}
	case forwarding, halfClosed:
		c.forward()
	case flushing:
		c.flush()
	case refusing:
		c.discard()
	}
}

// recordEvent records the flags of an event, because edge-triggered events are
// reported only once.
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
		out.sinkDead = true // a reset after the end: no read will return the error
	}
}

// enter changes the state and sets its timeout. Pending results for the previous
// state are dropped when they arrive.
func (c *conn) enter(s state) {
	l := c.loop
	c.state, c.since = s, l.now
	c.attempt++
	l.wheel.set(c, l.now+l.timeouts[s])
}

// readHello reads until the ClientHello is complete or refused, or no more bytes are
// available.
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

// decide looks up the route, and checks whether the host is served on the port and the
// client is allowed.
func (c *conn) decide() {
	l, o := c.loop, c.opening
	l.helloSeconds.Observe(seconds(l.now - c.since))
	route := l.Table.Load().Lookup(o.host)
	var backends []routing.Backend
	if route != nil {
		backends, o.routeRefusal = route.On(l.ports[c.port])
	}
	switch {
	case route == nil && l.IsSelfCheckHost != nil && l.IsSelfCheckHost(o.host):
		c.end()
	case route == nil:
		c.refuse(o.unknownRefusal())
	case o.routeRefusal != "":
		c.refuse(refusedHost)
	case !route.Allows(c.client.Addr()):
		c.refuse(clientNotAllowed)
	default:
		c.route = route
		o.targets.start(l, route, backends, c.client.Addr())
		o.dialRefusal = noBackend
		c.enter(connecting)
		c.dialUnlessLooping()
	}
}

// resume continues a connection whose turn ended before all bytes were moved.
func (c *conn) resume() {
	if c.state == flushing {
		c.flush()
	} else {
		c.forward()
	}
}

// forward moves bytes in both directions as far as possible without waiting, and
// forwards the end of each direction.
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

// forwardFlow moves the bytes of one direction and forwards its end. If one side is
// dead, it returns the flow from that side.
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
		reverse.readable = true // a dead socket reports no more events
		return reverse
	case outcome == failed:
		return f
	case outcome == ended && !f.shut:
		f.shut = true
		if !reverse.shut { // otherwise close sends the FIN, with one system call less
			shutdownWrite(f.dst)
		}
	case outcome == unfinished:
		l.requeue(c)
	case f == &c.down && !f.writable:
		c.watchWritable()
	}
	return nil
}

// move moves the bytes of one direction and counts them.
func (c *conn) move(f *flow) outcome {
	before := f.moved
	outcome := c.loop.move(f)
	if n := f.moved - before; n > 0 && f == &c.up {
		c.traffic.up.Add(n)
		c.route.Reached.Traffic.Up.Add(n)
	} else if n > 0 {
		c.traffic.down.Add(n)
		c.route.Reached.Traffic.Down.Add(n)
		c.helloAnswered()
	}
	return outcome
}

// expired is called when the timer of the connection expires, which may be before the
// timeout of the state.
func (c *conn) expired() {
	l := c.loop
	if c.state == connecting {
		c.dialTimer()
		return
	}
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

// keepAlive sets TCP keepalive on both sockets, to detect dead peers. This happens when
// the timer first expires, which saves the system calls for short-lived
// connections.
func (c *conn) keepAlive() {
	if c.keptAlive || c.state != forwarding && c.state != halfClosed {
		return
	}
	c.keptAlive = true
	setKeepAlive(c.up.src)
	setKeepAlive(c.up.dst)
}

// closeBackend closes the backend's socket if there is one.
func (c *conn) closeBackend() {
	if c.up.dst >= 0 {
		closeFD(c.up.dst)
		c.up.dst, c.down.src = -1, -1
	}
}

// abort ends an established connection with a reset to both sides, so that neither
// takes the bytes that it has received for the whole stream.
func (c *conn) abort(why ending) {
	resetOnClose(c.up.src)
	resetOnClose(c.up.dst)
	c.close(why)
}

// close ends an established connection.
func (c *conn) close(why ending) {
	defer c.loop.counters.closed[why].Add(1)
	c.loop.accessLog.add(c, why)
	c.end()
}

// end closes the sockets and releases everything that the connection holds.
func (c *conn) end() {
	l := c.loop
	c.dropOpening()
	c.closeBackend()
	closeFD(c.up.src)
	l.release(&c.up)
	l.release(&c.down)
	if c.counted {
		l.Limits.Leave(c.client.Addr())
	}
	if c.traffic != nil {
		c.traffic.open.Add(-1)
		c.route.Reached.Traffic.Open.Add(-1)
	}
	if c.load != nil {
		c.load.End()
	}
	c.state = done
	l.free(c)
}
