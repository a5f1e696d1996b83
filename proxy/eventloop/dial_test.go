package eventloop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/endpoint"
	"github.com/jovalle/usher/proxy/routing"
)

// silent is a backend that does not answer until it is woken.
type silent struct {
	origin
	listener *testkit.SilentListener
}

func listenSilent(t testing.TB) silent {
	t.Helper()
	listener := testkit.ListenSilent(t)
	return silent{origin{t, listener.TCPListener}, listener}
}

func (o origin) addr() netip.AddrPort { return o.listener.Addr().(*net.TCPAddr).AddrPort() }

func (o origin) endpoint() endpoint.Endpoint { return endpoint.Of(o.backend().Cluster, o.addr()) }

// serve answers each connection with a name until the test ends.
func (o origin) serve(name string) {
	go func() {
		for {
			conn, err := o.listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 16<<10))
				_, _ = io.WriteString(conn, name)
			}()
		}
	}()
}

// visit opens a connection for hostA and returns what it reads.
func (e *edge) visit() string {
	e.t.Helper()
	client := dial(e.t, e.addr)
	defer client.Close()
	send(e.t, client, helloFor(e.t, hostA))
	answer, _ := io.ReadAll(client)
	return string(answer)
}

// routeTo is the route of hostA to several backends.
func routeTo(backends ...routing.Backend) []routing.Route {
	return []routing.Route{{Host: hostA, Backends: backends}}
}

// dials counts the calls of connect for each address.
type dials struct {
	mu     sync.Mutex
	counts map[netip.AddrPort]int
	before func(netip.AddrPort) // called before each
}

func (d *dials) option(f *Forwarder) {
	d.counts = make(map[netip.AddrPort]int)
	failing(func(k *kernel) {
		k.connect = func(fd int, peer *sockaddr) unix.Errno {
			d.mu.Lock()
			d.counts[peer.addrPort()]++
			d.mu.Unlock()
			if d.before != nil {
				d.before(peer.addrPort())
			}
			return sysConnect(fd, peer)
		}
	})(f)
}

func (d *dials) expect(t *testing.T, o origin, want int) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if got := d.counts[o.addr()]; got != want {
		t.Errorf("%v was dialled %d times, want %d", o.addr(), got, want)
	}
}

// keepFailing makes the pause of an address that has failed long, so that a slow machine
// does not see its end.
func keepFailing(m *endpoint.Memory, e endpoint.Endpoint) {
	for range 8 {
		m.Failed(e, true)
	}
}

// The first of two addresses does not answer. Only the first connection waits for it, and
// it is closed without a byte, also without the PROXY header, which the second expects.
func TestDeadAddressDelaysOneConnection(t *testing.T) {
	dead, o := listenSilent(t), listen(t)
	first, second := dead.backend(), o.backend()
	first.ProxyProtocol, second.ProxyProtocol = routing.V1, routing.V2
	var d dials
	e := start(t, routeTo(first, second), d.option)
	for i := range 20 {
		client, began := dial(t, e.addr), time.Now()
		hello := helloFor(t, hostA)
		send(t, client, hello)
		backend := o.accept()
		if took := time.Since(began); i == 0 && took < endpoint.AttemptDelay {
			t.Errorf("the second address was dialled after %v", took)
		}
		header := make([]byte, len(proxyproto.SIGV2)+4)
		if _, err := io.ReadFull(backend, header); err != nil || !bytes.Equal(header[:len(proxyproto.SIGV2)], proxyproto.SIGV2) {
			t.Fatalf("read %q, %v; want a PROXY header", header, err)
		}
		rest := make([]byte, int(header[len(header)-2])<<8|int(header[len(header)-1]))
		if _, err := io.ReadFull(backend, rest); err != nil {
			t.Fatal(err)
		}
		expect(t, backend, hello)
		converse(t, client, backend)
		if i == 0 {
			keepFailing(e.Endpoints, dead.endpoint())
		}
	}
	d.expect(t, dead.origin, 1)
	d.expect(t, o, 20)
	e.awaitMetric(1, "dial_failures_total", "hades")
	e.awaitMetric(1, "dials_total", "unanswered")
	e.awaitMetric(20, "dials_total", "connected")
	e.awaitMetric(0, "connections_open")
	dead.listener.Wake(t)
	dead.expectNoConnection()
}

// All addresses are dead: each connection dials all of them, also when they are known to
// fail, and the client gets an alert.
func TestAllAddressesAreTriedIfAllFail(t *testing.T) {
	dead := []silent{listenSilent(t), listenSilent(t), listenSilent(t)}
	var d dials
	e := start(t, routeTo(dead[0].backend(), dead[1].backend(), dead[2].backend()), d.option,
		func(f *Forwarder) { f.Timeouts.Dial = 2 * endpoint.AttemptDelay })
	for i := range 2 {
		client := dial(t, e.addr)
		send(t, client, helloFor(t, hostA))
		expect(t, client, alertRecord(internalError))
		expectEOF(t, client)
		e.awaitMetric(float64(i+1), "connections_refused_total", "no_backend")
		for _, o := range dead {
			d.mu.Lock()
			if n := d.counts[o.addr()]; n < i+1 || n > 2*(i+1) {
				t.Errorf("connection %d: %v was dialled %d times", i, o.addr(), n)
			}
			d.mu.Unlock()
			keepFailing(e.Endpoints, o.endpoint())
		}
	}
	if n := e.Endpoints.Failing()["hades"]; n != 3 {
		t.Errorf("%d addresses fail, want 3", n)
	}
	e.awaitMetric(0, "connections_open")
	if n := e.races.Load(); n != 0 {
		t.Errorf("%d connections have a second socket", n)
	}
}

// A dead address answers again: it is used again, in its place, and by all connections.
func TestAddressThatAnswersAgainIsUsed(t *testing.T) {
	first, second := listenSilent(t), listen(t)
	e := start(t, routeTo(first.backend(), second.backend()))
	second.serve("second")
	if got := e.visit(); got != "second" {
		t.Fatalf("read %q", got)
	}
	first.listener.Wake(t)
	first.serve("first")
	testkit.Eventually(t, "the first address should be used again", func() error {
		if got := e.visit(); got != "first" {
			return fmt.Errorf("read %q", got)
		}
		return nil
	})
	for range 5 {
		if got := e.visit(); got != "first" {
			t.Errorf("read %q, want the first address", got)
		}
	}
	if n := len(e.Endpoints.Failing()); n != 0 {
		t.Errorf("%d clusters have failing addresses", n)
	}
}

// An address that refuses connections is remembered too: while the backend restarts, no
// connection loses a round trip.
func TestRefusedAddressIsRemembered(t *testing.T) {
	dead, o := listen(t), listen(t)
	route := routeTo(dead.backend(), o.backend())
	dead.listener.Close()
	var d dials
	e := start(t, route, d.option)
	e.open(o)
	keepFailing(e.Endpoints, dead.endpoint())
	for range 5 {
		e.open(o)
	}
	d.expect(t, dead, 1)
	e.awaitMetric(1, "dials_total", "failed")
}

// The same address belongs to two clusters: that it fails for one of them does not change
// the order for the other.
func TestFailuresStayWithTheirCluster(t *testing.T) {
	first, second := listen(t), listen(t)
	first.serve("first")
	second.serve("second")
	e := start(t, routeTo(first.backend(), second.backend()))
	for _, cluster := range []string{"hostile", ""} {
		keepFailing(e.Endpoints, endpoint.Of(cluster, first.addr()))
	}
	if got := e.visit(); got != "first" {
		t.Errorf("read %q", got)
	}
}

// A client leaves while its connection tries whether a dead address answers again. The
// next connection tries it: clients that leave cannot keep an address out of use.
func TestTheNextConnectionTriesIfTheClientLeaves(t *testing.T) {
	first, second := listenSilent(t), listen(t)
	second.serve("second")
	var d dials
	var mu sync.Mutex
	var client *net.TCPConn
	left := 0
	d.before = func(addr netip.AddrPort) {
		mu.Lock()
		defer mu.Unlock()
		if addr == first.addr() {
			left++
			sendReset(client)
		}
	}
	e := start(t, routeTo(first.backend(), second.backend()), d.option, func(f *Forwarder) { f.Endpoints = endpoint.NewMemory() })
	e.Endpoints.Failed(first.endpoint(), false)
	hello := helloFor(t, hostA)
	for i := range 3 {
		testkit.WaitFor(t, "a connection to try the first address", func() bool {
			mu.Lock()
			client = dial(t, e.addr)
			mu.Unlock()
			send(t, client, again(hello))
			_, _ = io.ReadAll(client)
			mu.Lock()
			defer mu.Unlock()
			return left > i
		})
	}
	e.awaitMetric(3, "dials_total", "unused")
	e.awaitMetric(3, "connections_refused_total", "left_before_backend")
	if got := e.Endpoints.Standing(first.endpoint()); got != endpoint.Due {
		t.Errorf("the standing is %d, want %d", got, endpoint.Due)
	}
}

// Many clients connect to a host with dead addresses: the sockets stay bounded, each
// connection dials all addresses, and the clients of another host are delayed by its own
// dead address only as usual.
func TestDialsOfAFloodAreBounded(t *testing.T) {
	dead := []silent{listenSilent(t), listenSilent(t), listenSilent(t)}
	other, o := listenSilent(t), listen(t)
	o.serve("other")
	var d dials
	routes := append(routeTo(other.backend(), o.backend()),
		routing.Route{Host: "dead.is", Backends: []routing.Backend{dead[0].backend(), dead[1].backend(), dead[2].backend()}})
	e := start(t, routes, d.option)
	const flood = 2 * maxRaces
	before, hello := testkit.OpenDescriptors(t), helloFor(t, "dead.is")
	var clients []*net.TCPConn
	for range flood {
		client := dial(t, e.addr)
		send(t, client, again(hello))
		clients = append(clients, client)
	}
	for i := range dead {
		testkit.Eventually(t, "each connection should dial all addresses", func() error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if n := d.counts[dead[i].addr()]; n < flood {
				return fmt.Errorf("address %d was dialled %d times", i, n)
			}
			return nil
		})
	}
	if n := e.races.Load(); n != maxRaces {
		t.Errorf("%d connections have a second socket, want %d", n, maxRaces)
	}
	// The client's socket, usher's two, and the second dials.
	if n, most := testkit.OpenDescriptors(t)-before, 3*flood+RaceDescriptors; n > most {
		t.Errorf("%d more descriptors are open, want at most %d", n, most)
	}
	if got := e.visit(); got != "other" {
		t.Errorf("read %q", got)
	}
	for _, client := range clients {
		sendReset(client)
	}
	e.awaitMetric(0, "connections_open")
	if n := e.races.Load(); n != 0 {
		t.Errorf("%d connections have a second socket", n)
	}
}

// A name server does not answer: the next address is dialled without waiting for it, and
// a late answer has no effect.
func TestSlowLookupDelaysLittle(t *testing.T) {
	o, wrong, names := listen(t), listen(t), newSlowNames()
	slow := named("slow.invalid")
	slow.HTTPSPort = wrong.addr().Port()
	e := start(t, routeTo(slow, o.backend()), names.use)
	client, backend := e.open(o)
	names.answer <- wrong.addr().Addr()
	converse(t, client, backend)
	wrong.expectNoConnection()
}

// All others fail: a name that was slow is waited for after all.
func TestSlowLookupIsUsedIfAllOthersFail(t *testing.T) {
	o, names := listen(t), newSlowNames()
	slow, refused := named("slow.invalid"), o.backend()
	slow.HTTPSPort, refused.Addresses = o.addr().Port(), []string{"127.0.0.2"}
	e := start(t, routeTo(slow, refused), names.use)
	client := dial(t, e.addr)
	hello := helloFor(t, hostA)
	send(t, client, hello)
	e.awaitMetric(1, "dial_failures_total", "hades")
	names.answer <- o.addr().Addr()
	backend := o.accept()
	expect(t, backend, hello)
	converse(t, client, backend)
}

// A name has more addresses than are used.
func TestAddressesOfANameAreBounded(t *testing.T) {
	r := newResolver()
	r.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		return make([]netip.Addr, 1000), nil
	}
	found := make(chan []netip.Addr)
	r.resolve(t.Context(), "many.is", func(addrs []netip.Addr) { found <- addrs })
	if n := len(<-found); n != endpoint.MaxResolved {
		t.Errorf("%d addresses", n)
	}
	r.wait()
}
