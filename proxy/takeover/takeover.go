// Package takeover listens on addresses that two processes of one service may
// hold at once (SO_REUSEPORT), so that a new process takes over from a former one
// without refusing connections in between. The kernel lets any two processes of one
// user share an address, so each process announces its service: see Announce.
//
// It must not import Kubernetes, nor anything else of usher.
package takeover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listener is a TCP listener whose address another process can take over.
type Listener struct {
	*net.TCPListener
	release func()
}

// Close stops listening and releases the address.
func (l *Listener) Close() error {
	err := l.TCPListener.Close()
	l.Release()
	return err
}

// Release removes the address from the addresses that this process announces. Close
// calls it. A caller that has duplicated the socket, and closes the duplicate itself,
// calls Release when it does so.
func (l *Listener) Release() { l.release() }

// Listen binds an address in the syntax of ParseAddress. Another announced process
// of the same user and service may hold the address. From then on the kernel gives
// new connections to this process, and the former process keeps those that it has.
// When the former process stops, none of its handshakes is in progress; the kernel
// would reset them. If this process ends first, the former process gets new
// connections again. Listen returns an error if the address is held by a process of
// another service, by a process that has not announced itself, or by this process.
//
// A nil Process does not share the address.
//
// Options are set on the socket before it listens, and may be nil.
func (p *Process) Listen(ctx context.Context, address string, options func(fd int)) (*Listener, error) {
	requested, err := ParseAddress(address)
	if err != nil {
		return nil, err
	}
	if p == nil {
		listener, err := bind(ctx, address, options)
		if err != nil {
			return nil, err
		}
		return &Listener{TCPListener: listener, release: func() {}}, nil
	}
	if err := p.add(requested); err != nil {
		return nil, err
	}
	listener, err := p.share(ctx, address, requested, options)
	if err != nil {
		p.remove(requested)
		return nil, err
	}
	return listener, nil
}

// share binds an address and notifies the processes that hold it.
func (p *Process) share(ctx context.Context, address string, requested netip.AddrPort, options func(fd int)) (*Listener, error) {
	holders, err := p.holdersOf(ctx, address, requested)
	if err != nil {
		return nil, err
	}
	tcp, err := bind(ctx, address, func(fd int) {
		if options != nil {
			options(fd)
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) // if this fails and the address is held, so does bind
	})
	if err != nil {
		return nil, err
	}
	preferSecondListener(tcp)
	held := canonical(tcp.Addr().(*net.TCPAddr).AddrPort())
	p.replace(requested, held)
	closeConns := p.notify(ctx, holders, held)
	return &Listener{TCPListener: tcp, release: sync.OnceFunc(func() { p.remove(held); closeConns() })}, nil
}

// bind listens on an address. It fails if another socket listens there, unless
// options set SO_REUSEPORT.
func bind(ctx context.Context, address string, options func(fd int)) (*net.TCPListener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return control(raw, func(fd int) error {
			if options != nil {
				options(fd)
			}
			return nil
		})
	}}
	config.SetMultipathTCP(false) // MPTCP sockets do not support splice(2)
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, withHint(err)
	}
	return listener.(*net.TCPListener), nil
}

// withHint adds what to do to the most common errors.
func withHint(err error) error {
	switch {
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (a port below 1024 needs CAP_NET_BIND_SERVICE)", err)
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("%w (another program holds it, or an usher process of another user: run `ss -ltnp` as root to see which)", err)
	}
	return err
}

// secondListener is a BPF program that selects a socket among those that share an
// address: the second that began to listen. If there is only one socket, the
// selected index does not exist, and the kernel uses that socket. See
// SO_ATTACH_REUSEPORT_CBPF in socket(7). It needs no privilege.
var secondListener = unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 1}

// preferSecondListener attaches that program. A kernel that does not support it
// spreads connections over all sockets, so that both processes serve them.
func preferSecondListener(listener *net.TCPListener) {
	raw, err := listener.SyscallConn()
	if err != nil {
		return
	}
	_ = control(raw, func(fd int) error {
		program := unix.SockFprog{Len: 1, Filter: &secondListener}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &program)
	})
}

// control calls f with the descriptor of a socket.
func control(raw syscall.RawConn, f func(fd int) error) error {
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}
