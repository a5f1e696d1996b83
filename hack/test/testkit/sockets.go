package testkit

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

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
