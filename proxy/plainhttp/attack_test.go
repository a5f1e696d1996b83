package plainhttp_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/plainhttp"
	"github.com/jovalle/usher/proxy/routing"
)

// attacks are requests for unpublished hosts or paths, or with forged headers about
// the client. Each uses the hosts of a recordingBackend's routes.
var attacks = map[string]string{
	"opaque target":                           "GET x:http://private.is/secret HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"opaque target, POST":                     "POST x:http://private.is/secret HTTP/1.1\r\nHost: fwd.is\r\nContent-Length: 1\r\n\r\nx",
	"opaque target to a narrowed host":        "GET x:http://narrow.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"opaque target that ends in ACME":         "GET x:http://private.is/.well-known/acme-challenge/a HTTP/1.1\r\nHost: red.is\r\n\r\n",
	"opaque target, path and ACME":            "GET x:/admin/delete?id=1&x=://h/.well-known/acme-challenge/abc HTTP/1.1\r\nHost: deny.is\r\nCookie: a=b\r\n\r\n",
	"opaque http":                             "GET http:private.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"absolute form of another host":           "GET http://private.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"absolute form of an accepted host":       "GET http://fwd.is/ HTTP/1.1\r\nHost: private.is\r\n\r\n",
	"absolute form, userinfo":                 "GET http://fwd.is@private.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"absolute form, own userinfo":             "GET http://x@fwd.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"absolute form, backslash":                "GET http://private.is\\@fwd.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"absolute form, empty host":               "GET http:///private.is HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"absolute form, other scheme":             "GET ftp://fwd.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"authority form":                          "GET fwd.is:80 HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"CONNECT":                                 "CONNECT private.is:80 HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"CONNECT, origin form":                    "CONNECT / HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"asterisk":                                "GET * HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"fragment":                                "GET /#http://private.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"two hosts in one":                        "GET / HTTP/1.1\r\nHost: fwd.is:80,private.is\r\n\r\n",
	"brackets":                                "GET / HTTP/1.1\r\nHost: [fwd.is]:x\r\n\r\n",
	"port of letters":                         "GET / HTTP/1.1\r\nHost: fwd.is:http\r\n\r\n",
	"two ports":                               "GET / HTTP/1.1\r\nHost: fwd.is:80:80\r\n\r\n",
	"empty port":                              "GET / HTTP/1.1\r\nHost: fwd.is:\r\n\r\n",
	"host with userinfo":                      "GET / HTTP/1.1\r\nHost: private.is@fwd.is\r\n\r\n",
	"host in another alphabet":                "GET / HTTP/1.1\r\nHost: \xef\xbd\x86wd.is\r\n\r\n",
	"host with an asterisk":                   "GET / HTTP/1.1\r\nHost: *.wild.is\r\n\r\n",
	"two Host headers":                        "GET / HTTP/1.1\r\nHost: fwd.is\r\nHost: private.is\r\n\r\n",
	"folded Host header":                      "GET / HTTP/1.1\r\nHost: fwd.is\r\n private.is\r\n\r\n",
	"second request in absolute form":         "GET /1 HTTP/1.1\r\nHost: deny.is\r\n\r\nGET http://private.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"ACME path and dots":                      "GET /.well-known/acme-challenge/../../admin HTTP/1.1\r\nHost: deny.is\r\n\r\n",
	"ACME path and escapes":                   "GET /.well-known/acme-challenge/%2e%2e%2fadmin HTTP/1.1\r\nHost: deny.is\r\n\r\n",
	"ACME token with an escape":               "GET /.well-known/acme-challenge/%61 HTTP/1.1\r\nHost: deny.is\r\n\r\n",
	"ACME path and a body":                    "GET /.well-known/acme-challenge/a HTTP/1.1\r\nHost: deny.is\r\nContent-Length: 5\r\n\r\nhello",
	"ACME path and chunks":                    "GET /.well-known/acme-challenge/a HTTP/1.1\r\nHost: deny.is\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"ACME path, POST":                         "POST /.well-known/acme-challenge/a HTTP/1.1\r\nHost: deny.is\r\nContent-Length: 0\r\n\r\n",
	"smuggled by both lengths":                "POST / HTTP/1.1\r\nHost: fwd.is\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET http://private.is/ HTTP/1.1\r\nHost: private.is\r\n\r\n",
	"smuggled by a chunk's length":            "POST / HTTP/1.1\r\nHost: fwd.is\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: private.is\r\n\r\n",
	"smuggled behind HTTP/2's preface":        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\nHost: private.is\r\n\r\n",
	"h2c":                                     "GET / HTTP/1.1\r\nHost: fwd.is\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
	"client headers, forged":                  "GET / HTTP/1.1\r\nHost: fwd.is\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Host: private.is\r\nX-Forwarded-Uri: /x\r\nX-Forwarded-Prefix: /y\r\nX-Forwarded-Tls-Client-Cert: x\r\nForwarded: for=9.9.9.9\r\nX-Real-Ip: 9.9.9.9\r\n\r\n",
	"client headers, forged with underscores": "GET / HTTP/1.1\r\nHost: fwd.is\r\nX_Forwarded_For: 9.9.9.9\r\nX-Forwarded_Proto: https\r\nX_Real_IP: 9.9.9.9\r\nx-forwarded_Host: private.is\r\n\r\n",
	"client headers, removed by Connection":   "GET / HTTP/1.1\r\nHost: fwd.is\r\nConnection: close, X-Forwarded-For, X-Forwarded-Proto, Via\r\n\r\n",
	"client headers, forged in a challenge":   "GET /.well-known/acme-challenge/a HTTP/1.1\r\nHost: red.is\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Host: private.is\r\nCookie: a=b\r\n\r\n",
	"client headers, forged in a trailer":     "POST / HTTP/1.1\r\nHost: fwd.is\r\nTransfer-Encoding: chunked\r\nTrailer: X-Forwarded-Host\r\n\r\n0\r\nX-Forwarded-Host: private.is\r\n\r\n",
	"ACME and an upgrade to a WebSocket":      "GET /.well-known/acme-challenge/a HTTP/1.1\r\nHost: red.is\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
	"private host":                            "GET / HTTP/1.1\r\nHost: private.is\r\n\r\n",
	"host that does not allow the client":     "GET / HTTP/1.1\r\nHost: narrow.is\r\n\r\n",
}

// validRequests must be forwarded.
var validRequests = map[string]string{
	"GET":          "GET /a?b=c HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"POST":         "POST /a HTTP/1.1\r\nHost: fwd.is:8080\r\nContent-Length: 4\r\n\r\nbody",
	"chunks":       "POST /a HTTP/1.1\r\nHost: fwd.is\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
	"absolute":     "GET http://fwd.is/a?b HTTP/1.1\r\nHost: FWD.is\r\n\r\n",
	"OPTIONS *":    "OPTIONS * HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"WebSocket":    "GET /ws HTTP/1.1\r\nHost: fwd.is\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
	"challenge":    "GET /.well-known/acme-challenge/A-z_09 HTTP/1.1\r\nHost: red.is\r\n\r\n",
	"HEAD":         "HEAD /.well-known/acme-challenge/a HTTP/1.0\r\nHost: deny.is\r\n\r\n",
	"below *":      "GET / HTTP/1.1\r\nHost: a.wild.is\r\n\r\n",
	"two requests": "GET /1 HTTP/1.1\r\nHost: fwd.is\r\n\r\nGET /2 HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
}

// recordingBackend is a backend of several hosts, as a Traefik is, that records each
// request which should not have been forwarded. The rules are written here
// independently of the code under test.
type recordingBackend struct {
	addr netip.AddrPort

	mu         sync.Mutex
	requests   int
	violations []string
}

func newRecordingBackend(t testing.TB) *recordingBackend {
	t.Helper()
	listener := testkit.Listen(t)
	w := &recordingBackend{addr: listener.Addr().(*net.TCPAddr).AddrPort()}
	server := &http.Server{Handler: w, ReadHeaderTimeout: testkit.Timeout, DisableGeneralOptionsHandler: true}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	return w
}

func (w *recordingBackend) routes() []routing.Route {
	backends := []routing.Backend{{Cluster: "hades", Addresses: []string{w.addr.Addr().String()}, HTTPPort: w.addr.Port()}}
	return []routing.Route{
		{Host: "fwd.is", PlainHTTP: routing.Forward, Backends: backends},
		{Host: "*.wild.is", PlainHTTP: routing.Forward, Backends: backends},
		{Host: "red.is", Backends: backends},
		{Host: "deny.is", PlainHTTP: routing.Deny, Backends: backends},
		{Host: "narrow.is", PlainHTTP: routing.Forward, Backends: backends, AllowFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
	}
}

var (
	forwardedHost = regexp.MustCompile(`^(fwd|[a-z0-9_-]+\.wild)\.is(:[0-9]{1,5})?$`)
	answeredHost  = regexp.MustCompile(`^(red|deny)\.is(:[0-9]{1,5})?$`)
	acmeTarget    = regexp.MustCompile(`^/\.well-known/acme-challenge/[A-Za-z0-9_-]+$`)
	clientHeader  = regexp.MustCompile(`(?i)^(x[-_]forwarded([-_].*)?|forwarded|x[-_]real[-_]ip)$`)
)

// violation returns what is wrong with a request, or "".
func violation(r *http.Request, body []byte) string {
	acme := acmeTarget.MatchString(r.RequestURI) && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		len(body) == 0 && r.Header.Get("Upgrade") == "" && r.Header.Get("Cookie") == ""
	switch {
	case !forwardedHost.MatchString(r.Host) && !(answeredHost.MatchString(r.Host) && acme):
		return "request for an unpublished host or path"
	case !strings.HasPrefix(r.RequestURI, "/") && (r.RequestURI != "*" || r.Method != http.MethodOptions):
		return "target is not a path"
	case r.Method == http.MethodConnect:
		return "request for a tunnel"
	}
	for name, values := range r.Header {
		want := map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": r.Host, "X-Forwarded-Proto": "http"}[name]
		if clientHeader.MatchString(name) && (len(values) != 1 || values[0] != want) {
			return fmt.Sprintf("forged header %s: %q", name, values)
		}
	}
	for name := range r.Trailer {
		return "trailer " + name
	}
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Via"} {
		if r.Header.Get(name) == "" {
			return "no header " + name
		}
	}
	if upgrade := r.Header.Get("Upgrade"); upgrade != "" && upgrade != "websocket" {
		return "upgrade to " + upgrade
	}
	return ""
}

// ServeHTTP implements http.Handler.
func (w *recordingBackend) ServeHTTP(response http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	problem := violation(r, body)
	w.mu.Lock()
	w.requests++
	if problem != "" {
		w.violations = append(w.violations, fmt.Sprintf("%s: %s %s %s %v", problem, r.Method, r.Host, r.RequestURI, r.Header))
	}
	w.mu.Unlock()
	fmt.Fprint(response, "secret")
}

// check fails the test if a request should not have been forwarded. It returns the
// number of requests since the last call.
func (w *recordingBackend) check(t *testing.T) int {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, violation := range w.violations {
		t.Error("the backend received: ", violation)
	}
	requests := w.requests
	w.requests, w.violations = 0, nil
	return requests
}

func TestAttacksReachNoBackend(t *testing.T) {
	backend := newRecordingBackend(t)
	addr := start(t, backend.routes())
	for name, request := range attacks {
		t.Run(name, func(t *testing.T) {
			answer := exchange(t, addr, []byte(request))
			reached := backend.check(t) > 0
			clean := regexp.MustCompile("^(client headers|h2c|smuggled by both|ACME and an upgrade)").MatchString(name)
			if reached && !clean {
				t.Errorf("the backend received the request, and the client %q", answer)
			}
			if !clean && !strings.HasPrefix(answer, "HTTP/1.1 4") && !strings.HasPrefix(answer, "HTTP/1.1 5") {
				t.Errorf("answered %.200q", answer)
			}
		})
	}
	for name, request := range validRequests {
		t.Run("honest "+name, func(t *testing.T) {
			answer := exchange(t, addr, []byte(request))
			if backend.check(t) == 0 || !strings.HasPrefix(answer, "HTTP/1.1 200") && !strings.HasPrefix(answer, "HTTP/1.0 200") {
				t.Errorf("answered %.200q", answer)
			}
		})
	}
}

// last is a request whose response closes the connection.
const last = "GET / HTTP/1.1\r\nHost: none.is\r\nConnection: close\r\n\r\n"

// exchange sends bytes and then last, and returns everything that it receives.
func exchange(t testing.TB, addr string, request []byte) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, testkit.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(testkit.Timeout))
	_, _ = conn.Write(request)
	// Most responses close the connection. The response to last always does.
	_, _ = io.WriteString(conn, last)
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// FuzzRequest checks for any bytes that a backend receives only requests for hosts
// that are published on plain HTTP, and only ACME challenges unless the route
// forwards all requests.
func FuzzRequest(f *testing.F) {
	for _, request := range attacks {
		f.Add([]byte(request))
	}
	for _, request := range validRequests {
		f.Add([]byte(request))
	}
	backend := newRecordingBackend(f)
	addr := start(f, backend.routes(), func(s *plainhttp.Server) { s.Handler.Timeouts.Hello = 200 * time.Millisecond })
	f.Fuzz(func(t *testing.T, request []byte) {
		conn, err := net.DialTimeout("tcp", addr, testkit.Timeout)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// A half-close would cancel the request in progress. The deadline ends the
		// wait for a response to an incomplete request.
		_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = conn.Write(request)
		_, _ = io.WriteString(conn, last)
		_, _ = io.Copy(io.Discard, conn)
		backend.check(t)
	})
}

// The backend does not answer the challenges while clients send many of them.
func TestChallengesAreBounded(t *testing.T) {
	var asked sync.WaitGroup
	release := make(chan struct{})
	inside := make(chan struct{}, 1000)
	backend := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		inside <- struct{}{}
		<-release
		fmt.Fprint(w, "answer")
	})
	other := origin(t)
	other.Cluster = "illmatic"
	addr := start(t, []routing.Route{
		{Host: "slow.is", Backends: []routing.Backend{backend}},
		{Host: "other.is", Backends: []routing.Backend{other}},
	})
	const clients = 100
	const challenge = "GET /.well-known/acme-challenge/a HTTP/1.1\r\nHost: slow.is\r\nConnection: close\r\n\r\n"
	statuses := make(chan int, clients)
	for range clients {
		conn := connect(t, addr)
		asked.Go(func() {
			fmt.Fprint(conn, challenge)
			if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				statuses <- response.StatusCode
			}
		})
	}
	const most = 16
	for range clients - most {
		if status := <-statuses; status != http.StatusServiceUnavailable {
			t.Errorf("answered %d while the cluster has %d challenges", status, most)
		}
	}
	if response, _ := send(t, addr, strings.Replace(challenge, "slow.is", "other.is", 1)); response.StatusCode != http.StatusOK {
		t.Errorf("another cluster's challenge is answered %d", response.StatusCode)
	}
	close(release)
	for range most {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("answered %d, want 200", status)
		}
	}
	asked.Wait()
	if len(inside) != most {
		t.Errorf("the backend received %d requests, want %d", len(inside), most)
	}
	if response, body := send(t, addr, challenge); response.StatusCode != http.StatusOK || body != "answer" {
		t.Errorf("afterwards: answered %d %q", response.StatusCode, body)
	}
}

func TestChallengeResponses(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		status int
	}{
		"key authorization": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "token.key") }, 200},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Set-Cookie", "a=b")
			http.Redirect(w, r, "https://a.is/x", http.StatusMovedPermanently)
		}, 301},
		"far too long":          {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) }, 502},
		"an upgrade":            {func(w http.ResponseWriter, _ *http.Request) { echoUpgraded(w) }, 502},
		"far too long a header": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, 502},
	} {
		t.Run(name, func(t *testing.T) {
			addr := start(t, []routing.Route{{Host: "a.is", Backends: []routing.Backend{serveHTTP(t, tt.answer)}}})
			response, _ := send(t, addr, "GET /.well-known/acme-challenge/a HTTP/1.1\r\nHost: a.is\r\nConnection: close\r\n\r\n")
			if response.StatusCode != tt.status || response.Header.Get("Set-Cookie") != "" {
				t.Errorf("answered %d with %v, want %d", response.StatusCode, response.Header, tt.status)
			}
			if tt.status == 301 && response.Header.Get("Location") != "https://a.is/x" {
				t.Errorf("redirected to %q", response.Header.Get("Location"))
			}
		})
	}
}

// serveHTTP starts a backend with one handler.
func serveHTTP(t *testing.T, handler http.HandlerFunc) routing.Backend {
	t.Helper()
	listener := testkit.Listen(t)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: testkit.Timeout}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	addr := listener.Addr().(*net.TCPAddr).AddrPort()
	return routing.Backend{Cluster: "hades", Addresses: []string{addr.Addr().String()}, HTTPPort: addr.Port()}
}

// The backends of TestRoutesThatLeadBack are the server itself: at its own address,
// and behind a relay that hides the address, as NAT does.
func TestRoutesThatLeadBack(t *testing.T) {
	for name, hidden := range map[string]bool{"own address": false, "behind a relay": true} {
		for _, path := range []string{"/", "/.well-known/acme-challenge/a"} {
			t.Run(name+" "+path, func(t *testing.T) {
				var own netip.AddrPort
				table := &routing.Live{}
				accepted := &countingListener{Listener: testkit.Listen(t)}
				own = accepted.Addr().(*net.TCPAddr).AddrPort()
				addr := startOn(t, accepted, nil, func(s *plainhttp.Server) {
					s.Handler.Table = table
					s.Handler.IsOwnAddress = func(addr netip.AddrPort) bool { return addr == own }
				})
				target := own
				if hidden {
					target = relay(t, own)
				}
				table.Store(routing.NewTable([]routing.Route{{Host: "a.is", PlainHTTP: routing.Forward, Backends: []routing.Backend{
					{Addresses: []string{target.Addr().String()}, HTTPPort: target.Port()},
				}}}))
				response, _ := send(t, addr, "GET "+path+" HTTP/1.1\r\nHost: a.is\r\nConnection: close\r\n\r\n")
				if response.StatusCode != http.StatusLoopDetected {
					t.Errorf("answered %d, want 508", response.StatusCode)
				}
				if n := accepted.count.Load(); n > 2 {
					t.Errorf("one request took %d connections", n)
				}
			})
		}
	}
}

// An object of a member names a loopback address of the edge, or a host name that
// resolves to one, or a configured host name resolves to an address outside of its
// networks: nothing is dialled.
func TestBackendAddressesThatAreNotDialled(t *testing.T) {
	for name, backend := range map[string]routing.Backend{
		"an address":    {Addresses: []string{"127.0.0.1"}, Discovered: true},
		"a name":        {Addresses: []string{"localhost"}, Discovered: true},
		"its networks":  {Addresses: []string{"localhost"}, Networks: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")}},
		"with a header": {Addresses: []string{"127.0.0.1"}, Discovered: true, HTTPProxyProtocol: routing.V2},
	} {
		for _, path := range []string{"/", "/.well-known/acme-challenge/a"} {
			t.Run(name+" "+path, func(t *testing.T) {
				hidden := &countingListener{Listener: testkit.Listen(t)}
				server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: testkit.Timeout}
				go func() { _ = server.Serve(hidden) }()
				t.Cleanup(func() { server.Close() })
				backend.HTTPPort = hidden.Addr().(*net.TCPAddr).AddrPort().Port()
				addr := start(t, []routing.Route{{Host: "a.is", PlainHTTP: routing.Forward, Backends: []routing.Backend{backend}}})
				response, _ := send(t, addr, "GET "+path+" HTTP/1.1\r\nHost: a.is\r\nConnection: close\r\n\r\n")
				if response.StatusCode != http.StatusBadGateway || hidden.count.Load() > 0 {
					t.Errorf("answered %d after %d connections", response.StatusCode, hidden.count.Load())
				}
			})
		}
	}
}

// countingListener counts its connections.
type countingListener struct {
	net.Listener
	count atomic.Int64
}

// Accept implements net.Listener.
func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.count.Add(1)
	}
	return conn, err
}

// relay forwards connections to an address until the test ends.
func relay(t testing.TB, to netip.AddrPort) netip.AddrPort {
	t.Helper()
	listener := testkit.Listen(t)
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go pass(from, to)
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

func pass(from net.Conn, to netip.AddrPort) {
	defer from.Close()
	onward, err := net.Dial("tcp", to.String())
	if err != nil {
		return
	}
	defer onward.Close()
	go func() {
		_, _ = io.Copy(onward, from)
		_ = onward.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(from, onward)
}

// The listener fails a few times, as when the kernel has no memory left.
func TestAcceptErrorsEndNothing(t *testing.T) {
	broken := &brokenListener{Listener: testkit.Listen(t)}
	broken.left.Store(3)
	addr := startOn(t, broken, []routing.Route{{Host: "a.is"}})
	if response, _ := send(t, addr, "GET / HTTP/1.1\r\nHost: a.is\r\n\r\n"); response.StatusCode != http.StatusPermanentRedirect {
		t.Errorf("answered %d", response.StatusCode)
	}
}

// brokenListener returns an error from the first calls of Accept.
type brokenListener struct {
	net.Listener
	left atomic.Int64
}

// Accept implements net.Listener.
func (l *brokenListener) Accept() (net.Conn, error) {
	if l.left.Add(-1) >= 0 {
		return nil, syscall.ENOMEM
	}
	return l.Listener.Accept()
}
