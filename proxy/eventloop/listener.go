package eventloop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/proxy/takeover"
)

const (
	// deferAccept is how many seconds the kernel keeps a client to itself that
	// has not sent a byte (tcp(7), TCP_DEFER_ACCEPT): it answers the first
	// retransmission, and a hello timeout starts then. A connection is then
	// accepted together with its hello, and a silent one costs no descriptor
	// at first.
	deferAccept = 1

	// Keepalive finds dead peers of connections that rest: the first probe
	// after keepIdle, then keepCount of them keepInterval apart. In seconds.
	keepIdle     = 60
	keepInterval = 20
	keepCount    = 4
)

// Listener is a TCP socket that the loops accept from.
type Listener struct {
	fd      int
	addr    netip.AddrPort
	release func() // the address, once fd is closed
	close   sync.Once
}

// Listen binds a "host:port" address. Without a host, or with [::], it covers
// IPv4 and IPv6. One process can take over from another: see package takeover. On
// a nil process the address is shared with none.
func Listen(ctx context.Context, address string, process *takeover.Process) (*Listener, error) {
	listener, err := process.Listen(ctx, address, setListenOptions)
	if err != nil {
		return nil, err
	}
	fd, err := duplicate(listener.TCPListener)
	if err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	addr := listener.Addr().(*net.TCPAddr).AddrPort()
	_ = listener.TCPListener.Close() // the duplicate goes on
	return &Listener{fd: fd, addr: addr, release: listener.Release}, nil
}

// setListenOptions sets what must be set before a socket listens. Accepted
// sockets inherit TCP_NODELAY and TCP_QUICKACK, which saves the calls on each.
// Without quick acknowledgements the one of the hello rides on the answer.
func setListenOptions(fd int) {
	setOption(int32(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, deferAccept)
	setOption(int32(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	setOption(int32(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
}

// duplicate returns the listener's socket, which then is the caller's alone
// once the listener is closed.
func duplicate(listener *net.TCPListener) (int, error) {
	raw, err := listener.SyscallConn()
	if err != nil {
		return 0, err
	}
	var fd int
	var dupErr error
	err = raw.Control(func(original uintptr) {
		fd, dupErr = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0)
	})
	return fd, errors.Join(err, dupErr)
}

// setKeepAlive has the kernel probe a connection that rests.
func setKeepAlive(fd int32) {
	setOption(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepIdle)
	setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepInterval)
	setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepCount)
}

// Addr returns the address that the listener is bound to.
func (l *Listener) Addr() netip.AddrPort { return l.addr }

// Close stops listening. Serve does so by itself; more than once does no harm.
func (l *Listener) Close() {
	l.close.Do(func() {
		closeFD(int32(l.fd))
		l.release()
	})
}
