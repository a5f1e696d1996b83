package eventloop

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// helloMemoryOf sets HelloMemory.
func helloMemoryOf(bytes int64) func(*Forwarder) {
	return func(f *Forwarder) { f.HelloMemory = bytes }
}

// alive reports whether a connection that received nothing is still open.
func alive(t testing.TB, conn net.Conn) bool {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// One loop fills the memory, and another accepts the next connections.
func TestTheOldestOfAnotherLoopIsRefused(t *testing.T) {
	testkit.CheckDescriptors(t)
	o := listen(t)
	e := start(t, routeA(o), helloMemoryOf(8*smallBuffer), func(f *Forwarder) { f.Loops = 2 })
	e.open(o) // so that both run
	loops := *e.loops.Load()
	var opened []net.Conn
	attack := func() {
		client := dial(t, e.addr)
		send(t, client, halfHello(100))
		opened = append(opened, client)
	}
	for range 6 {
		attack()
	}
	e.awaitMetric(6*smallBuffer, "hello_bytes")
	measured(e, loops[0], busyPercent)
	release := hold(loops[0])
	attack()
	attack()
	testkit.WaitFor(t, "the second loop to accept them", func() bool { return loops[1].counters.accepted.Load() >= 2 })
	for _, client := range opened {
		if !alive(t, client) {
			t.Error("a connection was refused before the first loop could refuse its oldest")
		}
	}
	release()
	e.awaitMetric(1, "connections_refused_total", "hello_memory")
	for i, client := range opened {
		if alive(t, client) != (i > 0) {
			t.Errorf("connection %d of 0 to 7 was wrongly refused, or wrongly kept", i)
		}
	}
}

// The loop with the oldest connections is blocked: the other must not wait for it.
func TestLimitHoldsWhileOneLoopIsBlocked(t *testing.T) {
	testkit.CheckDescriptors(t)
	o := listen(t)
	e := start(t, routeA(o), helloMemoryOf(8*smallBuffer), func(f *Forwarder) { f.Loops = 2 })
	e.open(o)
	loops := *e.loops.Load()
	for range 6 {
		send(t, dial(t, e.addr), halfHello(100))
	}
	e.awaitMetric(6*smallBuffer, "hello_bytes")
	measured(e, loops[0], busyPercent)
	release := hold(loops[0])
	defer release()
	var latest net.Conn
	for range 20 {
		latest = dial(t, e.addr)
		send(t, latest, halfHello(100))
	}
	testkit.Eventually(t, "the second loop should refuse 18 connections", func() error {
		if n := loops[1].counters.refused[outOfHelloMemory].Load(); n != 18 {
			return fmt.Errorf("it has refused %d", n)
		}
		return nil
	})
	if held := e.helloMemory.held.Load(); held > 8*smallBuffer {
		t.Errorf("%d bytes are held", held)
	}
	if !alive(t, latest) {
		t.Error("the latest was refused, not the second loop's oldest")
	}
}

// Unrouted connections exceed the limit: connections that are already forwarded stay
// open.
func TestForwardedConnectionsAreNotCounted(t *testing.T) {
	testkit.CheckDescriptors(t)
	o := listen(t)
	e := start(t, routeA(o), helloMemoryOf(8*smallBuffer))
	var backends, clients []io.ReadWriter
	for range 20 {
		client, backend := e.open(o)
		clients, backends = append(clients, client), append(backends, backend)
	}
	e.awaitMetric(0, "hello_bytes")
	for range 20 {
		send(t, dial(t, e.addr), halfHello(100))
	}
	e.awaitMetric(13, "connections_refused_total", "hello_memory")
	for i := range clients {
		send(t, clients[i], []byte("still here"))
		expect(t, backends[i], []byte("still here"))
	}
}

// An attacker keeps the memory full: a client is served even if its ClientHello arrives
// in two pieces.
func TestHostsAreServedWhileHellosFillTheMemory(t *testing.T) {
	testkit.CheckDescriptors(t)
	o := listen(t)
	e := start(t, routeA(o), helloMemoryOf(1<<20), func(f *Forwarder) { f.Loops = 1 })
	attack := func(count int) {
		for range count {
			_, _ = dial(t, e.addr).Write(halfHello(33_000))
		}
	}
	attack(40)
	hello := longHello(t)
	client := dial(t, e.addr)
	send(t, client, hello[:5_000])
	attack(5)
	send(t, client, hello[5_000:])
	expect(t, o.accept(), hello)
	if e.metric("connections_refused_total", "hello_memory") == 0 {
		t.Error("the memory was never full")
	}
}
