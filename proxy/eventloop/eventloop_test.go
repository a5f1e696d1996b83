package eventloop

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/limit"
	"github.com/jovalle/usher/proxy/routing"
)

// edge is a Forwarder that runs on loopback.
type edge struct {
	*Forwarder
	t    testing.TB
	addr netip.AddrPort
	end  func() // stops it, and waits
}

// start runs a Forwarder with routes until the test ends. All descriptors that are
// opened from here on must be closed then. The options may change the Forwarder before
// it runs.
func start(t testing.TB, routes []routing.Route, options ...func(*Forwarder)) *edge {
	t.Helper()
	return startOn(t, routing.PortHTTPS, routes, options...)
}

// startOn is start for a listener of a TLS port.
func startOn(t testing.TB, port string, routes []routing.Route, options ...func(*Forwarder)) *edge {
	t.Helper()
	testkit.CheckDescriptors(t)
	var live routing.Live
	live.Store(routing.NewTable(routes))
	f := &Forwarder{
		Table: &live, Limits: &limit.Connections{}, Log: logr.Discard(),
		Timeouts: limit.Timeouts{Hello: testkit.Timeout, Dial: testkit.Timeout, Idle: testkit.Timeout, HalfClosed: testkit.Timeout, Drain: 50 * time.Millisecond},
	}
	for _, option := range options {
		option(f)
	}
	listener, err := Listen(context.Background(), "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	listener.Port = port
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Serve(ctx, []*Listener{listener}) }()
	e := &edge{Forwarder: f, t: t, addr: listener.Addr()}
	e.end = sync.OnceFunc(func() {
		stop()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(testkit.Timeout):
			t.Error("Serve does not return")
		}
	})
	t.Cleanup(e.end)
	testkit.WaitFor(t, "Serve to begin", func() bool { return f.loops.Load() != nil })
	return e
}

// origin is a backend whose connections the test handles itself.
type origin struct {
	t        testing.TB
	listener *net.TCPListener
}

func listen(t testing.TB) origin {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return origin{t, listener.(*net.TCPListener)}
}

func (o origin) backend() routing.Backend {
	addr := o.listener.Addr().(*net.TCPAddr).AddrPort()
	return routing.Backend{Cluster: "hades", Addresses: []string{addr.Addr().String()}, HTTPSPort: addr.Port()}
}

// accept returns the next connection from the proxy.
func (o origin) accept() *net.TCPConn {
	o.t.Helper()
	_ = o.listener.SetDeadline(time.Now().Add(testkit.Timeout))
	conn, err := o.listener.AcceptTCP()
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(testkit.Timeout))
	return conn
}

func dial(t testing.TB, addr netip.AddrPort) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(testkit.Timeout))
	return conn
}

// hostA is the host of most tests.
const hostA = "a.techn.is"

// routeA is the route of hostA to an origin.
func routeA(o origin) []routing.Route {
	return []routing.Route{{Host: hostA, Backends: []routing.Backend{o.backend()}}}
}

// helloFor returns the first bytes of a real TLS client.
func helloFor(t testing.TB, host string) []byte {
	t.Helper()
	return helloOf(t, &tls.Config{ServerName: host, InsecureSkipVerify: true})
}

// longHello returns a ClientHello for hostA that is longer than a small buffer.
func longHello(t testing.TB) []byte {
	t.Helper()
	protocols := make([]string, 100)
	for i := range protocols {
		protocols[i] = strings.Repeat("x", 100)
	}
	return helloOf(t, &tls.Config{ServerName: hostA, NextProtos: protocols})
}

func helloOf(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	go func() { _ = tls.Client(near, config).Handshake() }()
	_ = far.SetDeadline(time.Now().Add(testkit.Timeout))
	buf := make([]byte, 16<<10)
	n, err := far.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	far.Close()
	return buf[:n]
}

// The part of a ClientHello that differs each time: the random, after the headers of
// the record and the message, and the version (RFC 8446, section 4.1.2).
const randomAt, randomEnd = 5 + 4 + 2, 5 + 4 + 2 + 32

// again returns a ClientHello as the same client would send it the next time.
func again(hello []byte) []byte {
	fresh := bytes.Clone(hello)
	_, _ = rand.Read(fresh[randomAt:randomEnd])
	return fresh
}

// open opens a connection through the edge and returns its two ends after the
// ClientHello has been forwarded.
func (e *edge) open(o origin) (client, backend *net.TCPConn) {
	e.t.Helper()
	hello := helloFor(e.t, hostA)
	client = dial(e.t, e.addr)
	send(e.t, client, hello)
	backend = o.accept()
	expect(e.t, backend, hello)
	return client, backend
}

func send(t testing.TB, conn io.Writer, data []byte) {
	t.Helper()
	if _, err := conn.Write(data); err != nil {
		t.Fatal(err)
	}
}

// expect reads exactly want.
func expect(t testing.TB, conn io.Reader, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %.200q, %v; want %.200q", got[:n], err, want)
	}
}

// expectEnd reads to the end, which must come at once and be an EOF.
func expectEOF(t testing.TB, conn io.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
		t.Fatalf("read %.200q, %v; want EOF", rest, err)
	}
}

// expectReset reads to the end, which must come at once and be a reset.
func expectReset(t testing.TB, conn io.Reader) {
	t.Helper()
	if rest, err := io.ReadAll(conn); !errors.Is(err, unix.ECONNRESET) || len(rest) > 0 {
		t.Fatalf("read %.200q, %v; want a reset", rest, err)
	}
}

// sendReset closes a connection with a reset.
func sendReset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	conn.Close()
}

// metric returns the sum of a metric over the labels with the given values.
func (e *edge) metric(name string, values ...string) float64 {
	e.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(e.Forwarder)
	families, err := registry.Gather()
	if err != nil {
		e.t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != "usher_"+name {
			continue
		}
		for _, m := range family.GetMetric() {
			var labels []string
			for _, pair := range m.GetLabel() {
				labels = append(labels, pair.GetValue())
			}
			if strings.Contains(strings.Join(labels, " "), strings.Join(values, " ")) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func (e *edge) awaitMetric(want float64, name string, values ...string) {
	e.t.Helper()
	testkit.Eventually(e.t, fmt.Sprintf("%s%v should be %v", name, values, want), func() error {
		if got := e.metric(name, values...); got != want {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
}
