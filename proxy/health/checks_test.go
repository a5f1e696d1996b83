package health

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	proxyproto "github.com/pires/go-proxyproto"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/endpoint"
	"github.com/jovalle/usher/proxy/routing"
)

// often is a check that is quick to change its mind.
func often(kind routing.HealthCheckType) routing.HealthCheck {
	return routing.HealthCheck{Type: kind, Interval: 20 * time.Millisecond, Timeout: time.Second, Rise: 2, Fall: 2}
}

// backendAt returns a backend with the address of a listener.
func backendAt(listener net.Listener, check routing.HealthCheck) routing.Backend {
	addr := listener.Addr().(*net.TCPAddr).AddrPort()
	return routing.Backend{Cluster: "hades", Addresses: []string{addr.Addr().String()}, HTTPSPort: addr.Port(), Health: check}
}

func endpointOf(b routing.Backend) endpoint.Endpoint {
	return endpoint.Of(b.Cluster, netip.AddrPortFrom(netip.MustParseAddr(b.Addresses[0]), b.HTTPSPort))
}

// run runs checks of backends of a.is until the test ends.
func run(t *testing.T, backends []routing.Backend, options ...func(*Checks)) *Checks {
	t.Helper()
	testkit.CheckDescriptors(t)
	c := &Checks{Table: new(routing.Live), Endpoints: endpoint.NewMemory(), Log: logr.Discard()}
	c.Table.Store(routing.NewTable([]routing.Route{{Host: "a.is", Backends: backends}}))
	for _, option := range options {
		option(c)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		if n := len(c.Summary()); n != 0 {
			t.Errorf("%d clusters are still in the summary", n)
		}
	})
	return c
}

func (c *Checks) await(t *testing.T, want Summary) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("the summary should be %v", want), func() error {
		if got := c.Of("hades"); got != want {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
}

func awaitResults(t *testing.T, c *Checks, r result, least uint64) {
	t.Helper()
	testkit.WaitFor(t, fmt.Sprintf("%d checks that %s", least, r), func() bool { return c.results[r].Load() >= least })
}

// certificate returns a certificate for nothing.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.Must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
	testkit.Must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A backend stops and returns.
func TestTCP(t *testing.T) {
	listener := testkit.Listen(t)
	b := backendAt(listener, often(routing.CheckTCP))
	var mu sync.Mutex
	var lines []string
	c := run(t, []routing.Backend{b}, func(c *Checks) {
		c.Log = funcr.New(func(_, line string) {
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, line)
		}, funcr.Options{})
	})
	c.await(t, Summary{1, 1})
	testkit.Must(t, listener.Close())
	c.await(t, Summary{0, 1})
	if got := c.Endpoints.Standing(endpointOf(b)); got != endpoint.Failing {
		t.Errorf("the standing is %d", got)
	}
	c.Endpoints.Answered(endpointOf(b))
	if got := c.Endpoints.Standing(endpointOf(b)); got != endpoint.Failing {
		t.Errorf("a connection has changed the standing to %d", got)
	}
	awaitResults(t, c, failed, 5)
	again, err := new(net.ListenConfig).Listen(t.Context(), "tcp", listener.Addr().String())
	testkit.Must(t, err)
	defer again.Close()
	c.await(t, Summary{1, 1})
	if got := c.Endpoints.Standing(endpointOf(b)); got != endpoint.Good {
		t.Errorf("the standing is %d", got)
	}
	if part := c.Endpoints.Part(endpointOf(b)); part >= 1 {
		t.Error("it has no slow start")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(lines) != 2 || !strings.Contains(lines[0], "does not pass") || !strings.Contains(lines[1], "passes its health check again") {
		t.Errorf("the log has %d lines: %s", len(lines), lines)
	}
}

// One failed check is no reason, and one that passes neither.
func TestRiseAndFall(t *testing.T) {
	w := &watch{checks: &Checks{Endpoints: endpoint.NewMemory(), Log: logr.Discard(), limiter: newLimiter()}, subject: subject{"hades", "192.0.2.1", 443}, states: map[netip.Addr]*state{}}
	p := &plan{HealthCheck: routing.HealthCheck{Type: routing.CheckTCP, Rise: 2, Fall: 3}}
	addr, bad := netip.MustParseAddr("192.0.2.1"), errors.New("bad")
	for i, step := range []struct {
		err     error
		healthy int
	}{
		{nil, 1}, {bad, 1}, {bad, 1}, {nil, 1}, {bad, 1}, {bad, 1}, {bad, 0}, {bad, 0},
		{nil, 0}, {bad, 0}, {nil, 0}, {nil, 1}, {bad, 1},
	} {
		w.record(addr, p, step.err)
		if got := w.checks.Of("hades"); got != (Summary{step.healthy, 1}) {
			t.Fatalf("after step %d: %v", i, got)
		}
	}
}

// The handshake is whole, its name is that of a host, and it ends cleanly, with and without
// a PROXY header.
func TestTLS(t *testing.T) {
	for version, header := range map[routing.ProxyProtocol]string{routing.None: "", routing.V1: "PROXY UNKNOWN\r\n", routing.V2: "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"} {
		for _, newest := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprint(version, tls.VersionName(newest)), func(t *testing.T) {
				listener := testkit.Listen(t)
				seen := make(chan error, 100)
				config := &tls.Config{Certificates: []tls.Certificate{certificate(t)}, MaxVersion: newest}
				go serveTLS(listener, header, config, seen)
				b := backendAt(listener, often(routing.CheckTLS))
				b.ProxyProtocol = version
				c := run(t, []routing.Backend{b})
				for range 3 {
					select {
					case err := <-seen:
						if err != nil {
							t.Fatal(err)
						}
					case <-time.After(testkit.Timeout):
						t.Fatal("no check")
					}
				}
				c.await(t, Summary{1, 1})
				if n := c.results[failed].Load(); n != 0 {
					t.Errorf("%d checks failed", n)
				}
			})
		}
	}
}

// serveTLS reports for each connection whether it is a whole handshake for a.is that ends
// with a close_notify and the end of the stream.
func serveTLS(listener net.Listener, header string, config *tls.Config, seen chan<- error) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		seen <- func() error {
			defer conn.Close()
			got := make([]byte, len(header))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != header {
				return fmt.Errorf("header %q, %w", got, err)
			}
			session := tls.Server(conn, config)
			if n, err := session.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				return fmt.Errorf("the session ends with %w", err)
			}
			if name := session.ConnectionState().ServerName; name != "a.is" {
				return fmt.Errorf("the name is %q", name)
			}
			if err := session.CloseWrite(); err != nil {
				return fmt.Errorf("close_notify: %w", err)
			}
			if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				return fmt.Errorf("the stream ends with %w", err)
			}
			return nil
		}()
	}
}

// Backends that answer with anything hold a check for the timeout at most, and fail it.
func TestHostileBackends(t *testing.T) {
	endless := func(conn net.Conn) {
		zeros := make([]byte, 64<<10)
		for {
			if _, err := conn.Write(zeros); err != nil {
				return
			}
		}
	}
	huge := certificate(t)
	for range 200 {
		huge.Certificate = append(huge.Certificate, make([]byte, 8<<10))
	}
	for name, behave := range map[string]func(net.Conn){
		"silent":  func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"endless": endless,
		"plain":   func(conn net.Conn) { _, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n") },
		"a record that never ends": func(conn net.Conn) {
			_, _ = conn.Write([]byte{22, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff})
			for _, err := conn.Write([]byte{0}); err == nil; _, err = conn.Write([]byte{0}) {
				time.Sleep(time.Millisecond)
			}
		},
		"a huge certificate": func(conn net.Conn) {
			_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{huge}}).Handshake()
		},
	} {
		t.Run(name, func(t *testing.T) {
			listener := testkit.Listen(t)
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					go func() {
						defer conn.Close()
						behave(conn)
					}()
				}
			}()
			check := often(routing.CheckTLS)
			check.Timeout = 100 * time.Millisecond
			c := run(t, []routing.Backend{backendAt(listener, check)})
			c.await(t, Summary{0, 1})
		})
	}
	// After the handshake too: the rest is neither waited for nor read without end.
	listener := testkit.Listen(t)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				session := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
				if session.Handshake() == nil {
					endless(session)
				}
			}()
		}
	}()
	c := run(t, []routing.Backend{backendAt(listener, often(routing.CheckTLS))})
	c.await(t, Summary{1, 1})
	awaitResults(t, c, passed, 3)
}

// Addresses of usher itself, and those that a member may not use, are not dialled.
func TestForbiddenAddressesAreNotDialled(t *testing.T) {
	listener := testkit.Listen(t)
	own, notAllowed := backendAt(listener, often(routing.CheckTCP)), backendAt(listener, often(routing.CheckTCP))
	own.Cluster, notAllowed.Discovered = "own", true
	c := run(t, []routing.Backend{own, notAllowed}, func(c *Checks) {
		c.IsOwnAddress = func(netip.AddrPort) bool { return true }
	})
	awaitResults(t, c, notDialled, 6)
	_ = listener.(*net.TCPListener).SetDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := listener.Accept(); err == nil {
		t.Error("it was dialled")
	}
	if n := len(c.Summary()); n != 0 {
		t.Errorf("%d clusters are in the summary", n)
	}
}

// Each address of a name is checked. While the name cannot be resolved, the results remain;
// an address that the name no longer has is forgotten.
func TestNames(t *testing.T) {
	listener := testkit.Listen(t)
	b := backendAt(listener, often(routing.CheckTCP))
	b.Addresses = []string{"hades.example"}
	var addrs atomic.Pointer[[]netip.Addr]
	resolveTo := func(list ...string) {
		parsed := []netip.Addr{}
		for _, addr := range list {
			parsed = append(parsed, netip.MustParseAddr(addr))
		}
		addrs.Store(&parsed)
	}
	resolveTo("127.0.0.1", "127.0.0.2")
	c := run(t, []routing.Backend{b}, func(c *Checks) {
		c.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			if list := *addrs.Load(); len(list) > 0 {
				return list, nil
			}
			return nil, errors.New("no name server answers")
		}
	})
	c.await(t, Summary{1, 2})
	resolveTo()
	before := c.results[unresolved].Load()
	awaitResults(t, c, unresolved, before+3)
	c.await(t, Summary{1, 2})
	second := endpoint.Of("hades", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), b.HTTPSPort))
	if c.Endpoints.Standing(second) != endpoint.Failing {
		t.Error("an address is healthy since its name cannot be resolved")
	}
	resolveTo("127.0.0.1")
	c.await(t, Summary{1, 1})
	if c.Endpoints.Standing(second) != endpoint.Good {
		t.Error("an address is remembered that the name no longer has")
	}
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("127.0.1.%d", i)
	}
	resolveTo(many...)
	c.await(t, Summary{0, endpoint.MaxResolved})
}

// The checks follow the table: a backend that leaves it, or asks for no check, is forgotten.
func TestTableChanges(t *testing.T) {
	listener := testkit.Listen(t)
	b := backendAt(listener, often(routing.CheckTCP))
	testkit.Must(t, listener.Close())
	c := run(t, []routing.Backend{b})
	c.await(t, Summary{0, 1})
	b.Health = routing.HealthCheck{}
	c.Table.Store(routing.NewTable([]routing.Route{{Host: "a.is", Backends: []routing.Backend{b}}}))
	c.await(t, Summary{})
	if c.Endpoints.Standing(endpointOf(b)) != endpoint.Good {
		t.Error("the result of a check remains that is no longer made")
	}
}

// A cluster whose addresses do not answer neither exceeds the bound on checks at once, nor
// delays the checks of another.
func TestSlowClusterDelaysNoOther(t *testing.T) {
	slow := testkit.ListenSilent(t)
	port := slow.Addr().(*net.TCPAddr).AddrPort().Port()
	hostile := routing.Backend{Cluster: "hostile", HTTPSPort: port, Health: routing.HealthCheck{Type: routing.CheckTCP, Interval: 20 * time.Millisecond, Timeout: time.Minute, Rise: 1, Fall: 1}}
	for i := range 100 {
		hostile.Addresses = append(hostile.Addresses, fmt.Sprintf("h%d.example", i))
	}
	listener := testkit.Listen(t)
	c := run(t, []routing.Backend{hostile, backendAt(listener, often(routing.CheckTCP))}, func(c *Checks) {
		c.atOnce = make(chan struct{}, maxAtOnce)
		c.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
	})
	testkit.WaitFor(t, "the slow checks to be as many as may be", func() bool { return len(c.atOnce) >= maxAtOnceOfCluster })
	awaitResults(t, c, passed, 10)
	if n := len(c.atOnce); n > maxAtOnceOfCluster+1 {
		t.Errorf("%d checks are made at once", n)
	}
}

func TestPlans(t *testing.T) {
	check := often(routing.CheckTLS)
	b := routing.Backend{Cluster: "hades", Addresses: []string{"192.0.2.1", "hades.example"}, HTTPSPort: 443, Health: check}
	other := b
	other.HTTPSPort, other.Health = 8443, routing.HealthCheck{Type: routing.CheckTCP}
	unchecked := b
	unchecked.Cluster, unchecked.Health = "illmatic", routing.HealthCheck{}
	one := []routing.Backend{b}
	for name, test := range map[string]struct {
		routes []routing.Route
		want   string // host of the first address on 443
		plans  int
	}{
		"the first host":              {[]routing.Route{{Host: "b.is", Backends: one}, {Host: "a.is", Backends: one}}, "a.is", 2},
		"a host before a wildcard":    {[]routing.Route{{Host: "*.a.is", Backends: one}, {Host: "z.is", Backends: one}}, "z.is", 2},
		"under a wildcard":            {[]routing.Route{{Host: "*.b.is", Backends: one}, {Host: "*.a.is", Backends: one}}, checkLabel + ".a.is", 2},
		"other ports too":             {[]routing.Route{{Host: "a.is", Backends: one, Ports: []routing.Port{{Name: "mqtts", Backends: []routing.Backend{other}}}}}, "a.is", 4},
		"not the port https":          {[]routing.Route{{Host: "a.is", NotHTTPS: true, Backends: one, Ports: []routing.Port{{Name: "mqtts", Backends: []routing.Backend{other}}}}}, "", 2},
		"not those without checks":    {[]routing.Route{{Host: "a.is", Backends: []routing.Backend{unchecked}}}, "", 0},
		"not those of a refused host": {[]routing.Route{{Host: "a.is", Refusal: "Denied", Backends: one}}, "", 0},
		"not those for plain HTTP":    {[]routing.Route{{Host: "a.is", PlainOnly: true, Backends: one}}, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			plans := plansOf(routing.NewTable(test.routes))
			host := ""
			if p := plans[subject{"hades", "192.0.2.1", 443}]; p != nil {
				host = p.host
			}
			if host != test.want || len(plans) != test.plans {
				t.Errorf("%d plans, host %q; want %d, %q", len(plans), host, test.plans, test.want)
			}
		})
	}
	defaults := planFor("a.is", &other)
	if got := fmt.Sprint(defaults.Interval, defaults.Timeout, defaults.Rise, defaults.Fall); got != "10s 3s 2 3" {
		t.Errorf("defaults: %s", got)
	}
}

// A member with very many addresses, and very many members, are checked in part.
func TestPlansAreBounded(t *testing.T) {
	var routes []routing.Route
	for i := range 2000 {
		cluster := "hostile"
		if i >= 1000 {
			cluster = fmt.Sprint("c", i)
		}
		routes = append(routes, routing.Route{Host: fmt.Sprintf("h%d.is", i), Backends: []routing.Backend{{
			Cluster: cluster, Addresses: []string{fmt.Sprintf("192.0.%d.%d", i>>8, i&0xff)}, HTTPSPort: 443, Health: often(routing.CheckTCP),
		}}})
	}
	plans := plansOf(routing.NewTable(routes))
	ofHostile := 0
	for s := range plans {
		if s.cluster == "hostile" {
			ofHostile++
		}
	}
	if len(plans) != maxWatched || ofHostile > maxWatchedOfCluster {
		t.Errorf("%d plans, %d of one cluster", len(plans), ofHostile)
	}
}

// The headers are those that a server of the PROXY protocol reads: they have no client.
func TestProxyHeaders(t *testing.T) {
	for version, want := range map[routing.ProxyProtocol]byte{routing.V1: 1, routing.V2: 2} {
		header, err := proxyproto.Read(bufio.NewReader(strings.NewReader(version.LocalHeader())))
		if err != nil || header.Version != want || header.Command.IsProxy() && version == routing.V2 || header.TransportProtocol != proxyproto.UNSPEC {
			t.Errorf("%v: %+v, %v", version, header, err)
		}
	}
}
