// Package accept keeps a net.Listener in service. A server of net/http, and most
// others, ends when its listener returns an error that is not marked temporary,
// and the process would end with it: ENOMEM, ENOBUFS and EPERM are such errors.
//
// It must not import Kubernetes, nor anything else of usher.
package accept

import (
	"errors"
	"net"
	"sync"
	"time"
)

// rest is how long a listener is left alone after an error. The kernel's queue
// holds new connections meanwhile.
const rest = 100 * time.Millisecond

// Resting returns a listener that passes no error on but that of its own end,
// net.ErrClosed. After any other it calls report, which may be nil, rests for
// 100 ms, and accepts again.
func Resting(listener net.Listener, report func(error)) net.Listener {
	if report == nil {
		report = func(error) {}
	}
	return &restingListener{Listener: listener, report: report, closed: make(chan struct{})}
}

type restingListener struct {
	net.Listener
	report func(error)

	close  sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *restingListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err == nil || errors.Is(err, net.ErrClosed) {
			return conn, err
		}
		l.report(err)
		select {
		case <-time.After(rest):
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

// Close implements net.Listener.
func (l *restingListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}
