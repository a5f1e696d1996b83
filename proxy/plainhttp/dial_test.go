package plainhttp_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/endpoint"
	"github.com/jovalle/usher/proxy/plainhttp"
	"github.com/jovalle/usher/proxy/routing"
)

// silentBackend returns a backend that does not answer until wake is called.
func silentBackend(t *testing.T) (routing.Backend, *testkit.SilentListener) {
	t.Helper()
	listener := testkit.ListenSilent(t)
	addr := listener.Addr().(*net.TCPAddr).AddrPort()
	return routing.Backend{Cluster: "hades", Addresses: []string{addr.Addr().String()}, HTTPPort: addr.Port()}, listener
}

// dials counts the dials of each address.
type dials struct {
	mu     sync.Mutex
	counts map[uint16]int // by port
}

func (d *dials) option(s *plainhttp.Server) {
	d.counts = make(map[uint16]int)
	s.Handler.IsOwnAddress = func(addr netip.AddrPort) bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.counts[addr.Port()]++
		return false
	}
}

func (d *dials) expect(t *testing.T, backend routing.Backend, want int) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if got := d.counts[backend.HTTPPort]; got != want {
		t.Errorf("port %d was dialled %d times, want %d", backend.HTTPPort, got, want)
	}
}

func endpointOf(backend routing.Backend) endpoint.Endpoint {
	return endpoint.Of(backend.Cluster, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), backend.HTTPPort))
}

// keepFailing makes the pause of an address that has failed long, so that a slow machine
// does not see its end.
func keepFailing(m *endpoint.Memory, backend routing.Backend) {
	for range 8 {
		m.Failed(endpointOf(backend), true)
	}
}

const getForwarded = "GET /x HTTP/1.1\r\nHost: a.is\r\nConnection: close\r\n\r\n"

// serveBackends serves a.is from backends, with a memory that the test may change.
func serveBackends(t *testing.T, d *dials, dialTimeout time.Duration, backends ...routing.Backend) (addr string, m *endpoint.Memory) {
	t.Helper()
	m = endpoint.NewMemory()
	routes := []routing.Route{{Host: "a.is", PlainHTTP: routing.Forward, Backends: backends}}
	return start(t, routes, d.option, func(s *plainhttp.Server) { s.Handler.Endpoints, s.Handler.Timeouts.Dial = m, dialTimeout }), m
}

// The first of two addresses does not answer. Only the first request waits for it, with
// and without a PROXY header, which needs a connection for each request.
func TestDeadAddressDelaysOneRequest(t *testing.T) {
	for _, version := range []routing.ProxyProtocol{routing.None, routing.V1} {
		t.Run(version.String(), func(t *testing.T) {
			dead, _ := silentBackend(t)
			backend := origin(t)
			if version != routing.None {
				backend = origin(t, requireProxyHeader)
			}
			dead.HTTPProxyProtocol, backend.HTTPProxyProtocol = version, version
			var d dials
			addr, m := serveBackends(t, &d, testkit.Timeout, dead, backend)
			for i := range 10 {
				began := time.Now()
				if response, body := send(t, addr, getForwarded); response.StatusCode != http.StatusOK {
					t.Fatalf("answered %d, %s", response.StatusCode, body)
				}
				if took := time.Since(began); i == 0 && took < endpoint.AttemptDelay {
					t.Errorf("the second address answered after %v", took)
				}
				if i == 0 {
					keepFailing(m, dead)
				}
			}
			d.expect(t, dead, 1)
		})
	}
}

// All addresses are dead: all are dialled, also when they are known to fail.
func TestAllAddressesAreTriedIfAllFail(t *testing.T) {
	first, _ := silentBackend(t)
	second, _ := silentBackend(t)
	var d dials
	addr, m := serveBackends(t, &d, 2*endpoint.AttemptDelay, first, second)
	for i, want := range []int{2, 3} { // at first with the short timeout too
		if response, _ := send(t, addr, getForwarded); response.StatusCode != http.StatusBadGateway {
			t.Errorf("request %d is answered with %d", i, response.StatusCode)
		}
		d.expect(t, first, want)
		d.expect(t, second, want)
		keepFailing(m, first)
		keepFailing(m, second)
	}
}

// The only address is slow, or known to fail: it gets the whole timeout.
func TestOnlyAddressIsWaitedFor(t *testing.T) {
	only, listener := silentBackend(t)
	var d dials
	addr, m := serveBackends(t, &d, testkit.Timeout, only)
	keepFailing(m, only)
	conn := connect(t, addr)
	if _, err := fmt.Fprint(conn, getForwarded); err != nil {
		t.Fatal(err)
	}
	dialled := func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if n := d.counts[only.HTTPPort]; n != 1 {
			return fmt.Errorf("it was dialled %d times", n)
		}
		return nil
	}
	const what = "the address should be dialled once"
	testkit.Eventually(t, what, dialled)
	testkit.Consistently(t, 2*endpoint.AttemptDelay, what, dialled)
	listener.Wake(t)
	server := &http.Server{Handler: http.HandlerFunc(describe), ReadHeaderTimeout: testkit.Timeout}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	answer := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 200" {
		t.Errorf("read %q, %v", answer, err)
	}
	d.expect(t, only, 1)
	if n := len(m.Failing()); n != 0 {
		t.Errorf("%d clusters have failing addresses", n)
	}
}

// An address that usher does not dial, because it is its own or is not allowed, is no
// failing address.
func TestAddressesThatAreNotDialledAreNotRemembered(t *testing.T) {
	backend := origin(t)
	backend.Discovered = true
	var d dials
	addr, m := serveBackends(t, &d, testkit.Timeout, backend, origin(t))
	if response, _ := send(t, addr, getForwarded); response.StatusCode != http.StatusOK {
		t.Errorf("answered %d", response.StatusCode)
	}
	if n := len(m.Failing()); n != 0 {
		t.Errorf("%d clusters have failing addresses", n)
	}
}

// A name has several addresses, of which one refuses connections.
func TestAddressesOfAName(t *testing.T) {
	backend := origin(t)
	backend.Addresses = []string{"localhost"} // ::1 too on most machines
	var d dials
	addr, _ := serveBackends(t, &d, testkit.Timeout, backend)
	for range 2 {
		if response, _ := send(t, addr, getForwarded); response.StatusCode != http.StatusOK {
			t.Errorf("answered %d", response.StatusCode)
		}
	}
}

// Requests to a host with several backends follow its strategy, as connections do.
func TestRequestsFollowTheStrategy(t *testing.T) {
	for _, strategy := range []routing.Strategy{routing.RoundRobin, routing.LeastConnections, routing.ClientHash} {
		t.Run(strategy.String(), func(t *testing.T) {
			route := routing.Route{Host: "a.is", PlainHTTP: routing.Forward, Strategy: strategy}
			if strategy == routing.RoundRobin {
				route.Turns = new(atomic.Uint64)
			}
			for i := range 4 {
				backend := origin(t)
				backend.Cluster, backend.Weight = fmt.Sprint("c", i), 1
				route.Backends = append(route.Backends, backend)
			}
			var d dials
			counted := new(endpoint.Connections)
			addr := start(t, []routing.Route{route}, d.option, func(s *plainhttp.Server) { s.Handler.Connections = counted })
			const n = 80
			for range n {
				response, body := send(t, addr, getForwarded)
				if response.StatusCode != http.StatusOK {
					t.Fatalf("answered %d, %s", response.StatusCode, body)
				}
			}
			used := 0
			d.mu.Lock()
			for _, backend := range route.Backends {
				if d.counts[backend.HTTPPort] > 0 {
					used++
				}
			}
			d.mu.Unlock()
			if want := map[bool]int{true: 1, false: 4}[strategy == routing.ClientHash]; used != want {
				t.Errorf("%d backends are used, want %d", used, want)
			}
			testkit.WaitFor(t, "no request to be counted", func() bool { return counted.Len() == 0 })
		})
	}
}
