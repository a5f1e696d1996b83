package eventloop

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxTurnAccepts bounds the connections that one event may bring: more are
	// announced again.
	maxTurnAccepts = 16

	// maxQueuedConns bounds the connections that are taken from a listener's queue
	// before it is closed: the kernel's default bound on the queue
	// (net.core.somaxconn).
	maxQueuedConns = 4096

	// acceptBackoff is how long a loop leaves a listener alone after it could not
	// accept without free descriptors or memory. The queue waits in the kernel
	// meanwhile, and nobody spins.
	acceptBackoff = 100 * time.Millisecond
)

// acceptor is a loop's share in the listeners.
//
// All loops that accept wait for the same listening sockets. With
// EPOLLEXCLUSIVE the kernel wakes one of them, and one that is busy with other
// connections is no candidate: a loop takes what the ones before it have no
// time for.
type acceptor struct {
	listeners    []int
	enabled      bool  // by the balance: see balance.go
	watching     bool  // the listeners are in the epoll set
	backoffUntil int64 // loop time; 0: not resting
}

// start takes part in the listeners.
func (a *acceptor) start(l *loop) {
	a.enabled = true
	a.update(l)
}

// pause takes no more part in the listeners, until start.
func (a *acceptor) pause(l *loop) {
	a.enabled = false
	a.update(l)
}

// stop leaves for good. Connections that the kernel has accepted by now are
// still served: nobody else can, and closing the listener would reset them.
func (a *acceptor) stop(l *loop) {
	for i := range a.listeners {
		for queued := 0; queued < maxQueuedConns && l.acceptOne(i); queued++ {
		}
	}
	a.pause(l)
	a.listeners = nil
}

// update makes the epoll set agree with what is wanted.
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
	for i, fd := range a.listeners {
		event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLEXCLUSIVE, Fd: int32(firstListener - i)}
		if errno := l.kernel.watch(l.epoll, op, fd, &event); errno != 0 && want {
			l.Log.Error(errno, "Cannot watch a listener")
		}
	}
}

// accept takes the connections that wait at a listener.
func (a *acceptor) accept(l *loop, listener int) {
	for range maxTurnAccepts {
		if !a.watching || !l.acceptOne(listener) {
			return
		}
	}
}

// acceptOne takes one connection; it reports whether there may be more.
func (l *loop) acceptOne(listener int) bool {
	fd, errno := l.kernel.accept(l.acceptor.listeners[listener], &l.peer)
	switch errno {
	case 0:
		l.admit(int32(fd))
		return true
	case unix.EINTR, unix.ECONNABORTED: // that connection is gone: accept(2)
		return true
	case unix.EAGAIN:
		return false
	}
	l.acceptor.backOff(l, errno)
	return false
}

// admit begins with an accepted connection, unless there are enough.
func (l *loop) admit(fd int32) {
	l.counters.accepted.Add(1)
	peer := l.peer.addrPort()
	if !l.Limits.Open() {
		l.counters.refused[tooManyConnections].Add(1)
		l.logQueue.logLimited(peer)
		closeFD(fd)
		return
	}
	l.alloc().start(fd, peer)
}

// backOff leaves the listeners alone for a while.
func (a *acceptor) backOff(l *loop, why unix.Errno) {
	l.counters.acceptErrors.Add(1)
	l.logQueue.logAcceptFailed(why)
	a.backoffUntil = l.now + int64(acceptBackoff)
	a.update(l)
}

// resume ends a rest that is over.
func (a *acceptor) resume(l *loop) {
	if a.backoffUntil != 0 && l.now >= a.backoffUntil {
		a.backoffUntil = 0
		a.update(l)
	}
}
