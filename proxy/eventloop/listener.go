package eventloop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/proxy/routing"
	"github.com/jovalle/usher/proxy/takeover"
)

const (
	// deferAccept is how many seconds the kernel waits for the first byte of a
	// client before it reports the connection (tcp(7), TCP_DEFER_ACCEPT). The
	// connection can then be accepted together with its ClientHello, and a client
	// that sends nothing uses no descriptor at first. The hello timeout starts when
	// the connection is accepted.
	deferAccept = 1

	// TCP keepalive detects dead peers of idle connections: the first probe is sent
	// after keepIdle, and keepCount probes are sent keepInterval apart. In seconds.
	keepIdle     = 60
	keepInterval = 20
	keepCount    = 4
)

// Listener is a TCP socket that the loops accept from.
type Listener struct {
	// Port is the name of the TLS port, by which routes know it: the port of
	// routing.Route.On. Set it before Serve; Listen sets it to routing.PortHTTPS.
	Port string

	fd      int
	addr    netip.AddrPort
	release func() // releases the address after fd is closed
	close   sync.Once
}

// Listen binds a "host:port" address. Without a host, or with [::], it covers IPv4
// and IPv6. Another process can take over the address: see package takeover. With a
// nil process the address is not shared.
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
	_ = listener.TCPListener.Close() // the duplicate stays open
	return &Listener{Port: routing.PortHTTPS, fd: fd, addr: addr, release: listener.Release}, nil
}

// setListenOptions sets the options of a socket before it listens. Accepted sockets
// inherit TCP_NODELAY and TCP_QUICKACK, which saves system calls. Without
// TCP_QUICKACK, the ACK of the ClientHello is sent with the response.
func setListenOptions(fd int) {
	setOption(int32(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, deferAccept)
	setOption(int32(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	setOption(int32(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
}

// duplicate returns a duplicate of the listener's socket. It stays open when the
// listener is closed.
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

// setKeepAlive enables TCP keepalive.
func setKeepAlive(fd int32) {
	setOption(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepIdle)
	setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepInterval)
	setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepCount)
}

// Addr returns the address that the listener is bound to.
func (l *Listener) Addr() netip.AddrPort { return l.addr }

// Close stops listening. Serve calls it too; further calls have no effect.
func (l *Listener) Close() {
	l.close.Do(func() {
		closeFD(int32(l.fd))
		l.release()
	})
}
