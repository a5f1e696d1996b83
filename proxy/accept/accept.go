// Package accept wraps a net.Listener so that accept errors do not end its server. A
// net/http server, like most others, ends when its listener returns an error that is
// not marked temporary, such as ENOMEM, ENOBUFS or EPERM.
//
// It must not import Kubernetes, nor anything else of usher.
package accept

import (
	"errors"
	"net"
	"sync"
	"time"
)

// retryDelay is the pause after an error. New connections wait in the kernel's queue.
const retryDelay = 100 * time.Millisecond

// Retrying returns a listener that returns no error except net.ErrClosed. After any
// other error it calls report, which may be nil, waits for 100 ms, and accepts again.
func Retrying(listener net.Listener, report func(error)) net.Listener {
	if report == nil {
		report = func(error) {}
	}
	return &retryingListener{Listener: listener, report: report, closed: make(chan struct{})}
}

type retryingListener struct {
	net.Listener
	report func(error)

	close  sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *retryingListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return conn, err
		}
		l.report(err)
		select {
		case <-time.After(retryDelay):
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

// Close implements net.Listener.
func (l *retryingListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}
