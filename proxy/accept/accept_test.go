package accept_test

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/accept"
)

// failing is a listener that returns errors first.
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

func TestAcceptRetriesAfterErrors(t *testing.T) {
	errs := []error{syscall.ENOMEM, syscall.ENOBUFS, syscall.EPERM, syscall.EMFILE, syscall.EPROTO}
	inner := testkit.Listen(t)
	client, err := net.DialTimeout("tcp", inner.Addr().String(), testkit.Timeout)
	testkit.Must(t, err)
	defer client.Close()
	synctest.Test(t, func(t *testing.T) {
		reported := 0
		listener := accept.Retrying(&failing{Listener: inner, errs: errs}, func(error) { reported++ })
		began := time.Now()
		conn, err := listener.Accept()
		testkit.Must(t, err)
		conn.Close()
		if took, want := time.Since(began), time.Duration(len(errs))*100*time.Millisecond; took != want {
			t.Errorf("it waited for %v, want %v", took, want)
		}
		if reported != len(errs) {
			t.Errorf("%d errors reported, want %d", reported, len(errs))
		}
	})
}

func TestCloseEndsTheWait(t *testing.T) {
	inner := testkit.Listen(t)
	synctest.Test(t, func(t *testing.T) {
		listener := accept.Retrying(&failing{Listener: inner, errs: []error{syscall.ENOMEM}}, nil)
		done := make(chan error, 1)
		go func() {
			_, err := listener.Accept()
			done <- err
		}()
		synctest.Wait() // it waits to retry
		began := time.Now()
		listener.Close()
		err := <-done
		if took := time.Since(began); !errors.Is(err, net.ErrClosed) || took > 0 {
			t.Errorf("Accept returned %v after %v, want net.ErrClosed at once", err, took)
		}
	})
}
