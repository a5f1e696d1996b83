package eventloop

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/endpoint"
	"github.com/jovalle/usher/proxy/routing"
)

// sharing is the route of hostA with a strategy. Backend i is the cluster "ci" and answers
// with that name.
func sharing(t testing.TB, strategy routing.Strategy, weights ...uint8) (routing.Route, []origin) {
	t.Helper()
	route := routing.Route{Host: hostA, Strategy: strategy, Turns: new(atomic.Uint64)}
	if strategy != routing.RoundRobin {
		route.Turns = nil
	}
	var origins []origin
	for i, weight := range weights {
		o := listen(t)
		b := o.backend()
		b.Cluster, b.Weight = fmt.Sprintf("c%d", i), weight
		route.Backends, origins = append(route.Backends, b), append(origins, o)
	}
	return route, origins
}

// clientAddr returns the address of a client on loopback.
func clientAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 10, byte(i >> 8), byte(i)}) }

// askFrom opens a connection for hostA from an address of loopback, and returns it with the
// first bytes that it reads.
func (e *edge) askFrom(from netip.Addr, hello []byte) (*net.TCPConn, string, error) {
	local := net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	conn, err := net.DialTCP("tcp", local, net.TCPAddrFromAddrPort(e.addr))
	if err != nil {
		return nil, "", err
	}
	_ = conn.SetDeadline(time.Now().Add(testkit.Timeout))
	if _, err := conn.Write(again(hello)); err != nil {
		return conn, "", err
	}
	answer := make([]byte, 2)
	n, err := io.ReadFull(conn, answer)
	return conn, string(answer[:n]), err
}

// answer is serve, but it waits for the client to end the connection.
func (o origin) answer(name string) {
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
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
}

// askAll opens n connections, some at a time, and returns which backend has answered each.
// Without hold they are closed at once.
func (e *edge) askAll(n int, hold bool) []string {
	e.t.Helper()
	hello := helloFor(e.t, hostA)
	answers := make([]string, n)
	var group sync.WaitGroup
	var next atomic.Int64
	for range 16 {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				conn, answer, err := e.askFrom(clientAddr(i), hello)
				if err != nil {
					e.t.Errorf("connection %d: %v", i, err)
				}
				answers[i] = answer
				if conn == nil {
					continue
				}
				if hold {
					e.t.Cleanup(func() { conn.Close() })
				} else {
					sendReset(conn)
				}
			}
		})
	}
	group.Wait()
	return answers
}

func countOf(answers []string) map[string]int {
	counts := make(map[string]int)
	for _, answer := range answers {
		counts[answer]++
	}
	return counts
}

// Connections over real sockets spread as the weights say, within 2 %.
func TestStrategiesSpreadByWeight(t *testing.T) {
	for _, c := range []struct {
		strategy routing.Strategy
		n        int
		hold     bool
	}{{routing.RoundRobin, 10_000, false}, {routing.ClientHash, 10_000, false}, {routing.LeastConnections, 600, true}} {
		t.Run(c.strategy.String(), func(t *testing.T) {
			weights := []uint8{50, 30, 20}
			route, origins := sharing(t, c.strategy, weights...)
			for i, o := range origins {
				o.answer(route.Backends[i].Cluster)
			}
			e := start(t, []routing.Route{route}, func(f *Forwarder) { f.Loops = 2 })
			counts := countOf(e.askAll(c.n, c.hold))
			for i, weight := range weights {
				got, want := float64(counts[fmt.Sprintf("c%d", i)])/float64(c.n), float64(weight)/100
				if math.Abs(got-want) > 0.02 {
					t.Errorf("c%d has %.3f of the connections, want %.2f", i, got, want)
				}
			}
			t.Logf("%v: of %d connections %v", c.strategy, c.n, counts)
			if c.hold {
				e.awaitMetric(float64(counts["c0"]), "cluster_connections_open", "c0")
			}
		})
	}
}

// One of five backends leaves the table: of the clients only its own move, and they come
// back with it.
func TestClientsOfABackendThatLeavesMove(t *testing.T) {
	const clients = 2000
	route, origins := sharing(t, routing.ClientHash, 1, 1, 1, 1, 1)
	for i, o := range origins {
		o.answer(route.Backends[i].Cluster)
	}
	e := start(t, []routing.Route{route})
	before := e.askAll(clients, false)
	fewer := route
	fewer.Backends = append(append([]routing.Backend{}, route.Backends[:2]...), route.Backends[3:]...)
	e.Table.Store(e.Table.Load().With(fewer))
	after := e.askAll(clients, false)
	e.Table.Store(e.Table.Load().With(route))
	again := e.askAll(clients, false)
	moved := 0
	for i := range before {
		if after[i] != before[i] {
			moved++
			if before[i] != "c2" {
				t.Fatalf("client %d moved from %s to %s", i, before[i], after[i])
			}
		}
		if again[i] != before[i] {
			t.Fatalf("client %d is at %s, and was at %s", i, again[i], before[i])
		}
	}
	if share := float64(moved) / clients; math.Abs(share-0.2) > 0.04 {
		t.Errorf("%.3f of the clients moved, want 0.2", share)
	}
	t.Logf("%d of %d clients moved", moved, clients)
}

// A backend stops: no client notices, its load spreads over the others, and it is dialled
// by one connection in a while.
func TestBackendThatStopsIsReplaced(t *testing.T) {
	for _, strategy := range []routing.Strategy{routing.RoundRobin, routing.LeastConnections, routing.ClientHash} {
		t.Run(strategy.String(), func(t *testing.T) {
			route, origins := sharing(t, strategy, 1, 1, 1, 1)
			for i, o := range origins {
				o.answer(route.Backends[i].Cluster)
			}
			e := start(t, []routing.Route{route})
			origins[1].listener.Close()
			const n = 900
			counts := countOf(e.askAll(n, false))
			for _, name := range []string{"c0", "c2", "c3"} {
				if got := counts[name]; got < n/5 {
					t.Errorf("%s has %d of %d connections: %v", name, got, n, counts)
				}
			}
			e.awaitMetric(0, "connections_refused_total")
			testkit.WaitFor(t, "no connection to be counted", func() bool { return e.Connections.Len() == 0 })
		})
	}
}

// The first in the order of the client's hash does not answer: the next of the same order,
// in another cluster, is dialled beside it after endpoint.AttemptDelay.
func TestNextOfTheStrategyIsDialledBeside(t *testing.T) {
	route, origins := sharing(t, routing.ClientHash, 1, 1, 1)
	for i, o := range origins {
		o.answer(route.Backends[i].Cluster)
	}
	e := start(t, []routing.Route{route})
	hello := helloFor(t, hostA)
	conn, first, err := e.askFrom(clientAddr(1), hello)
	testkit.Must(t, err)
	sendReset(conn)
	at := int(first[1] - '0')
	without := route
	without.Backends = append(append([]routing.Backend{}, route.Backends[:at]...), route.Backends[at+1:]...)
	e.Table.Store(e.Table.Load().With(without))
	conn, second, err := e.askFrom(clientAddr(1), hello)
	testkit.Must(t, err)
	sendReset(conn)

	dead := listenSilent(t)
	silenced := route
	silenced.Backends = append([]routing.Backend{}, route.Backends...)
	silenced.Backends[at].Addresses, silenced.Backends[at].HTTPSPort = dead.backend().Addresses, dead.backend().HTTPSPort
	e.Table.Store(e.Table.Load().With(silenced))
	began := time.Now()
	conn, got, err := e.askFrom(clientAddr(1), hello)
	testkit.Must(t, err)
	sendReset(conn)
	if took := time.Since(began); got != second || took < endpoint.AttemptDelay {
		t.Errorf("%s answered after %v, want %s after %v", got, took, second, endpoint.AttemptDelay)
	}
}

// Draining backends come before those that fail, and after all others.
func TestDrainingComesBeforeFailing(t *testing.T) {
	for _, strategy := range []routing.Strategy{routing.Failover, routing.RoundRobin, routing.ClientHash} {
		route, origins := sharing(t, strategy, 1, 1, 1)
		route.Backends[2].Draining = true
		for i, o := range origins {
			o.answer(route.Backends[i].Cluster)
		}
		e := start(t, []routing.Route{route})
		if counts := countOf(e.askAll(30, false)); counts["c2"] != 0 {
			t.Errorf("%v: %v", strategy, counts)
		}
		for i := range 2 {
			keepFailing(e.Endpoints, endpoint.Of(route.Backends[i].Cluster, origins[i].addr()))
		}
		if counts := countOf(e.askAll(30, false)); counts["c2"] != 30 {
			t.Errorf("%v: the others fail: %v", strategy, counts)
		}
		for i := range 3 {
			keepFailing(e.Endpoints, endpoint.Of(route.Backends[i].Cluster, origins[i].addr()))
		}
		if counts := countOf(e.askAll(3, false)); counts["c0"]+counts["c1"]+counts["c2"] != 3 {
			t.Errorf("%v: all fail: %v", strategy, counts)
		}
		e.end()
	}
}

// Connections end in every way that there is, on two loops, while the table changes: what
// was counted returns to nothing.
func TestCountsReturnToNothing(t *testing.T) {
	route, origins := sharing(t, routing.LeastConnections, 1, 1, 1)
	dead, refusing := listenSilent(t), listen(t)
	silent, closed, name := dead.backend(), refusing.backend(), named("unknown.invalid")
	refusing.listener.Close()
	silent.Cluster, closed.Cluster = "silent", "closed"
	route.Backends = append(route.Backends, silent, closed, name)
	for i, o := range origins {
		o.answer(route.Backends[i].Cluster)
	}
	e := start(t, []routing.Route{route}, func(f *Forwarder) {
		f.Loops, f.Timeouts.Dial, f.Timeouts.Idle = 2, 2*endpoint.AttemptDelay, 500*time.Millisecond
	})
	stop := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() {
		for i := 0; ; i++ {
			changed := route
			changed.Backends = append([]routing.Backend{}, route.Backends[i%3:]...)
			e.Table.Store(e.Table.Load().With(changed))
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	hello := helloFor(t, hostA)
	var group sync.WaitGroup
	for worker := range 16 {
		group.Go(func() {
			for i := range 150 {
				conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(e.addr))
				if err != nil {
					t.Error(err)
					return
				}
				_ = conn.SetDeadline(time.Now().Add(testkit.Timeout))
				_, _ = conn.Write(again(hello))
				switch (worker + i) % 4 {
				case 0: // at once, while it is dialled
					sendReset(conn)
				case 1:
					_, _ = conn.Read(make([]byte, 1))
					sendReset(conn)
				case 2:
					_, _ = conn.Read(make([]byte, 2))
					_ = conn.CloseWrite()
					_, _ = io.Copy(io.Discard, conn)
					conn.Close()
				case 3: // the idle timeout ends it
					if i%10 == 0 {
						_, _ = io.Copy(io.Discard, conn)
					}
					conn.Close()
				}
			}
		})
	}
	group.Wait()
	close(stop)
	changing.Wait()
	e.awaitMetric(0, "connections_open")
	if n := e.Connections.Len(); n != 0 {
		t.Errorf("connections to %d addresses are counted, and none is open", n)
	}
	e.awaitMetric(0, "cluster_connections_open")
}

// A client cycles through the IPv6 networks of the whole internet: nothing is remembered
// of it.
func TestClientsTakeNoMemory(t *testing.T) {
	route, origins := sharing(t, routing.ClientHash, 1, 1, 1)
	for i, o := range origins {
		o.answer(route.Backends[i].Cluster)
	}
	e := start(t, []routing.Route{route}, func(f *Forwarder) {
		f.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	hello := helloFor(t, hostA)
	visit := func(i int) {
		conn := dial(t, e.addr)
		from := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i), 15: 1})
		header := proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 1)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8::1]:443")))
		_, err := header.WriteTo(conn)
		testkit.Must(t, err)
		send(t, conn, again(hello))
		if _, err := io.ReadFull(conn, make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
		sendReset(conn)
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for i := range 200 {
		visit(i)
	}
	before := heap()
	for i := range 3000 {
		visit(i << 8)
	}
	e.awaitMetric(0, "connections_open")
	const most = 4 << 20 // the test itself keeps its clients until it ends
	if after := heap(); after > before+most {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	if n := len(e.Endpoints.Failing()); n != 0 {
		t.Errorf("%d clusters have failing addresses", n)
	}
}

// A route with one backend costs the same with every strategy, and none allocates.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{1, 10} {
		for strategy := routing.Failover; strategy <= routing.ClientHash; strategy++ {
			b.Run(fmt.Sprintf("%v/%d", strategy, n), func(b *testing.B) {
				route := routing.Route{Strategy: strategy, Turns: new(atomic.Uint64)}
				for i := range n {
					route.Backends = append(route.Backends, routing.Backend{Cluster: fmt.Sprint("c", i), Addresses: []string{fmt.Sprintf("192.0.2.%d", i)}, HTTPSPort: 443, Weight: 1})
				}
				l := &loop{Forwarder: &Forwarder{Endpoints: endpoint.NewMemory(), Connections: new(endpoint.Connections)}}
				client := netip.MustParseAddr("198.51.100.7")
				o := new(opening)
				b.ReportAllocs()
				for b.Loop() {
					o.targets = targets{}
					o.targets.start(l, &route, route.Backends, client)
					o.targets.next()
				}
			})
		}
	}
}
