package eventloop

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/hack/test/testkit"
)

// One side sends 3 MB and closes. The other reads slowly and writes at the same time,
// so that the closed side resets the connection to the proxy. All bytes must arrive,
// then the end, and then the reset.
func TestBytesOfADeadSideArrive(t *testing.T) {
	const total = 3_000_000
	for _, closing := range []string{"backend", "client"} {
		t.Run(closing+" closes", func(t *testing.T) {
			o := listen(t)
			e := start(t, routeA(o))
			slow, gone := e.open(o)
			if closing == "client" {
				slow, gone = gone, slow
			}
			data := randomBytes(total)
			_ = slow.SetReadBuffer(64 << 10)
			first := make([]byte, 100_000)
			sent := make(chan error, 1)
			go func() {
				_, err := gone.Write(data)
				sent <- errors.Join(err, gone.Close())
			}()
			if _, err := io.ReadFull(slow, first); err != nil {
				t.Fatal(err)
			}
			if err := <-sent; err != nil { // the kernel buffers hold the rest
				t.Skipf("the kernel holds less than %d bytes: %v", total, err)
			}
			for range 3 { // the first causes the reset, the next ones fail
				send(t, slow, []byte("more"))
				time.Sleep(50 * time.Millisecond)
			}
			got := bytes.NewBuffer(first)
			err := readSlowly(got, slow)
			if sha256.Sum256(got.Bytes()) != sha256.Sum256(data) {
				t.Fatalf("%d of %d bytes arrived, and then %v", got.Len(), total, err)
			}
			if err != nil {
				t.Errorf("the whole of it ends with %v, want EOF", err)
			}
			testkit.WaitFor(t, "writing to fail", func() bool {
				_, err := slow.Write([]byte("more"))
				return err != nil
			})
			e.awaitMetric(1, "connections_closed_total", "reset")
			e.awaitMetric(0, "connections_open")
		})
	}
}

// readSlowly reads to the end, with pauses.
func readSlowly(to io.Writer, from io.Reader) error {
	for {
		_, err := io.CopyN(to, from, 200_000)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// The backend resets in the middle of a response: what it has sent must arrive, and end
// with a reset.
func TestTruncatedResponseEndsWithReset(t *testing.T) {
	o := listen(t)
	e := start(t, routeA(o), func(f *Forwarder) { f.Loops = 1 })
	client, backend := e.open(o)
	l, release := holdLoop((*e.loops.Load())[0])
	c := l.conns[slices.IndexFunc(l.conns, func(c *conn) bool { return c.state == forwarding })]
	send(t, client, []byte("more")) // the loop's first event: it writes, and gets the error
	awaitEvent(t, c.up.src, unix.POLLIN)
	send(t, backend, []byte("half an ans"))
	sendReset(backend)
	awaitEvent(t, c.down.src, unix.POLLERR)
	release()
	expect(t, client, []byte("half an ans"))
	expectReset(t, client)
}

// awaitEvent waits until poll(2) reports an event of a socket of the proxy.
func awaitEvent(t *testing.T, fd int32, event int16) {
	t.Helper()
	testkit.WaitFor(t, "an event of the socket", func() bool {
		fds := []unix.PollFd{{Fd: fd, Events: event}}
		_, err := unix.Poll(fds, 0)
		return err == nil && fds[0].Revents&event != 0
	})
}

// A client does not read: flushing ends by a timeout, by a reset of the client, or by
// the end of the drain.
func TestFlushingEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout time.Duration
		end     func(e *edge, client *net.TCPConn)
		reason  string
	}{
		"timeout": {100 * time.Millisecond, func(*edge, *net.TCPConn) {}, "reset"},
		"reset":   {testkit.Timeout, func(_ *edge, client *net.TCPConn) { sendReset(client) }, "reset"},
		"drain":   {testkit.Timeout, func(e *edge, _ *net.TCPConn) { e.end() }, "drain_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			o := listen(t)
			e := start(t, routeA(o), func(f *Forwarder) { f.Timeouts.HalfClosed, f.Loops = tt.timeout, 1 })
			client, backend := e.open(o)
			_ = client.SetReadBuffer(16 << 10)
			go func() {
				_, _ = backend.Write(randomBytes(16 << 20))
			}()
			l := (*e.loops.Load())[0]
			e.awaitState(l, func(c *conn) bool { return c.down.hasPending() })
			sendReset(backend)
			testkit.WaitFor(t, "the connection to flush", func() bool { // the proxy detects it by writing
				if _, err := client.Write([]byte("more")); err != nil {
					return true
				}
				return e.metric("connections_closed_total") > 0 || e.inState(l, func(c *conn) bool { return c.state == flushing })
			})
			tt.end(e, client)
			e.awaitMetric(1, "connections_closed_total", tt.reason)
		})
	}
}

// inState reports whether a loop has a connection for which is returns true.
func (e *edge) inState(l *shared, is func(*conn) bool) bool {
	found := make(chan bool, 1)
	l.post(func(l *loop) {
		for _, c := range l.conns {
			if c.state != done && is(c) {
				found <- true
				return
			}
		}
		found <- false
	})
	return <-found
}

func (e *edge) awaitState(l *shared, is func(*conn) bool) {
	e.t.Helper()
	testkit.WaitFor(e.t, "a connection in this state", func() bool { return e.inState(l, is) })
}

// TestDelivered calls delivered for a peer that has not read, that has, and that has
// reset the connection.
func TestDelivered(t *testing.T) {
	o := listen(t)
	near := dial(t, o.listener.Addr().(*net.TCPAddr).AddrPort())
	far := o.accept()
	raw, err := near.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	all := func() (all bool) {
		if err := raw.Control(func(fd uintptr) { _, all = delivered(int32(fd)) }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if !all() {
		t.Error("bytes are to be delivered, but none were sent")
	}
	_ = near.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
	n, _ := near.Write(make([]byte, 64<<20)) // more than the kernel holds
	if all() {
		t.Errorf("%d bytes were delivered to a peer that has not read", n)
	}
	sendReset(far)
	testkit.WaitFor(t, "the reset to arrive", all)
}
