package eventloop

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxTurnAccepts bounds the connections that are accepted for one event. If more
	// are queued, epoll reports the listener again.
	maxTurnAccepts = 16

	// maxQueuedConns bounds the connections that are accepted from the queue of a
	// listener before it is closed. It is the default bound of the kernel on the
	// queue (net.core.somaxconn).
	maxQueuedConns = 4096

	// acceptBackoff is how long a loop accepts nothing after an error, such as a lack
	// of descriptors or memory. Connections wait in the kernel's queue, and the loop
	// does not spin.
	acceptBackoff = 100 * time.Millisecond
)

// acceptor accepts connections for one loop.
//
// All accepting loops watch the same listening sockets. With EPOLLEXCLUSIVE the
// kernel wakes only one of the loops that wait, so that a loop accepts what the
// loops before it have no time for.
type acceptor struct {
	listeners    []listeningSocket
	enabled      bool  // set by the balancing: see balance.go
	watching     bool  // the listeners are in the epoll set
	backoffUntil int64 // loop time; 0 if there is no backoff
}

// listeningSocket is a socket of a Listener.
type listeningSocket struct {
	fd   int
	port uint8 // index in Forwarder.ports
}

// start begins to accept.
func (a *acceptor) start(l *loop) {
	a.enabled = true
	a.update(l)
}

// pause stops accepting until start.
func (a *acceptor) pause(l *loop) {
	a.enabled = false
	a.update(l)
}

// stop stops accepting for good. It first accepts the connections in the queues,
// because closing the listener would reset them.
func (a *acceptor) stop(l *loop) {
	for i := range a.listeners {
		for queued := 0; queued < maxQueuedConns && l.acceptOne(i); queued++ {
		}
	}
	a.pause(l)
	a.listeners = nil
}

// update adds the listeners to the epoll set, or removes them.
func (a *acceptor) update(l *loop) {
	want := a.enabled && a.backoffUntil == 0
	if want == a.watching {
		return
	}
	a.watching = want
	op := unix.EPOLL_CTL_ADD
	if !want {
		op = unix.EPOLL_CTL_DEL
	}
	for i, listener := range a.listeners {
		event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLEXCLUSIVE, Fd: int32(firstListener - i)}
		if errno := l.kernel.watch(l.epoll, op, listener.fd, &event); errno != 0 && want {
			l.Log.Error(errno, "Cannot watch a listener")
		}
	}
}

// accept accepts connections from a listener.
func (a *acceptor) accept(l *loop, listener int) {
	for range maxTurnAccepts {
		if !a.watching || !l.acceptOne(listener) {
			return
		}
	}
}

// acceptOne accepts one connection and reports whether there may be more.
func (l *loop) acceptOne(listener int) bool {
	from := l.acceptor.listeners[listener]
	fd, errno := l.kernel.accept(from.fd, &l.peer)
	switch errno {
	case 0:
		l.admit(int32(fd), from.port)
		return true
	case unix.EINTR, unix.ECONNABORTED: // the client has closed the connection: accept(2)
		return true
	case unix.EAGAIN:
		return false
	}
	l.acceptor.backOff(l, errno)
	return false
}

// admit starts a connection that was accepted on a port, or closes it if the limit is
// reached.
func (l *loop) admit(fd int32, port uint8) {
	l.counters.accepted.Add(1)
	peer := l.peer.addrPort()
	if !l.Limits.Open() {
		l.logQueue.logLimited(peer, l.ports[port])
		closeFD(fd)
		l.counters.refuse(tooManyConnections, port)
		return
	}
	l.alloc().start(fd, peer, port)
}

// backOff stops accepting for acceptBackoff.
func (a *acceptor) backOff(l *loop, why unix.Errno) {
	l.counters.acceptErrors.Add(1)
	l.logQueue.logAcceptFailed(why)
	a.backoffUntil = l.now + int64(acceptBackoff)
	a.update(l)
}

// resume accepts again when the backoff is over.
func (a *acceptor) resume(l *loop) {
	if a.backoffUntil != 0 && l.now >= a.backoffUntil {
		a.backoffUntil = 0
		a.update(l)
	}
}
