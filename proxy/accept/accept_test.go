package accept_test

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/accept"
)

// failing is a listener whose first accepts fail.
type failing struct {
	net.Listener
	errs []error
}

func (l *failing) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

// accepted is what Accept returned.
type accepted struct {
	conn net.Conn
	err  error
}

func TestAcceptGoesOnAfterErrors(t *testing.T) {
	errs := []error{syscall.ENOMEM, syscall.ENOBUFS, syscall.EPERM, syscall.EMFILE, syscall.EPROTO}
	var reported []error
	inner := listen(t)
	listener := accept.Resting(&failing{Listener: inner, errs: errs}, func(err error) { reported = append(reported, err) })
	done := make(chan accepted, 1)
	go func() {
		conn, err := listener.Accept()
		done <- accepted{conn, err}
	}()
	client, err := net.DialTimeout("tcp", inner.Addr().String(), testkit.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	select {
	case got := <-done:
		if got.err != nil {
			t.Fatalf("Accept returned %v", got.err)
		}
		got.conn.Close()
	case <-time.After(testkit.Timeout):
		t.Fatal("Accept does not return")
	}
	if len(reported) != len(errs) {
		t.Errorf("%d errors reported, want %d", len(reported), len(errs))
	}
}

func TestCloseEndsARest(t *testing.T) {
	resting := make(chan struct{}, 1)
	broken := &failing{Listener: listen(t), errs: []error{syscall.ENOMEM}}
	listener := accept.Resting(broken, func(error) { resting <- struct{}{} })
	done := make(chan error, 1)
	go func() {
		_, err := listener.Accept()
		done <- err
	}()
	<-resting
	listener.Close()
	select {
	case err := <-done:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept returned %v, want net.ErrClosed", err)
		}
	case <-time.After(testkit.Timeout):
		t.Error("Accept does not return after Close")
	}
}
