package eventloop

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
	"github.com/jovalle/usher/proxy/selfaddr"
)

// relayTo is a TCP relay, which hides the destination from the proxy, as a NAT rule or
// a load balancer does.
func relayTo(t testing.TB, to netip.AddrPort) origin {
	t.Helper()
	o := listen(t)
	go func() {
		for {
			from, err := o.listener.AcceptTCP()
			if err != nil {
				return
			}
			go relayOne(from, to)
		}
	}()
	return o
}

func relayOne(from *net.TCPConn, to netip.AddrPort) {
	defer from.Close()
	onward, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		return
	}
	defer onward.Close()
	go func() {
		passEnd(onward, copyPlainly(onward, from))
	}()
	passEnd(from, copyPlainly(from, onward))
}

// copyPlainly copies without splice, for which Go would keep pipes open.
func copyPlainly(to, from *net.TCPConn) error {
	_, err := io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
	return err
}

// passEnd forwards the end or the reset of the other side.
func passEnd(to *net.TCPConn, err error) {
	if err != nil {
		sendReset(to)
	} else {
		_ = to.CloseWrite()
	}
}

// handful is how many connections a loop may cause for each connection of a client,
// including that one.
const handful = maxUnanswered + 1

// A route leads back to the proxy in a way that its address does not show. Each
// connection of a client may cause a few more, the client gets an alert, and the log
// names the host.
func TestLoops(t *testing.T) {
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	hello := func() []byte { return helloFor(t, hostA) }
	for name, tt := range map[string]struct {
		version routing.ProxyProtocol
		from    []netip.Prefix
		first   func() []byte
		reason  string
	}{
		"by NAT":            {routing.None, nil, hello, "loop"},
		"of a long hello":   {routing.None, nil, func() []byte { return longHello(t) }, "loop"},
		"with more behind":  {routing.None, nil, func() []byte { return append(hello(), "more"...) }, "loop"},
		"a PROXY header":    {routing.V2, loopback, func() []byte { return append(headerV2(t, "127.0.0.1:1000"), hello()...) }, "loop"},
		"an untrusted one":  {routing.V2, nil, hello, "not_tls"},
		"a text PROXY line": {routing.V1, loopback, func() []byte { return append(headerV2(t, "127.0.0.1:1000"), hello()...) }, "loop"},
	} {
		t.Run(name, func(t *testing.T) {
			var log testkit.Log
			e := start(t, nil, logTo(&log, 0), func(f *Forwarder) { f.ProxyProtocolFrom = tt.from })
			routes := routeA(relayTo(t, e.addr))
			routes[0].Backends[0].ProxyProtocol = tt.version
			e.Table.Store(routing.NewTable(routes))
			const clients = 5
			for range clients {
				client := dial(t, e.addr)
				send(t, client, tt.first())
				_, _ = io.ReadAll(client)
				client.Close()
			}
			e.awaitMetric(clients, "connections_refused_total", tt.reason)
			e.awaitMetric(0, "connections_open")
			if n := e.metric("connections_accepted_total"); n > clients*handful {
				t.Errorf("%d connections became %v", clients, n)
			}
			if tt.reason == "loop" {
				log.Await(t, "Route leads back to usher", hostA)
			}
		})
	}
}

// Two proxies forward the same connection to each other.
func TestLoopOfTwo(t *testing.T) {
	first := start(t, nil)
	second := start(t, routeA(relayTo(t, first.addr)))
	first.Table.Store(routing.NewTable(routeA(relayTo(t, second.addr))))
	client := dial(t, first.addr)
	send(t, client, helloFor(t, hostA))
	_, _ = io.ReadAll(client)
	client.Close()
	first.awaitMetric(1, "connections_refused_total", "loop")
	first.awaitMetric(0, "connections_open")
	if n := first.metric("connections_accepted_total") + second.metric("connections_accepted_total"); n > 2*handful {
		t.Errorf("one connection became %v", n)
	}
}

// The clients disconnect at once: their ClientHellos must not continue to loop.
func TestLoopWithoutAClient(t *testing.T) {
	e := start(t, nil)
	e.Table.Store(routing.NewTable(routeA(relayTo(t, e.addr))))
	const clients = 20
	for range clients {
		client := dial(t, e.addr)
		send(t, client, helloFor(t, hostA))
		sendReset(client)
	}
	testkit.Consistently(t, 500*time.Millisecond, "few connections", func() error {
		if n := e.metric("connections_accepted_total"); n > clients*handful {
			return fmt.Errorf("%d connections became %v", clients, n)
		}
		return nil
	})
	e.awaitMetric(0, "connections_open")
}

// A route has the proxy's own address. This is detected without a connection, and the
// other addresses of the route are still dialled.
func TestOwnAddresses(t *testing.T) {
	o := listen(t)
	own, other := o.backend(), listen(t)
	var log testkit.Log
	routes := []routing.Route{
		{Host: "self.is", Backends: []routing.Backend{own}},
		{Host: "mapped.is", Backends: []routing.Backend{{Addresses: []string{"::ffff:127.0.0.1"}, HTTPSPort: own.HTTPSPort}}},
		{Host: "name.is", Backends: []routing.Backend{{Addresses: []string{"home.invalid"}, HTTPSPort: own.HTTPSPort}}},
		{Host: hostA, Backends: []routing.Backend{own, other.backend()}},
	}
	e := start(t, routes, logTo(&log, 0), func(f *Forwarder) {
		f.Self = selfaddr.New(o.listener.Addr().(*net.TCPAddr).AddrPort())
		f.resolver = resolves(map[string]netip.Addr{"home.invalid": netip.MustParseAddr("127.0.0.1")})
	})
	for i, host := range []string{"self.is", "mapped.is", "name.is"} {
		client := dial(t, e.addr)
		send(t, client, helloFor(t, host))
		expect(t, client, alertRecord(internalError))
		expectEOF(t, client)
		e.awaitMetric(float64(i+1), "connections_refused_total", "loop")
		log.Await(t, "Route leads back to usher", host, "127.0.0.1")
	}
	e.open(other)
	e.awaitMetric(0, "dial_failures_total")
	_ = o.listener.SetDeadline(time.Now())
	if _, err := o.listener.Accept(); err == nil {
		t.Error("the own address was dialled")
	}
}

// A benchmark sends the same ClientHello on many connections at once: none is refused,
// because the backend answers.
func TestSameHelloFromManyClients(t *testing.T) {
	o := listen(t)
	e := start(t, routeA(o))
	hello := helloFor(t, hostA)
	const clients = 50
	var conns []*net.TCPConn
	for range clients {
		conn := dial(t, e.addr)
		send(t, conn, hello)
		conns = append(conns, conn)
	}
	for range clients {
		backend := o.accept()
		expect(t, backend, hello)
		send(t, backend, []byte("answer"))
	}
	for _, conn := range conns {
		expect(t, conn, []byte("answer"))
	}
	e.awaitMetric(0, "connections_refused_total")
}

// The backend does not answer: clients that send the same ClientHello are refused, and
// so is a client that repeats it.
func TestHelloThatIsNotAnswered(t *testing.T) {
	o := listen(t)
	e := start(t, routeA(o))
	hello := helloFor(t, hostA)
	for range maxUnanswered {
		send(t, dial(t, e.addr), hello)
		expect(t, o.accept(), hello)
	}
	for range 2 {
		again := dial(t, e.addr)
		send(t, again, hello)
		expect(t, again, alertRecord(internalError))
	}
	e.awaitMetric(2, "connections_refused_total", "loop")
	e.open(o) // another ClientHello
}

func TestHellos(t *testing.T) {
	h := newHellos()
	const second = int64(time.Second)
	hello := []byte("one hello")
	forward := func(now int64, want ...loopStatus) (sum uint64) {
		t.Helper()
		for i, want := range want {
			var got loopStatus
			if sum, got = h.forward(hello, now); got != want {
				t.Errorf("time %d at %v: status %d, want %d", i+1, time.Duration(now), got, want)
			}
		}
		return sum
	}
	sum := forward(0, noLoop, noLoop, noLoop, possibleLoop, possibleLoop)
	h.answered(sum, 0)
	forward(second/2, noLoop, noLoop)
	if !h.isAnswered(sum, second) || h.isAnswered(sum, 2*second) {
		t.Error("an answer counts for more or less than a second")
	}
	forward(10*second, noLoop, noLoop, noLoop, possibleLoop)
	h.markLooping(sum, 10*second)
	h.answered(sum, 10*second) // by the alert of the refusal itself
	forward(11*second, confirmedLoop)
	forward(12*second, confirmedLoop)
	forward(14*second, noLoop)
	for i := range 100_000 {
		if _, v := h.forward(fmt.Appendf(nil, "hello %d", i), 20*second); v != noLoop {
			t.Fatal("two ClientHellos are considered the same")
		}
	}
}

// BenchmarkHellos measures the detection of loops for one connection.
func BenchmarkHellos(b *testing.B) {
	h := newHellos()
	for _, size := range []int{300, 517, 1700} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			hello := make([]byte, size)
			for i := int64(0); b.Loop(); i++ {
				hello[11], hello[12], hello[13] = byte(i), byte(i>>8), byte(i>>16)
				sum, _ := h.forward(hello, i)
				h.answered(sum, i)
			}
		})
	}
}
