// Package takeover listens on addresses that two processes of usher may hold at
// once, so that one takes over from the other and nobody is refused in between.
//
// It must not import Kubernetes, nor anything else of usher.
package takeover

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listen binds a "host:port" address, which a process of the same user may hold
// already if it listens by this function too. From then on new connections are
// the newcomer's, and the former process has only those that it began with: by
// the time it stops, no handshake of its own is under way, which the kernel would
// reset. Should the newcomer end first, the former process has them again.
//
// Without a host, or with [::], the address covers IPv4 and IPv6. Options are set
// on the socket before it listens, and may be nil.
func Listen(ctx context.Context, address string, options func(fd int)) (*net.TCPListener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return control(raw, func(fd int) error {
			if options != nil {
				options(fd)
			}
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
	}}
	config.SetMultipathTCP(false) // its sockets do not splice
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	tcp := listener.(*net.TCPListener)
	preferNewcomer(tcp)
	return tcp, nil
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
