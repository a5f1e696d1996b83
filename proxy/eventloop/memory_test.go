package eventloop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// halfHello returns the first size bytes of a longer ClientHello.
func halfHello(size int) []byte {
	const record = 16 << 10
	message := make([]byte, 0, size+record)
	body := append([]byte{1, 0, 0xff, 0xff}, randomBytes(size)...) // a ClientHello of 64 KiB
	for len(body) > 0 {
		n := min(len(body), record)
		message = append(message, 22, 3, 1, byte(n>>8), byte(n))
		message = append(message, body[:n]...)
		body = body[n:]
	}
	return message[:size]
}

// Many clients send half a ClientHello each.
func TestHellosAreBounded(t *testing.T) {
	const limit, clients, size = 1 << 20, 100, 33_000
	o := listen(t)
	e := start(t, routeA(o), func(f *Forwarder) { f.HelloMemory = limit })
	var flood []*net.TCPConn
	most := 0.0
	for range clients {
		client := dial(t, e.addr)
		go func() { _, _ = client.Write(halfHello(size)) }()
		flood = append(flood, client)
		most = max(most, e.metric("hello_bytes"))
	}
	e.awaitMetric(clients, "connections_accepted_total")
	testkit.Eventually(t, "the ClientHellos should use the allowed memory", func() error {
		if held := e.metric("hello_bytes"); held > limit || held < limit/2 {
			return fmt.Errorf("%v bytes are held", held)
		}
		return nil
	})
	// A loop counts the bytes that exceed the limit before it refuses connections.
	if most > limit+64<<10*float64(len(*e.loops.Load())) {
		t.Errorf("%v bytes were held, the limit is %d", most, limit)
	}
	// The oldest connection is refused; a new client is served.
	if _, err := flood[0].Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the oldest client reads %v", err)
	}
	e.open(o)
	if e.metric("connections_refused_total", "hello_memory") == 0 {
		t.Error("no refusal is counted")
	}
	for _, client := range flood {
		client.Close()
	}
	e.awaitMetric(0, "hello_bytes")
	e.awaitMetric(1, "connections_open")
}

// ClientHellos for a backend whose name is never resolved fill the memory.
func TestUnresolvedBackendsDoNotBlockOthers(t *testing.T) {
	o := listen(t)
	routes := append(routeA(o), routing.Route{Host: "dead.is", Backends: []routing.Backend{{Addresses: []string{"slow.invalid"}, HTTPSPort: 1}}})
	e := start(t, routes, func(f *Forwarder) {
		f.HelloMemory = 64 << 10
		f.resolver = neverResolves()
	})
	for range 100 {
		send(t, dial(t, e.addr), helloFor(t, "dead.is"))
	}
	e.awaitMetric(100, "connections_accepted_total")
	e.open(o)
	e.awaitMetric(0, "connections_refused_total", "no_backend")
	if e.metric("connections_refused_total", "hello_memory") == 0 {
		t.Error("no refusal is counted")
	}
}

func TestMemoryIsReleasedToSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newHelloMemory(1000)
		var freed atomic.Int64
		m.free = func() { freed.Add(1) }
		go m.releaseToSystem(t.Context())
		for _, step := range []struct {
			name  string
			bytes int
			wait  time.Duration
			want  int64 // how often memory was released by then
		}{
			{"little", 400, 0, 0},
			{"much", 900, 0, 1},
			{"much again, at once", 900, releaseInterval - 1, 1},
			{"after a while", 0, 1, 2},
		} {
			m.reserve(step.bytes)
			m.release(step.bytes)
			time.Sleep(step.wait)
			synctest.Wait()
			if n := freed.Load(); n != step.want {
				t.Errorf("%s: memory was released %d times, want %d", step.name, n, step.want)
			}
		}
	})
}

// Clients download much and read nothing: the proxy holds little for each.
func TestClientsThatDoNotReadHoldLittle(t *testing.T) {
	o := listen(t)
	e := start(t, routeA(o), func(f *Forwarder) {
		f.Loops, f.kernel = 1, realKernel
		f.kernel.pipe = func() (r, w int, errno syscall.Errno) { return 0, 0, syscall.EMFILE } // no pipe is free
	})
	client, backend := e.open(o)
	l := (*e.loops.Load())[0]
	const others = maxPending + 1
	l.post(func(l *loop) { l.addPending(others) })
	if err := client.SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(backend, io.LimitReader(neverEnding{}, 64<<20))
	}()
	testkit.Eventually(t, "bytes should be held", func() error {
		if held := l.pending.Load() - others; held <= 0 {
			return errors.New("nothing is held yet")
		} else if held > smallBuffer {
			t.Fatalf("%d bytes are held for one client", held)
		}
		return nil
	})
}

// neverEnding is an endless stream of zeros.
type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }
