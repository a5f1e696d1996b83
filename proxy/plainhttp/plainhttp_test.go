package plainhttp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	proxyproto "github.com/pires/go-proxyproto"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/limit"
	"github.com/jovalle/usher/proxy/plainhttp"
	"github.com/jovalle/usher/proxy/routing"
)

// start serves routes on loopback until the test ends.
func start(t testing.TB, routes []routing.Route, options ...func(*plainhttp.Server)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, listener, routes, options...)
}

// startOn is start on the given listener, which is closed at the end.
func startOn(t testing.TB, listener net.Listener, routes []routing.Route, options ...func(*plainhttp.Server)) string {
	t.Helper()
	checkDescriptors(t)
	var live routing.Live
	live.Store(routing.NewTable(routes))
	s := &plainhttp.Server{
		Handler: &plainhttp.Handler{
			Table: &live, Log: logr.Discard(), Metrics: plainhttp.NewMetrics(),
			Timeouts: limit.Timeouts{Hello: testkit.Timeout, Dial: time.Second, Idle: testkit.Timeout},
		},
		Limits: &limit.Connections{},
	}
	for _, option := range options {
		option(s)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(ctx, []net.Listener{listener})
	}()
	t.Cleanup(func() {
		stop()
		select {
		case <-done:
		case <-time.After(testkit.Timeout):
			t.Error("Serve does not return")
		}
	})
	return listener.Addr().String()
}

// checkDescriptors fails the test if more descriptors are open at its end than now.
func checkDescriptors(t testing.TB) {
	t.Helper()
	before := testkit.OpenDescriptors(t)
	t.Cleanup(func() {
		testkit.Eventually(t, "all descriptors should be closed", func() error {
			runtime.GC() // Go keeps pipes for splice until then
			if now := testkit.OpenDescriptors(t); now > before {
				return fmt.Errorf("%d are open, %d were before the test", now, before)
			}
			return nil
		})
	})
}

// origin starts a backend that describes each request in the response.
func origin(t *testing.T, wrap ...func(net.Listener) net.Listener) routing.Backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().(*net.TCPAddr).AddrPort()
	for _, w := range wrap {
		listener = w(listener)
	}
	server := &http.Server{Handler: http.HandlerFunc(describe), ReadHeaderTimeout: testkit.Timeout}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	return routing.Backend{Cluster: "hades", Addresses: []string{addr.Addr().String()}, HTTPPort: addr.Port()}
}

func describe(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		echoUpgraded(w)
		return
	}
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s%s from %s for %q real %q: %s", r.Method, r.Host, r.RequestURI,
		strings.Split(r.RemoteAddr, ":")[0], r.Header.Values("X-Forwarded-For"), r.Header.Get("X-Real-Ip"), body)
}

// echoUpgraded upgrades a connection and then echoes.
func echoUpgraded(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	_, _ = io.Copy(conn, conn)
}

// send sends raw bytes and returns the response and its body.
func send(t *testing.T, addr, request string) (*http.Response, string) {
	t.Helper()
	conn := connect(t, addr)
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	return response, string(body)
}

func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, testkit.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(testkit.Timeout))
	return conn
}

func TestRedirect(t *testing.T) {
	addr := start(t, []routing.Route{{Host: "a.is"}, {Host: "*.b.is"}})
	for name, tt := range map[string]struct{ request, location string }{
		"path and query":        {"GET /x/y?z=1 HTTP/1.1\r\nHost: a.is\r\n\r\n", "https://a.is/x/y?z=1"},
		"port and case":         {"GET / HTTP/1.1\r\nHost: A.Is:8080\r\n\r\n", "https://a.is/"},
		"trailing dot":          {"GET / HTTP/1.1\r\nHost: a.is.\r\n\r\n", "https://a.is/"},
		"wildcard":              {"GET / HTTP/1.1\r\nHost: c.b.is\r\n\r\n", "https://c.b.is/"},
		"POST":                  {"POST /x HTTP/1.1\r\nHost: a.is\r\nContent-Length: 1\r\n\r\nx", "https://a.is/x"},
		"HTTP/1.0 with a host":  {"GET /x HTTP/1.0\r\nHost: a.is\r\n\r\n", "https://a.is/x"},
		"escapes stay":          {"GET /%2e%2E/%c3%A9?%zz;%41 HTTP/1.1\r\nHost: a.is\r\n\r\n", "https://a.is/%2e%2E/%c3%A9?%zz;%41"},
		"dots stay":             {"GET /a/../../b HTTP/1.1\r\nHost: a.is\r\n\r\n", "https://a.is/a/../../b"},
		"two slashes":           {"GET //evil.is/ HTTP/1.1\r\nHost: a.is\r\n\r\n", "https://a.is//evil.is/"},
		"backslashes":           {"GET /\\evil.is/ HTTP/1.1\r\nHost: a.is\r\n\r\n", "https://a.is/\\evil.is/"},
		"at sign":               {"GET /@evil.is HTTP/1.1\r\nHost: a.is\r\n\r\n", "https://a.is/@evil.is"},
		"encoded line break":    {"GET /%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: a.is\r\n\r\n", "https://a.is/%0d%0aSet-Cookie:x"},
		"absolute form":         {"GET http://a.is:80/x?y HTTP/1.1\r\nHost: A.is\r\n\r\n", "https://a.is/x?y"},
		"absolute form, HTTPS":  {"GET HTTPS://A.is./x?y HTTP/1.1\r\nHost: a.is\r\n\r\n", "https://a.is/x?y"},
		"absolute, no path":     {"GET http://a.is HTTP/1.1\r\nHost: a.is\r\n\r\n", "https://a.is/"},
		"absolute, query alone": {"GET http://a.is?x=/y HTTP/1.1\r\nHost: a.is\r\n\r\n", "https://a.is/?x=/y"},
		"challenge directory":   {"GET /.well-known/acme-challenge/ HTTP/1.1\r\nHost: a.is\r\n\r\n", "https://a.is/.well-known/acme-challenge/"},
	} {
		t.Run(name, func(t *testing.T) {
			response, body := send(t, addr, tt.request)
			if got := response.Header.Get("Location"); response.StatusCode != http.StatusPermanentRedirect || got != tt.location || body != "" {
				t.Errorf("answered %d to %q with body %q, want 308 to %q", response.StatusCode, got, body, tt.location)
			}
		})
	}
}

func TestRefusalsLookTheSame(t *testing.T) {
	backend := origin(t)
	secret := routing.Route{
		Host: "secret.is", PlainHTTP: routing.Forward, Backends: []routing.Backend{backend},
		AllowFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}
	denied := routing.Route{Host: "denied.is", PlainHTTP: routing.Deny, Backends: []routing.Backend{backend}}
	wild := routing.Route{Host: "*.wild.is", PlainHTTP: routing.Forward, Backends: []routing.Backend{backend}}
	vault := routing.Route{Host: "vault.wild.is", Refusal: "AnnotationInvalid"}
	addr := start(t, []routing.Route{secret, denied, {Host: "a.is"}, wild, vault, {Host: "*.closed.is", Refusal: "AllowedDomains"}})
	const token = "/.well-known/acme-challenge/token"
	const want = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	for name, request := range map[string]string{
		"unknown host":                  "GET / HTTP/1.1\r\nHost: b.is\r\n\r\n",
		"unknown host's challenge":      "GET " + token + " HTTP/1.1\r\nHost: b.is\r\n\r\n",
		"client not allowed":            "GET / HTTP/1.1\r\nHost: secret.is\r\n\r\n",
		"client not allowed: challenge": "GET " + token + " HTTP/1.1\r\nHost: secret.is\r\n\r\n",
		"refused host":                  "GET / HTTP/1.1\r\nHost: vault.wild.is\r\n\r\n",
		"refused host's challenge":      "GET " + token + " HTTP/1.1\r\nHost: vault.wild.is\r\n\r\n",
		"under a refused wildcard":      "GET / HTTP/1.1\r\nHost: any.closed.is\r\n\r\n",
		"denied":                        "GET / HTTP/1.1\r\nHost: denied.is\r\n\r\n",
		"denied: out of the challenges": "GET " + token + "/../../../x HTTP/1.1\r\nHost: denied.is\r\n\r\n",
		"denied: escaped":               "GET /.well-known/acme-challenge/..%2f..%2fx HTTP/1.1\r\nHost: denied.is\r\n\r\n",
		"denied: POST to a challenge":   "POST " + token + " HTTP/1.1\r\nHost: denied.is\r\nContent-Length: 0\r\n\r\n",
		"no host":                       "GET / HTTP/1.0\r\n\r\n",
		"IP address":                    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
		"IPv6 address":                  "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
		"OPTIONS *":                     "OPTIONS * HTTP/1.1\r\nHost: b.is\r\n\r\n",
		"OPTIONS * of an exposed host":  "OPTIONS * HTTP/1.1\r\nHost: a.is\r\n\r\n",
		"CONNECT":                       "CONNECT a.is:443 HTTP/1.1\r\nHost: a.is\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			answer := dateLine.ReplaceAllString(sendRaw(t, addr, request), "")
			if answer = strings.Replace(answer, "HTTP/1.0", "HTTP/1.1", 1); answer != want {
				t.Errorf("answered %q, want %q", answer, want)
			}
		})
	}
}

var dateLine = regexp.MustCompile(`Date: .*\r\n`)

func TestForward(t *testing.T) {
	backend := origin(t)
	dead := routing.Backend{Addresses: []string{"127.0.0.1"}, HTTPPort: 1}
	addr := start(t, []routing.Route{
		{Host: "forward.is", PlainHTTP: routing.Forward, Backends: []routing.Backend{dead, backend}},
		{Host: "redirect.is", Backends: []routing.Backend{backend}},
		{Host: "deny.is", PlainHTTP: routing.Deny, Backends: []routing.Backend{backend}},
		{Host: "dead.is", PlainHTTP: routing.Forward, Backends: []routing.Backend{dead}},
	})
	const forged = "X-Forwarded-For: 9.9.9.9\r\nX-Real-Ip: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\n"
	for name, tt := range map[string]struct {
		request string
		status  int
		body    string
	}{
		"forwarded, past a dead address": {
			"GET /x;y?%41;b HTTP/1.1\r\nHost: Forward.is:80\r\n" + forged + "\r\n",
			200, `GET forward.is:80/x;y?%41;b from 127.0.0.1 for ["127.0.0.1"] real "": `,
		},
		"a body, past a dead address": {
			"POST / HTTP/1.1\r\nHost: forward.is\r\nContent-Length: 4\r\n\r\nbody",
			200, `POST forward.is/ from 127.0.0.1 for ["127.0.0.1"] real "": body`,
		},
		"challenge of a redirected host": {
			"GET /.well-known/acme-challenge/A-z_09 HTTP/1.1\r\nHost: redirect.is\r\n\r\n",
			200, `GET redirect.is/.well-known/acme-challenge/A-z_09 from 127.0.0.1 for ["127.0.0.1"] real "": `,
		},
		"challenge of a denied host": {
			"GET /.well-known/acme-challenge/t HTTP/1.1\r\nHost: deny.is\r\n\r\n",
			200, `GET deny.is/.well-known/acme-challenge/t from 127.0.0.1 for ["127.0.0.1"] real "": `,
		},
		"no backend that answers": {"GET / HTTP/1.1\r\nHost: dead.is\r\n\r\n", 502, ""},
	} {
		t.Run(name, func(t *testing.T) {
			response, body := send(t, addr, tt.request)
			if response.StatusCode != tt.status || body != tt.body {
				t.Errorf("answered %d %q, want %d %q", response.StatusCode, body, tt.status, tt.body)
			}
		})
	}
}

func TestUpgrade(t *testing.T) {
	addr := start(t, []routing.Route{{Host: "ws.is", PlainHTTP: routing.Forward, Backends: []routing.Backend{origin(t)}}})
	conn := connect(t, addr)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: ws.is\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade answered with %v, %v", response, err)
	}
	for _, message := range []string{"one\n", "two\n"} {
		fmt.Fprint(conn, message)
		if echo, err := reader.ReadString('\n'); echo != message {
			t.Errorf("echo of %q is %q, %v", message, echo, err)
		}
	}
}

// After an upgrade to one of these protocols, a client could send requests for
// other hosts that usher does not see.
func TestNoOtherUpgrade(t *testing.T) {
	addr := start(t, []routing.Route{{Host: "a.is", PlainHTTP: routing.Forward, Backends: []routing.Backend{origin(t)}}})
	for _, protocol := range []string{"h2c", "TLS/1.3", "websocket, h2c"} {
		request := "GET / HTTP/1.1\r\nHost: a.is\r\nUpgrade: " + protocol + "\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n\r\n"
		if response, body := send(t, addr, request); response.StatusCode != http.StatusOK {
			t.Errorf("%s: answered %d %q", protocol, response.StatusCode, body)
		}
	}
}

// requireProxyHeader wraps the listener of a backend that expects a PROXY header.
func requireProxyHeader(l net.Listener) net.Listener {
	return &proxyproto.Listener{Listener: l, ConnPolicy: func(proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
		return proxyproto.REQUIRE, nil
	}}
}

func TestProxyProtocolOut(t *testing.T) {
	for _, version := range []routing.ProxyProtocol{routing.V1, routing.V2} {
		t.Run(version.String(), func(t *testing.T) {
			backend := origin(t, requireProxyHeader)
			backend.HTTPProxyProtocol = version
			backend.ProxyProtocol = routing.None // which is for TLS connections
			addr := start(t, []routing.Route{{Host: "a.is", PlainHTTP: routing.Forward, Backends: []routing.Backend{backend}}},
				func(s *plainhttp.Server) {
					s.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				})
			for _, client := range []string{"203.0.113.1", "203.0.113.2"} { // each needs a connection of its own
				_, body := send(t, addr, "PROXY TCP4 "+client+" 192.0.2.1 1000 80\r\nGET / HTTP/1.1\r\nHost: a.is\r\n\r\n")
				if want := "from " + client + ` for ["` + client + `"]`; !strings.Contains(body, want) {
					t.Errorf("the backend received %q, want %q", body, want)
				}
			}
		})
	}
}

func TestProxyProtocolIn(t *testing.T) {
	inside := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	routes := []routing.Route{{Host: "a.is", AllowFrom: inside}}
	trusting := start(t, routes, func(s *plainhttp.Server) {
		s.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	const request = "GET / HTTP/1.1\r\nHost: a.is\r\n\r\n"
	const header = "PROXY TCP4 203.0.113.1 192.0.2.1 1000 80\r\n"
	if response, _ := send(t, trusting, header+request); response.StatusCode != http.StatusPermanentRedirect {
		t.Errorf("the client in the header: answered %d, want 308", response.StatusCode)
	}
	if answer := sendRaw(t, trusting, request); answer != "" {
		t.Errorf("no header from a client that must send it: answered %q", answer)
	}
	if answer := sendRaw(t, start(t, routes), header+request); !strings.HasPrefix(answer, "HTTP/1.1 400") {
		t.Errorf("a header from a client that must not: answered %q", answer)
	}
}

// A trusted proxy sends PROXY headers with a TLV that is longer than the header.
func TestProxyHeadersThatAreRefused(t *testing.T) {
	addr := start(t, []routing.Route{{Host: "a.is"}}, func(s *plainhttp.Server) {
		s.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	header := func(tlv string) string {
		body := "\xcb\x00\x71\x01\xc0\x00\x02\x01\x03\xe8\x00\x50" + tlv
		return "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00" + string(rune(len(body))) + body
	}
	const request = "GET / HTTP/1.1\r\nHost: a.is\r\nConnection: close\r\n\r\n"
	if answer := sendRaw(t, addr, header("\x02\x00\x01a")+request); !strings.HasPrefix(answer, "HTTP/1.1 308") {
		t.Errorf("a TLV that fits: answered %q", answer)
	}
	if answer := sendRaw(t, addr, header("\x02\x00\xffa")+request); strings.Contains(answer, "308") {
		t.Errorf("a TLV that is longer than its header: answered %q", answer)
	}
}

// sendRaw sends raw bytes and returns everything that it receives.
func sendRaw(t *testing.T, addr, request string) string {
	t.Helper()
	conn := connect(t, addr)
	_, _ = io.WriteString(conn, request)
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

func TestSlowClientsAreDisconnected(t *testing.T) {
	addr := start(t, nil, func(s *plainhttp.Server) { s.Handler.Timeouts.Hello = 50 * time.Millisecond })
	for name, request := range map[string]string{
		"nothing":          "",
		"half a header":    "GET / HTTP/1.1\r\nHost:",
		"header too large": "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			if answer := sendRaw(t, addr, request); strings.Contains(answer, "308") || time.Since(began) >= testkit.Timeout {
				t.Errorf("answered %q after %v", answer, time.Since(began))
			}
		})
	}
}

func TestLimits(t *testing.T) {
	for reason, limits := range map[string]*limit.Connections{"too_many_connections": {Max: 1}, "too_many_of_client": {PerClient: 1}} {
		t.Run(reason, func(t *testing.T) { limited(t, limits, reason) })
	}
}

// limited opens one connection more than limits allow.
func limited(t *testing.T, limits *limit.Connections, reason string) {
	t.Helper()
	refused := make(chan string, 1)
	addr := start(t, []routing.Route{{Host: "a.is"}}, func(s *plainhttp.Server) {
		s.Limits = limits
		s.Handler.Refused = func(client netip.AddrPort, host, reason, _ string) {
			refused <- fmt.Sprint(client.Addr(), host, " ", reason)
		}
	})
	first := connect(t, addr)
	testkit.WaitFor(t, "the first connection to count", func() bool { return limits.Count() > 0 })
	if answer := sendRaw(t, addr, ""); answer != "" {
		t.Errorf("the second connection was answered %q", answer)
	}
	select {
	case reported := <-refused:
		if reported != "127.0.0.1 "+reason {
			t.Errorf("Refused was called with %q", reported)
		}
	case <-time.After(testkit.Timeout):
		t.Error("Refused was not called")
	}
	first.Close()
	testkit.WaitFor(t, "the closed connection to be released", func() bool { return limits.Count() == 0 })
	if response, _ := send(t, addr, "GET / HTTP/1.1\r\nHost: a.is\r\n\r\n"); response.StatusCode != http.StatusPermanentRedirect {
		t.Errorf("answered %d after the first had left", response.StatusCode)
	}
}

func TestIdleUpgradeEnds(t *testing.T) {
	addr := start(t, []routing.Route{{Host: "ws.is", PlainHTTP: routing.Forward, Backends: []routing.Backend{origin(t)}}},
		func(s *plainhttp.Server) { s.Handler.Timeouts.Idle = 100 * time.Millisecond })
	answer := sendRaw(t, addr, "GET / HTTP/1.1\r\nHost: ws.is\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	if !strings.HasPrefix(answer, "HTTP/1.1 101") {
		t.Errorf("answered %q", answer)
	}
}
