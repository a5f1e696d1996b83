package eventloop

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/proxy/endpoint"
	"github.com/jovalle/usher/proxy/routing"
)

// The targets of a route are dialled as RFC 8305 (Happy Eyeballs) describes: if a dial or
// a lookup takes longer than endpoint.AttemptDelay, the next target is dialled beside it,
// and the first that connects is used. An address that has not answered in that time is
// remembered as failing, so that later connections dial it last.

// maxDials bounds the sockets with which one connection dials at once. If they are used
// up, or if all connections together have maxRaces, the oldest dial is abandoned: its
// target is dialled again after the others. A dead address thus delays a connection by
// no more than endpoint.AttemptDelay while there are others, whatever clients do.
const maxDials = 2

// maxRaces bounds the connections that have a second socket to dial.
const maxRaces = 64

// RaceDescriptors is the maximum number of descriptors for dialling that are not the
// first of their connection.
const RaceDescriptors = maxRaces * (maxDials - 1)

// dialAttempt is a dial that is in progress. Nothing was sent to it yet.
type dialAttempt struct {
	target
	side     side // of its events
	fd       int32
	open     bool
	counted  *endpoint.Open // in Forwarder.Connections, if the strategy counts them
	wasDue   bool           // the Standing of the address was endpoint.Due, and no result is recorded yet
	recorded bool           // recorded as failing, because it did not answer within endpoint.AttemptDelay
	began    int64          // loop time
}

// dialResult is how a dial has ended.
type dialResult uint8

const (
	dialConnected  dialResult = iota // its connection is used
	dialFailed                       // the address refused it, is unreachable, or did not answer in time
	dialUnanswered                   // no answer within endpoint.AttemptDelay: another address is used, or dialled first
	dialUnused                       // closed before that, since another address or the lookup was faster, or the client has left
	dialShortage                     // usher's own machine lacks a resource
	dialResults                      // the number of results
)

// String returns the value of the metric label result.
func (r dialResult) String() string {
	return [dialResults]string{"connected", "failed", "unanswered", "unused", "no_resources"}[r]
}

// dial starts to dial or to resolve the next target, unless the connection waits for as
// many as it may. If there is nothing left to wait for, the client is refused.
func (c *conn) dial() {
	o := c.opening
	for !o.lookup.isName() && c.mayDial() {
		t, postponed, ok := o.targets.next()
		if !ok {
			break
		}
		if c.try(t, postponed) {
			o.latest = c.loop.now
			break
		}
	}
	if o.dialling() == 0 && !o.lookup.isName() {
		c.refuse(o.dialRefusal)
		return
	}
	c.setDialTimer()
}

// mayDial reports whether the connection may dial another target now.
func (c *conn) mayDial() bool {
	o := c.opening
	switch n := o.dialling(); {
	case n == 0 || o.racing:
		return n < maxDials
	case !o.targets.more():
		return false
	}
	if c.loop.races.Add(1) > maxRaces {
		c.loop.races.Add(-1)
		return false
	}
	o.racing = true
	return true
}

// try starts to dial or to resolve a target, and returns true if there is a result to
// wait for.
func (c *conn) try(t target, postponed bool) (waits bool) {
	l, o := c.loop, c.opening
	if t.isName() {
		addrs, known := l.resolver.cached(l.ctx, t.address)
		if known {
			c.resolved(t, addrs)
		} else {
			c.resolve(t)
		}
		return !known
	}
	if !t.backend.Dials(t.addr.Addr()) {
		l.logQueue.logDialFailed(c, t, errNotAllowed)
		l.counters.traffic(t.backend.Cluster).dialFailures.Add(1)
		return false
	}
	if c.isOwnAddress(t.addr) {
		o.dialRefusal = routeLoops
		return false
	}
	standing := endpoint.Good
	if !postponed {
		standing = l.Endpoints.Standing(t.endpoint())
	}
	if standing == endpoint.Failing {
		o.targets.failing = append(o.targets.failing, t)
		return false
	}
	return c.connect(t, standing == endpoint.Due)
}

// resolve starts a DNS lookup of a name. The result is delivered to the loop.
func (c *conn) resolve(name target) {
	l := c.loop
	c.watchClient()
	c.opening.lookup = name
	a := c.currentAttempt()
	l.resolver.resolve(l.ctx, name.address, func(addrs []netip.Addr) {
		a.answer(func() {
			c.opening.lookup = target{}
			c.resolved(name, addrs)
			c.dial()
		})
	})
}

// stopLookup stops waiting for the result of the lookup.
func (c *conn) stopLookup() (name target) {
	c.attempt++
	name, c.opening.lookup = c.opening.lookup, target{}
	return name
}

// resolved sets the addresses of a name that was looked up.
func (c *conn) resolved(name target, addrs []netip.Addr) {
	if len(addrs) == 0 {
		c.countFailure(name, errNoAddress)
	}
	c.opening.targets.setResolved(name, addrs)
}

// connect dials one address, and reports whether there is a result to wait for.
func (c *conn) connect(t target, wasDue bool) bool {
	l, o := c.loop, c.opening
	d := o.newDial()
	d.target, d.wasDue, d.began = t, wasDue, l.now
	if c.route.Strategy == routing.LeastConnections {
		d.counted = l.Connections.Begin(endpoint.Backend{Cluster: t.backend.Cluster, Address: t.address})
	}
	errno := c.openSocket(d)
	switch {
	case errno == 0:
		return true
	case endpoint.IsShortage(errno):
		c.endDial(d, dialShortage, errno)
	default:
		c.endDial(d, dialFailed, errno)
	}
	return false
}

// openSocket creates the socket of a dial and starts to connect it.
func (c *conn) openSocket(d *dialAttempt) unix.Errno {
	l := c.loop
	peer := newSockaddr(d.addr)
	fd, errno := l.kernel.socket(int(peer.family))
	if errno != 0 {
		return errno
	}
	d.fd, d.open = int32(fd), true
	setOption(d.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	// The last ACK of the handshake is sent with the ClientHello, which saves a
	// segment.
	setOption(d.fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
	l.peer = peer
	errno = l.kernel.connect(fd, &l.peer)
	if errno != 0 && errno != unix.EINPROGRESS && errno != unix.EINTR {
		return errno
	}
	c.watchClient()
	return l.watch(c, d.side, fd, unix.EPOLL_CTL_ADD, watchIn|unix.EPOLLOUT)
}

// handleDial handles an event of a dial: success or failure.
func (c *conn) handleDial(from side, events uint32) {
	d := &c.opening.dials[from-backend]
	switch {
	case !d.open: // it was closed after the kernel had reported the event
	case events&(unix.EPOLLERR|unix.EPOLLHUP) != 0:
		c.endDial(d, dialFailed, socketError(d.fd))
		c.dial()
	case events&unix.EPOLLOUT != 0:
		c.connected(d, events)
	}
}

// connected starts to forward bytes when a backend has accepted a dial.
func (c *conn) connected(d *dialAttempt, events uint32) {
	l := c.loop
	l.dialSeconds.Observe(seconds(l.now - d.began))
	l.Endpoints.Answered(d.endpoint())
	l.counters.dials[dialConnected].Add(1)
	c.traffic = l.counters.traffic(d.backend.Cluster)
	c.traffic.open.Add(1)
	c.route.Reached.Traffic.Open.Add(1)
	c.load, d.counted = d.counted, nil
	c.backendSide, c.up.dst, c.down.src = d.side, d.fd, d.fd
	d.open = false // the flows own it now
	c.recordEvent(backend, events)
	first, err := c.firstBytes(d.backend)
	if err != nil {
		c.refuse(noBackend)
		return
	}
	l.counters.ports[c.port].forwarded.Add(1)
	c.route.Reached.Connections.Add(1)
	l.setPending(&c.up, first)
	c.dropOpening()
	c.enter(forwarding)
	c.forward()
}

// endDial closes a dial that is not used, and records and counts its result. err is the
// reason of a failure or shortage.
func (c *conn) endDial(d *dialAttempt, result dialResult, err error) {
	l := c.loop
	if d.open {
		closeFD(d.fd)
		d.open = false
	}
	if d.counted != nil {
		d.counted.End()
		d.counted = nil
	}
	defer l.counters.dials[result].Add(1)
	switch result {
	case dialFailed:
		if !d.recorded {
			l.Endpoints.Failed(d.endpoint(), d.wasDue)
		}
		c.countFailure(d.target, err)
		return
	case dialUnanswered:
		c.countFailure(d.target, errUnanswered)
		return
	case dialShortage:
		// It is no failure of the cluster. The next address is still tried, because
		// local ports are exhausted for each address separately.
		c.opening.dialRefusal = noResources
		l.logQueue.logDialFailed(c, d.target, err)
	}
	if d.wasDue {
		l.Endpoints.Returned(d.endpoint())
	}
}

// countFailure counts and logs a failed dial or lookup.
func (c *conn) countFailure(t target, err error) {
	l := c.loop
	c.opening.dialRefusal = noBackend
	l.counters.traffic(t.backend.Cluster).dialFailures.Add(1)
	l.logQueue.logDialFailed(c, t, err)
}

// giveUp ends a dial that has not failed, because its result is no longer needed.
func (c *conn) giveUp(d *dialAttempt) {
	if d.recorded {
		c.endDial(d, dialUnanswered, nil)
	} else {
		c.endDial(d, dialUnused, nil)
	}
}

// setDialTimer sets the timer to the first timeout of a dial or lookup, or to the time at
// which the next target is dialled beside them.
func (c *conn) setDialTimer() {
	l, o := c.loop, c.opening
	timeout := l.timeouts[connecting]
	at := l.now + timeout
	if o.lookup.isName() {
		at = o.latest + timeout
	}
	for i := range o.dials {
		if d := &o.dials[i]; d.open {
			at = min(at, d.began+timeout)
		}
	}
	if next := o.latest + int64(endpoint.AttemptDelay); next > l.now && o.targets.more() {
		at = min(at, next)
	}
	l.wheel.set(c, at)
}

// dialTimer is called when the timer expires while the connection dials.
func (c *conn) dialTimer() {
	l, o := c.loop, c.opening
	ended, timeout := false, l.timeouts[connecting]
	for i := range o.dials {
		if d := &o.dials[i]; d.open && l.now >= d.began+timeout {
			c.endDial(d, dialFailed, unix.ETIMEDOUT)
			ended = true
		}
	}
	if o.lookup.isName() && l.now >= o.latest+timeout {
		c.countFailure(c.stopLookup(), unix.ETIMEDOUT)
		ended = true
	}
	if ended || c.delayIsOver() {
		c.dial()
	} else {
		c.setDialTimer()
	}
}

// delayIsOver reports whether the next target should be dialled, because there is no
// answer to what was started last within endpoint.AttemptDelay. It then records the
// addresses that have not answered as failing, and if there are targets that were not
// tried yet, abandons the lookup, and the oldest dial if the connection has too many.
func (c *conn) delayIsOver() bool {
	l, o := c.loop, c.opening
	if o.dialling() == 0 && !o.lookup.isName() || l.now < o.latest+int64(endpoint.AttemptDelay) || !o.targets.more() {
		return false
	}
	for i := range o.dials {
		if d := &o.dials[i]; d.open && hasAnswered(d.fd) {
			o.latest = l.now // the loop was busy, and the event follows
			return false
		}
	}
	for i := range o.dials {
		if d := &o.dials[i]; d.open && !d.recorded && l.now >= d.began+int64(endpoint.AttemptDelay) {
			l.Endpoints.Failed(d.endpoint(), d.wasDue)
			d.recorded, d.wasDue = true, false
		}
	}
	if !o.targets.untried() {
		return true
	}
	if o.lookup.isName() {
		o.targets.abandoned = append(o.targets.abandoned, c.stopLookup())
	}
	if d := o.oldestDial(); d != nil && !c.mayDial() {
		o.targets.abandoned = append(o.targets.abandoned, d.target)
		c.giveUp(d)
	}
	return true
}

// hasAnswered reports whether a dial has succeeded or failed.
func hasAnswered(fd int32) bool {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	return err == nil && info.State != unix.BPF_TCP_SYN_SENT
}

// errUnanswered is the reason of a failed dial that did not time out.
var errUnanswered = fmt.Errorf("no answer for %v, and the host has other addresses", endpoint.AttemptDelay)

// dialling returns the number of dials in progress.
func (o *opening) dialling() int {
	n := 0
	for i := range o.dials {
		if o.dials[i].open {
			n++
		}
	}
	return n
}

// newDial returns a place for another dial. There must be one: see conn.mayDial.
func (o *opening) newDial() *dialAttempt {
	i := 0
	for o.dials[i].open {
		i++
	}
	o.dials[i] = dialAttempt{side: backend + side(i)}
	return &o.dials[i]
}

// oldestDial returns the dial that began first, or nil if there is none.
func (o *opening) oldestDial() *dialAttempt {
	var oldest *dialAttempt
	for i := range o.dials {
		if d := &o.dials[i]; d.open && (oldest == nil || d.began < oldest.began) {
			oldest = d
		}
	}
	return oldest
}

// socketError returns and clears the error of a socket.
func socketError(fd int32) unix.Errno {
	code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || code == 0 {
		return unix.ECONNABORTED
	}
	return unix.Errno(code)
}
