// Package takeover listens on addresses that two processes of one service may
// hold at once, so that one takes over from the other and nobody is refused in
// between. The kernel lets any two processes of one user share an address, so
// each says who it is: see Announce.
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

// Listener is a TCP listener whose address other processes may ask for.
type Listener struct {
	*net.TCPListener
	release func()
}

// Close stops listening. The address is another process's from then on.
func (l *Listener) Close() error {
	err := l.TCPListener.Close()
	l.Release()
	return err
}

// Release says that the address is this process's no more. It is for a process that
// has duplicated the socket, and closes that by itself; Close does it too.
func (l *Listener) Release() { l.release() }

// Listen binds an address as ParseAddress reads it. A process of the same user
// may hold it already if it is of the same service, and announced too: from then
// on new connections are the newcomer's, and the former process has only those
// that it began with. By the time it stops, no handshake of its own is under way,
// which the kernel would reset. Should the newcomer end first, the former process
// has them again. It is an error where a process of another service holds the
// address, or one that does not say who it is, or this process itself.
//
// On a nil Process the address is shared with none.
//
// Options are set on the socket before it listens, and may be nil.
func (p *Process) Listen(ctx context.Context, address string, options func(fd int)) (*Listener, error) {
	wanted, err := ParseAddress(address)
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
	if err := p.add(wanted); err != nil {
		return nil, err
	}
	listener, err := p.share(ctx, address, wanted, options)
	if err != nil {
		p.remove(wanted)
		return nil, err
	}
	return listener, nil
}

// share binds an address that others may hold, and tells them.
func (p *Process) share(ctx context.Context, address string, wanted netip.AddrPort, options func(fd int)) (*Listener, error) {
	holders, err := p.admitted(ctx, address, wanted)
	if err != nil {
		return nil, err
	}
	tcp, err := bind(ctx, address, func(fd int) {
		if options != nil {
			options(fd)
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) // without it, bind fails where it matters
	})
	if err != nil {
		return nil, err
	}
	preferNewcomer(tcp)
	held := canonical(tcp.Addr().(*net.TCPAddr).AddrPort())
	p.replace(wanted, held)
	hangUp := p.tell(ctx, holders, held)
	return &Listener{TCPListener: tcp, release: sync.OnceFunc(func() { p.remove(held); hangUp() })}, nil
}

// bind listens on an address. Without SO_REUSEPORT among its options it fails
// where anybody listens there.
func bind(ctx context.Context, address string, options func(fd int)) (*net.TCPListener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return control(raw, func(fd int) error {
			if options != nil {
				options(fd)
			}
			return nil
		})
	}}
	config.SetMultipathTCP(false) // its sockets do not splice
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, explain(err)
	}
	return listener.(*net.TCPListener), nil
}

// explain says what to do about the commonest errors.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (a port below 1024 needs CAP_NET_BIND_SERVICE)", err)
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("%w (another program holds it, or another user's usher: `ss -ltnp` shows root which)", err)
	}
	return err
}

// newcomer is a program by which the kernel chooses among the sockets that share
// an address: the second that began to listen. Where there is one only, the
// program's choice does not exist, and the kernel takes that one. See
// SO_ATTACH_REUSEPORT_CBPF in socket(7). It needs no privilege.
var newcomer = unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 1}

// preferNewcomer gives the kernel that program. One that does not know of it
// spreads connections over all the sockets, which serves them as well.
func preferNewcomer(listener *net.TCPListener) {
	raw, err := listener.SyscallConn()
	if err != nil {
		return
	}
	_ = control(raw, func(fd int) error {
		program := unix.SockFprog{Len: 1, Filter: &newcomer}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &program)
	})
}

// control calls f with a socket's descriptor.
func control(raw syscall.RawConn, f func(fd int) error) error {
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}
