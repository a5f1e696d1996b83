package testkit

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Listen listens on a free port of loopback until the test ends.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	Must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// ListenReusePort listens on a free port of loopback with SO_REUSEPORT until the test
// ends, so that other processes can share the port.
func ListenReusePort(t testing.TB) net.Listener {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }), err)
	}}
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	Must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// SilentListener is a listener on loopback that does not answer: its accept queue is full,
// so that the kernel drops SYNs.
type SilentListener struct {
	*net.TCPListener
	queued int
}

// ListenSilent listens until the test ends without answering.
func ListenSilent(t testing.TB) *SilentListener {
	t.Helper()
	s := &SilentListener{TCPListener: Listen(t).(*net.TCPListener)}
	s.Silence(t)
	return s
}

// Silence makes the listener silent again. Nothing may accept from it.
func (s *SilentListener) Silence(t testing.TB) {
	t.Helper()
	s.queued = 0
	s.setBacklog(t, 0)
	for range 2 { // a queue of 0 holds one
		const soon = 50 * time.Millisecond
		dialer := net.Dialer{Timeout: soon}
		conn, err := dialer.DialContext(t.Context(), "tcp", s.Addr().String())
		if err == nil {
			s.queued++
			t.Cleanup(func() { _ = conn.Close() })
		}
	}
}

// Wake accepts what fills the queue, so that later connections are accepted as usual.
func (s *SilentListener) Wake(t testing.TB) {
	t.Helper()
	for range s.queued {
		conn, err := s.Accept()
		Must(t, err)
		Must(t, conn.Close())
	}
	const usual = 128
	s.setBacklog(t, usual)
}

func (s *SilentListener) setBacklog(t testing.TB, backlog int) {
	t.Helper()
	raw, err := s.SyscallConn()
	Must(t, err)
	Must(t, raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), backlog) }))
	Must(t, err)
}

// FreeAddress returns host with a port that nothing listens on now, for a server that
// cannot report a port that it chose itself. Another process may take the port first.
func FreeAddress(t testing.TB, host string) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(host, "0"))
	Must(t, err)
	Must(t, listener.Close())
	return listener.Addr().String()
}

// CheckDescriptors fails the test if more file descriptors are open at its end than
// now. Call it first: cleanups run in reverse order.
func CheckDescriptors(t testing.TB) {
	t.Helper()
	FreeAddress(t, "127.0.0.1") // so that Go opens the descriptors that it uses for all sockets
	before := OpenDescriptors(t)
	t.Cleanup(func() {
		Eventually(t, "all descriptors should be closed", func() error {
			if now := OpenDescriptors(t); now > before {
				return fmt.Errorf("%d are open, %d were before the test", now, before)
			}
			return nil
		})
	})
}

// OpenDescriptors counts the file descriptors that this process has open.
func OpenDescriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	Must(t, err)
	return len(entries)
}
