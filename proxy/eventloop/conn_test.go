package eventloop

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// Each test below follows a connection along one path through its states.

func TestHelloInPieces(t *testing.T) {
	o := listen(t)
	e := start(t, routeA(o))
	first := helloFor(t, hostA)
	for _, size := range []int{1, 7, 600, len(first)} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			hello := again(first)
			client := dial(t, e.addr)
			for rest := hello; len(rest) > 0; {
				n := min(size, len(rest))
				send(t, client, rest[:n])
				rest = rest[n:]
				if size > 1 { // let the pieces arrive one by one
					time.Sleep(time.Millisecond)
				}
			}
			backend := o.accept()
			expect(t, backend, hello)
			client.Close()
			expectEOF(t, backend)
		})
	}
}

func TestBytesAfterTheHelloAreForwarded(t *testing.T) {
	for _, size := range []int{1, 5_000, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			o := listen(t)
			e := start(t, routeA(o))
			all := append(helloFor(t, hostA), randomBytes(size)...)
			client := dial(t, e.addr)
			go func() { _, _ = client.Write(all) }()
			expect(t, o.accept(), all)
		})
	}
}

func TestHalfClose(t *testing.T) {
	for _, first := range []string{"client", "backend"} {
		t.Run(first+" ends first", func(t *testing.T) {
			o := listen(t)
			e := start(t, routeA(o))
			near, far := e.open(o)
			if first == "backend" {
				near, far = far, near
			}
			send(t, near, []byte("last words"))
			if err := near.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			expect(t, far, []byte("last words"))
			expectEOF(t, far)
			for _, words := range []string{"the other", "goes on"} {
				send(t, far, []byte(words))
				expect(t, near, []byte(words))
			}
			if err := far.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			expectEOF(t, near)
			e.awaitMetric(1, "connections_closed_total", "closed")
			e.awaitMetric(0, "connections_open")
		})
	}
}

func TestReset(t *testing.T) {
	for _, first := range []string{"client", "backend"} {
		for _, before := range []string{"nothing", "own end", "other's end"} {
			t.Run(fmt.Sprintf("%s resets after %s", first, before), func(t *testing.T) {
				o := listen(t)
				e := start(t, routeA(o))
				near, far := e.open(o)
				if first == "backend" {
					near, far = far, near
				}
				switch before {
				case "own end":
					_ = near.CloseWrite()
					expectEOF(t, far)
				case "other's end":
					_ = far.CloseWrite()
					expectEOF(t, near)
				}
				sendReset(near)
				e.awaitMetric(1, "connections_closed_total", "reset")
				if before == "own end" {
					// far has read the end already: only a write fails.
					testkit.WaitFor(t, "writing to fail", func() bool {
						_, err := far.Write([]byte("x"))
						return err != nil
					})
				} else {
					expectReset(t, far)
				}
			})
		}
	}
}

// A backend responds and resets at once, as a server does that does not want the rest
// of an upload. Both are reported in one event. The response must arrive, and must end
// with a reset.
func TestResponseBeforeAResetArrives(t *testing.T) {
	o := listen(t)
	e := start(t, routeA(o), func(f *Forwarder) { f.Loops = 1 })
	client, backend := e.open(o)
	release := hold((*e.loops.Load())[0])
	send(t, backend, []byte("413 go away"))
	sendReset(backend)
	release()
	expect(t, client, []byte("413 go away"))
	expectReset(t, client)
}

// hold blocks a loop until release.
func hold(s *shared) (release func()) {
	_, release = holdLoop(s)
	return release
}

// holdLoop blocks a loop and returns it. While it is blocked, the test may read its
// fields.
func holdLoop(s *shared) (held *loop, release func()) {
	holding, proceed := make(chan *loop), make(chan struct{})
	s.post(func(l *loop) {
		holding <- l
		<-proceed
	})
	return <-holding, func() { close(proceed) }
}

// A client learns the same on each port.
func TestRefusals(t *testing.T) {
	for _, port := range []string{routing.PortHTTPS, "mqtts"} {
		t.Run(port, func(t *testing.T) { testRefusals(t, port) })
	}
}

func testRefusals(t *testing.T, port string) {
	o := listen(t)
	routes := routeA(o)
	routes = append(routes, routing.Route{
		Host: "private.is", Backends: routes[0].Backends,
		AllowFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}, routing.Route{Host: "nowhere.is"},
		routing.Route{Host: "*.wild.is", Backends: routes[0].Backends},
		routing.Route{Host: "vault.wild.is", Refusal: "AnnotationInvalid"},
		routing.Route{Host: "*.closed.is", Refusal: "AllowedDomains"},
		routing.Route{Host: "plain.is", Backends: routes[0].Backends, PlainHTTP: routing.Forward, PlainOnly: true})
	for i := range routes {
		routes[i].Ports = []routing.Port{{Name: "mqtts", Backends: routes[i].Backends}}
	}
	routes = append(routes, routing.Route{Host: "other.wild.is", Backends: routes[0].Backends, NotHTTPS: true, Ports: []routing.Port{{Name: "ldaps", Backends: routes[0].Backends}}})
	e := startOn(t, port, routes)
	alert := func(description byte) []byte { return []byte{21, 3, 3, 0, 2, 2, description} }
	broken := helloFor(t, hostA)
	broken[5] = 2 // a ServerHello
	for reason, tt := range map[string]struct{ bytes, answer []byte }{
		"unknown_host":       {helloFor(t, "b.techn.is"), alert(112)},
		"no_server_name":     {helloFor(t, ""), alert(112)},
		"client_not_allowed": {helloFor(t, "private.is"), alert(112)},
		"no_backend":         {helloFor(t, "nowhere.is"), alert(80)},
		"malformed_hello":    {broken, alert(50)},
		"hello_too_long":     {[]byte{22, 3, 1, 0, 4, 1, 0xff, 0, 0}, alert(50)},
		"not_tls":            {[]byte("GET / HTTP/1.1\r\n\r\n"), nil},
		"bad_server_name":    {twoNames(t), alert(112)},
		"refused_host":       {helloFor(t, "vault.wild.is"), alert(112)},
	} {
		t.Run(reason, func(t *testing.T) {
			client := dial(t, e.addr)
			send(t, client, tt.bytes)
			expect(t, client, tt.answer)
			if tt.answer != nil {
				expectEOF(t, client)
			}
			e.awaitMetric(1, "connections_refused_total", reason)
		})
	}
	client := dial(t, e.addr)
	send(t, client, helloFor(t, "any.closed.is"))
	expect(t, client, alert(112))
	e.awaitMetric(2, "connections_refused_total", "refused_host")
	for i, host := range []string{"plain.is", "other.wild.is"} {
		client = dial(t, e.addr)
		send(t, client, helloFor(t, host))
		expect(t, client, alert(112))
		e.awaitMetric(float64(3+i), "connections_refused_total", "refused_host")
	}
	e.awaitMetric(0, "connections_open")
	_ = o.listener.SetDeadline(time.Now())
	if _, err := o.listener.Accept(); err == nil {
		t.Error("a refused client reached the backend")
	}
}

// twoNames returns a ClientHello with hostA and another name.
func twoNames(t *testing.T) []byte {
	const other = "b.techn.is"
	hello := helloFor(t, hostA+"xxx"+other)
	at := bytes.Index(hello, []byte(hostA))
	hello[at-1] = byte(len(hostA))
	copy(hello[at+len(hostA):], []byte{0, 0, byte(len(other))}) // type host_name, and the length of the name
	return hello
}

// A refused client sends further bytes. If the socket were closed with unread bytes,
// the client would get a reset instead of the alert.
func TestAlertArrivesBeforeReset(t *testing.T) {
	e := start(t, nil)
	client := dial(t, e.addr)
	send(t, client, append(helloFor(t, hostA), randomBytes(30_000)...))
	e.awaitMetric(1, "connections_refused_total", "unknown_host")
	send(t, client, randomBytes(10_000))
	answer, err := io.ReadAll(client)
	if err != nil || len(answer) != 7 || answer[6] != 112 {
		t.Errorf("read %v, %v; want the alert and EOF", answer, err)
	}
}

// A refused client that does not stop sending is disconnected.
func TestRefusedClientsAreDisconnected(t *testing.T) {
	e := start(t, nil)
	client := dial(t, e.addr)
	send(t, client, helloFor(t, hostA))
	testkit.WaitFor(t, "the client's writing to fail", func() bool {
		_, err := client.Write(randomBytes(32 << 10))
		return err != nil
	})
	e.awaitMetric(0, "connections_open")
}

func TestClientDisconnects(t *testing.T) {
	hello := helloFor(t, hostA)
	for name, tt := range map[string]struct {
		bytes  []byte
		leave  func(*net.TCPConn)
		reason string
	}{
		"before a byte":          {nil, func(c *net.TCPConn) { c.Close() }, "left_before_hello"},
		"in the hello":           {hello[:50], func(c *net.TCPConn) { c.Close() }, "left_before_hello"},
		"with a reset":           {hello[:50], sendReset, "left_before_hello"},
		"half-closed":            {hello[:50], func(c *net.TCPConn) { _ = c.CloseWrite() }, "left_before_hello"},
		"while a name is looked": {hello, sendReset, "left_before_backend"},
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, []routing.Route{{Host: hostA, Backends: []routing.Backend{{Addresses: []string{"slow.invalid"}, HTTPSPort: 1}}}},
				func(f *Forwarder) { f.resolver = neverResolves() })
			client := dial(t, e.addr)
			send(t, client, tt.bytes)
			if len(tt.bytes) > 0 {
				e.awaitMetric(1, "connections_open")
			}
			tt.leave(client)
			e.awaitMetric(1, "connections_refused_total", tt.reason)
			e.awaitMetric(0, "connections_open")
		})
	}
}

func TestTimeouts(t *testing.T) {
	short := 100 * time.Millisecond
	for name, tt := range map[string]struct {
		option func(*Forwarder)
		play   func(e *edge, o origin)
		metric string
		reason string
	}{
		"hello": {
			func(f *Forwarder) { f.Timeouts.Hello = short },
			func(e *edge, _ origin) {
				client := dial(e.t, e.addr)
				send(e.t, client, helloFor(e.t, hostA)[:20])
				_, _ = io.ReadAll(client)
			},
			"connections_refused_total", "hello_timeout",
		},
		"silent client": {
			func(f *Forwarder) { f.Timeouts.Hello = short },
			func(e *edge, _ origin) { _, _ = io.ReadAll(dial(e.t, e.addr)) },
			"connections_refused_total", "hello_timeout",
		},
		"idle": {
			func(f *Forwarder) { f.Timeouts.Idle = short },
			func(e *edge, o origin) {
				client, backend := e.open(o)
				expectReset(e.t, client)
				expectReset(e.t, backend)
			},
			"connections_closed_total", "idle_timeout",
		},
		"half-closed": {
			func(f *Forwarder) { f.Timeouts.HalfClosed = short },
			func(e *edge, o origin) {
				client, backend := e.open(o)
				_ = client.CloseWrite()
				expectEOF(e.t, backend)
				expectReset(e.t, client)
			},
			"connections_closed_total", "half_closed_timeout",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := listen(t)
			e := start(t, routeA(o), tt.option)
			tt.play(e, o)
			e.awaitMetric(1, tt.metric, tt.reason)
			e.awaitMetric(0, "connections_open")
		})
	}
}

func TestActivityKeepsAConnection(t *testing.T) {
	o := listen(t)
	const idle = 400 * time.Millisecond
	e := start(t, routeA(o), func(f *Forwarder) { f.Timeouts.Idle = idle })
	client, backend := e.open(o)
	for began := time.Now(); time.Since(began) < 3*idle; time.Sleep(idle / 10) {
		send(t, backend, []byte("x"))
		expect(t, client, []byte("x"))
	}
}

func TestFailOver(t *testing.T) {
	const dead = "127.0.0.2" // no listener
	for name, tt := range map[string]struct {
		addresses [][]string // of each backend
		failures  float64
	}{
		"second backend":         {[][]string{{dead, "127.0.0.3"}, {"127.0.0.1"}}, 2},
		"second address":         {[][]string{{dead, "127.0.0.1"}}, 1},
		"backend without any":    {[][]string{{}, {"127.0.0.1"}}, 0},
		"name without addresses": {[][]string{{"unknown.invalid"}, {"127.0.0.1"}}, 1},
		"name":                   {[][]string{{"home.invalid"}}, 0},
		"name of a dead address": {[][]string{{"dead.invalid", "home.invalid"}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			o := listen(t)
			route := routing.Route{Host: hostA}
			for _, addresses := range tt.addresses {
				route.Backends = append(route.Backends, routing.Backend{Addresses: addresses, HTTPSPort: o.backend().HTTPSPort})
			}
			e := start(t, []routing.Route{route}, func(f *Forwarder) {
				f.resolver = resolves(map[string]netip.Addr{
					"home.invalid": netip.MustParseAddr("127.0.0.1"), "dead.invalid": netip.MustParseAddr(dead),
				})
			})
			client, backend := e.open(o)
			send(t, backend, []byte("x"))
			expect(t, client, []byte("x"))
			e.awaitMetric(tt.failures, "dial_failures_total")
		})
	}
}

func TestDialTimeoutFailsOver(t *testing.T) {
	o, full := listen(t), listenFull(t)
	e := start(t, []routing.Route{{Host: hostA, Backends: []routing.Backend{full, o.backend()}}},
		func(f *Forwarder) { f.Timeouts.Dial = 100 * time.Millisecond })
	client, backend := e.open(o)
	send(t, client, []byte("x"))
	expect(t, backend, []byte("x"))
	e.awaitMetric(1, "dial_failures_total", "full")
}

func TestNoBackendAnswers(t *testing.T) {
	full := listenFull(t)
	e := start(t, []routing.Route{{Host: hostA, Backends: []routing.Backend{full}}},
		func(f *Forwarder) { f.Timeouts.Dial = 50 * time.Millisecond })
	client := dial(t, e.addr)
	send(t, client, helloFor(t, hostA))
	expect(t, client, alertRecord(internalError))
	expectEOF(t, client)
}

// listenFull returns a backend that does not respond.
func listenFull(t *testing.T) routing.Backend {
	t.Helper()
	addr := testkit.ListenSilent(t).Addr().(*net.TCPAddr).AddrPort()
	return routing.Backend{Cluster: "full", Addresses: []string{addr.Addr().String()}, HTTPSPort: addr.Port()}
}

func TestBulk(t *testing.T) {
	for _, direction := range []string{"up", "down", "both"} {
		t.Run(direction, func(t *testing.T) {
			o := listen(t)
			e := start(t, routeA(o))
			client, backend := e.open(o)
			var transfers []func() error
			if direction != "down" {
				transfers = append(transfers, func() error { return transfer(client, backend) })
			}
			if direction != "up" {
				transfers = append(transfers, func() error { return transfer(backend, client) })
			}
			done := make(chan error, len(transfers))
			for _, run := range transfers {
				go func() { done <- run() }()
			}
			for range transfers {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			e.awaitMetric(0, "connections_closed_total", "reset")
		})
	}
}

// transfer sends 32 MB as fast as possible, and compares what arrives.
func transfer(from, to *net.TCPConn) error {
	const total = 32 << 20
	sent, received := sha256.New(), sha256.New()
	failed := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(from, sent)}, io.LimitReader(rand.NewChaCha8([32]byte{}), total), make([]byte, 256<<10))
		_ = from.CloseWrite()
		failed <- err
	}()
	n, err := io.Copy(received, to)
	if sendErr := <-failed; sendErr != nil {
		return sendErr
	}
	if err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", n, total, err)
	}
	if n != total || !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		return fmt.Errorf("%d of %d bytes arrived, or not intact", n, total)
	}
	return nil
}

// A client does not read: the backend must have to wait, and no bytes may be lost.
func TestBackPressure(t *testing.T) {
	for _, first := range []string{"client", "backend"} {
		t.Run(first+" does not read", func(t *testing.T) {
			o := listen(t)
			e := start(t, routeA(o))
			slow, fast := e.open(o)
			if first == "backend" {
				slow, fast = fast, slow
			}
			const most = 64 << 20 // of kernel buffers on the way
			chunk := randomBytes(256 << 10)
			sent := 0
			for ; sent < most; sent += len(chunk) {
				_ = fast.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
				n, err := fast.Write(chunk)
				if err != nil {
					sent += n
					break
				}
			}
			if sent >= most {
				t.Fatalf("%d bytes were read from the sender while the receiver did not read", sent)
			}
			_ = fast.CloseWrite()
			for got := 0; got < sent; got += len(chunk) {
				expect(t, slow, chunk[:min(len(chunk), sent-got)])
			}
			expectEOF(t, slow)
		})
	}
}

func TestIdleConnectionsOwnNothing(t *testing.T) {
	o := listen(t)
	e := start(t, routeA(o), func(f *Forwarder) { f.Loops = 1 })
	client, backend := e.open(o)
	data := randomBytes(8 << 20)
	go func() { _, _ = backend.Write(data) }()
	expect(t, client, data)
	l := (*e.loops.Load())[0]
	testkit.Eventually(t, "idle connections should own nothing", func() error {
		owners := make(chan int, 1)
		l.post(func(l *loop) { owners <- countOwners(l) })
		if n := <-owners; n > 0 {
			return fmt.Errorf("%d own a buffer or a pipe", n)
		}
		return nil
	})
}

func countOwners(l *loop) int {
	owners := 0
	for _, c := range l.conns {
		if c.state != done && (c.up.hasPending() || c.down.hasPending() || c.opening != nil) {
			owners++
		}
	}
	return owners
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}
