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

// attacks are requests that ask a backend for what nobody published, or say that
// somebody else asks. Each is about the hosts of a witness's routes.
var attacks = map[string]string{
	"opaque target":                        "GET x:http://private.is/secret HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"opaque target, POST":                  "POST x:http://private.is/secret HTTP/1.1\r\nHost: fwd.is\r\nContent-Length: 1\r\n\r\nx",
	"opaque target to a narrowed host":     "GET x:http://narrow.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"opaque target that ends in ACME":      "GET x:http://private.is/.well-known/acme-challenge/a HTTP/1.1\r\nHost: red.is\r\n\r\n",
	"opaque target, path and ACME":         "GET x:/admin/delete?id=1&x=://h/.well-known/acme-challenge/abc HTTP/1.1\r\nHost: deny.is\r\nCookie: a=b\r\n\r\n",
	"opaque http":                          "GET http:private.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"absolute form of another host":        "GET http://private.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"absolute form of an accepted host":    "GET http://fwd.is/ HTTP/1.1\r\nHost: private.is\r\n\r\n",
	"absolute form, userinfo":              "GET http://fwd.is@private.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"absolute form, own userinfo":          "GET http://x@fwd.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"absolute form, backslash":             "GET http://private.is\\@fwd.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"absolute form, empty host":            "GET http:///private.is HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"absolute form, other scheme":          "GET ftp://fwd.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"authority form":                       "GET fwd.is:80 HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"CONNECT":                              "CONNECT private.is:80 HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"CONNECT, origin form":                 "CONNECT / HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"asterisk":                             "GET * HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"fragment":                             "GET /#http://private.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"two hosts in one":                     "GET / HTTP/1.1\r\nHost: fwd.is:80,private.is\r\n\r\n",
	"brackets":                             "GET / HTTP/1.1\r\nHost: [fwd.is]:x\r\n\r\n",
	"port of letters":                      "GET / HTTP/1.1\r\nHost: fwd.is:http\r\n\r\n",
	"two ports":                            "GET / HTTP/1.1\r\nHost: fwd.is:80:80\r\n\r\n",
	"empty port":                           "GET / HTTP/1.1\r\nHost: fwd.is:\r\n\r\n",
	"host with userinfo":                   "GET / HTTP/1.1\r\nHost: private.is@fwd.is\r\n\r\n",
	"host in another alphabet":             "GET / HTTP/1.1\r\nHost: \xef\xbd\x86wd.is\r\n\r\n",
	"host with an asterisk":                "GET / HTTP/1.1\r\nHost: *.wild.is\r\n\r\n",
	"two Host headers":                     "GET / HTTP/1.1\r\nHost: fwd.is\r\nHost: private.is\r\n\r\n",
	"folded Host header":                   "GET / HTTP/1.1\r\nHost: fwd.is\r\n private.is\r\n\r\n",
	"second request in absolute form":      "GET /1 HTTP/1.1\r\nHost: deny.is\r\n\r\nGET http://private.is/ HTTP/1.1\r\nHost: fwd.is\r\n\r\n",
	"ACME path and dots":                   "GET /.well-known/acme-challenge/../../admin HTTP/1.1\r\nHost: deny.is\r\n\r\n",
	"ACME path and escapes":                "GET /.well-known/acme-challenge/%2e%2e%2fadmin HTTP/1.1\r\nHost: deny.is\r\n\r\n",
	"ACME token with an escape":            "GET /.well-known/acme-challenge/%61 HTTP/1.1\r\nHost: deny.is\r\n\r\n",
	"ACME path and a body":                 "GET /.well-known/acme-challenge/a HTTP/1.1\r\nHost: deny.is\r\nContent-Length: 5\r\n\r\nhello",
	"ACME path and chunks":                 "GET /.well-known/acme-challenge/a HTTP/1.1\r\nHost: deny.is\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"ACME path, POST":                      "POST /.well-known/acme-challenge/a HTTP/1.1\r\nHost: deny.is\r\nContent-Length: 0\r\n\r\n",
	"smuggled by both lengths":             "POST / HTTP/1.1\r\nHost: fwd.is\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET http://private.is/ HTTP/1.1\r\nHost: private.is\r\n\r\n",
	"smuggled by a chunk's length":         "POST / HTTP/1.1\r\nHost: fwd.is\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: private.is\r\n\r\n",
	"smuggled behind HTTP/2's preface":     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\nHost: private.is\r\n\r\n",
	"h2c":                                  "GET / HTTP/1.1\r\nHost: fwd.is\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
	"who asks, forged":                     "GET / HTTP/1.1\r\nHost: fwd.is\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Host: private.is\r\nX-Forwarded-Uri: /x\r\nX-Forwarded-Prefix: /y\r\nX-Forwarded-Tls-Client-Cert: x\r\nForwarded: for=9.9.9.9\r\nX-Real-Ip: 9.9.9.9\r\n\r\n",
	"who asks, forged with underscores":    "GET / HTTP/1.1\r\nHost: fwd.is\r\nX_Forwarded_For: 9.9.9.9\r\nX-Forwarded_Proto: https\r\nX_Real_IP: 9.9.9.9\r\nx-forwarded_Host: private.is\r\n\r\n",
	"who asks, removed by Connection":      "GET / HTTP/1.1\r\nHost: fwd.is\r\nConnection: close, X-Forwarded-For, X-Forwarded-Proto, Via\r\n\r\n",
	"who asks, forged in a challenge":      "GET /.well-known/acme-challenge/a HTTP/1.1\r\nHost: red.is\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Host: private.is\r\nCookie: a=b\r\n\r\n",
	"who asks, forged in a trailer":        "POST / HTTP/1.1\r\nHost: fwd.is\r\nTransfer-Encoding: chunked\r\nTrailer: X-Forwarded-Host\r\n\r\n0\r\nX-Forwarded-Host: private.is\r\n\r\n",
	"ACME and an upgrade to a WebSocket":   "GET /.well-known/acme-challenge/a HTTP/1.1\r\nHost: red.is\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
	"private host":                         "GET / HTTP/1.1\r\nHost: private.is\r\n\r\n",
	"host that does not let the client in": "GET / HTTP/1.1\r\nHost: narrow.is\r\n\r\n",
}

// honest are requests that must go on to work.
var honest = map[string]string{
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

// witness is a backend of several hosts, as a Traefik is, that notes each request
// which nobody may make. What may be asked is written here, apart from the code
// under test.
type witness struct {
	addr netip.AddrPort

	mu         sync.Mutex
	requests   int
	violations []string
}

func newWitness(t testing.TB) *witness {
	t.Helper()
	listener := testkit.Listen(t)
	w := &witness{addr: listener.Addr().(*net.TCPAddr).AddrPort()}
	server := &http.Server{Handler: w, ReadHeaderTimeout: testkit.Timeout, DisableGeneralOptionsHandler: true}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	return w
}

func (w *witness) routes() []routing.Route {
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
	whoAsks       = regexp.MustCompile(`(?i)^(x[-_]forwarded([-_].*)?|forwarded|x[-_]real[-_]ip)$`)
)

// violation says what is wrong with a request, or returns "".
func violation(r *http.Request, body []byte) string {
	acme := acmeTarget.MatchString(r.RequestURI) && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		len(body) == 0 && r.Header.Get("Upgrade") == "" && r.Header.Get("Cookie") == ""
	switch {
	case !forwardedHost.MatchString(r.Host) && !(answeredHost.MatchString(r.Host) && acme):
		return "asked for what is not published"
	case !strings.HasPrefix(r.RequestURI, "/") && (r.RequestURI != "*" || r.Method != http.MethodOptions):
		return "with another target than a path"
	case r.Method == http.MethodConnect:
		return "asked for a tunnel"
	}
	for name, values := range r.Header {
		want := map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": r.Host, "X-Forwarded-Proto": "http"}[name]
		if whoAsks.MatchString(name) && (len(values) != 1 || values[0] != want) {
			return fmt.Sprintf("says %s: %q", name, values)
		}
	}
	for name := range r.Trailer {
		return "has a trailer " + name
	}
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Via"} {
		if r.Header.Get(name) == "" {
			return "does not say " + name
		}
	}
	if upgrade := r.Header.Get("Upgrade"); upgrade != "" && upgrade != "websocket" {
		return "asks for an upgrade to " + upgrade
	}
	return ""
}

// ServeHTTP implements http.Handler.
func (w *witness) ServeHTTP(response http.ResponseWriter, r *http.Request) {
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

// check fails the test if a request came that nobody may make, and returns how
// many came since the last time.
func (w *witness) check(t *testing.T) int {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, violation := range w.violations {
		t.Error("the backend was ", violation)
	}
	requests := w.requests
	w.requests, w.violations = 0, nil
	return requests
}

func TestAttacksReachNobody(t *testing.T) {
	backend := newWitness(t)
	addr := start(t, backend.routes())
	for name, request := range attacks {
		t.Run(name, func(t *testing.T) {
			answer := exchange(t, addr, []byte(request))
			reached := backend.check(t) > 0
			clean := regexp.MustCompile("^(who asks|h2c|smuggled by both|ACME and an upgrade)").MatchString(name)
			if reached && !clean {
				t.Errorf("the backend was asked, and the client told %q", answer)
			}
			if !clean && !strings.HasPrefix(answer, "HTTP/1.1 4") && !strings.HasPrefix(answer, "HTTP/1.1 5") {
				t.Errorf("answered %.200q", answer)
			}
		})
	}
	for name, request := range honest {
		t.Run("honest "+name, func(t *testing.T) {
			answer := exchange(t, addr, []byte(request))
			if backend.check(t) == 0 || !strings.HasPrefix(answer, "HTTP/1.1 200") && !strings.HasPrefix(answer, "HTTP/1.0 200") {
				t.Errorf("answered %.200q", answer)
			}
		})
	}
}

// last is a request whose answer ends the connection.
const last = "GET / HTTP/1.1\r\nHost: none.is\r\nConnection: close\r\n\r\n"

// exchange sends bytes and a last request, and returns all that comes back.
func exchange(t testing.TB, addr string, request []byte) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, testkit.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(testkit.Timeout))
	_, _ = conn.Write(request)
	// Most answers end the connection. Where one does not, a last request does.
	_, _ = io.WriteString(conn, last)
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// FuzzRequest holds the server to its promise whatever bytes come: a backend sees
// requests for the hosts that are accepted on plain HTTP alone, and none but
// ACME challenges unless they are forwarded.
func FuzzRequest(f *testing.F) {
	for _, request := range attacks {
		f.Add([]byte(request))
	}
	for _, request := range honest {
		f.Add([]byte(request))
	}
	backend := newWitness(f)
	addr := start(f, backend.routes(), func(s *plainhttp.Server) { s.Handler.Timeouts.Hello = 200 * time.Millisecond })
	f.Fuzz(func(t *testing.T, request []byte) {
		conn, err := net.DialTimeout("tcp", addr, testkit.Timeout)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// A client that ended its side would cancel what is under way. One whose
		// request is not complete is not waited for.
		_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = conn.Write(request)
		_, _ = io.WriteString(conn, last)
		_, _ = io.Copy(io.Discard, conn)
		backend.check(t)
	})
}

// TestChallengesAreBounded has a backend that answers no challenge while a client
// asks for many.
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
	if response, _ := ask(t, addr, strings.Replace(challenge, "slow.is", "other.is", 1)); response.StatusCode != http.StatusOK {
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
		t.Errorf("the backend was asked %d times, want %d", len(inside), most)
	}
	if response, body := ask(t, addr, challenge); response.StatusCode != http.StatusOK || body != "answer" {
		t.Errorf("afterwards: answered %d %q", response.StatusCode, body)
	}
}

// TestChallengeAnswers holds what a backend can do by its answer.
func TestChallengeAnswers(t *testing.T) {
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
			response, _ := ask(t, addr, "GET /.well-known/acme-challenge/a HTTP/1.1\r\nHost: a.is\r\nConnection: close\r\n\r\n")
			if response.StatusCode != tt.status || response.Header.Get("Set-Cookie") != "" {
				t.Errorf("answered %d with %v, want %d", response.StatusCode, response.Header, tt.status)
			}
			if tt.status == 301 && response.Header.Get("Location") != "https://a.is/x" {
				t.Errorf("redirected to %q", response.Header.Get("Location"))
			}
		})
	}
}

// serveHTTP is a backend of one handler.
func serveHTTP(t *testing.T, handler http.HandlerFunc) routing.Backend {
	t.Helper()
	listener := testkit.Listen(t)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: testkit.Timeout}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	addr := listener.Addr().(*net.TCPAddr).AddrPort()
	return routing.Backend{Cluster: "hades", Addresses: []string{addr.Addr().String()}, HTTPPort: addr.Port()}
}

// TestRoutesThatLeadBack has backends that are the server itself: at its own
// address, and behind a relay that hides it, as NAT does.
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
					s.Handler.LeadsHere = func(addr netip.AddrPort) bool { return addr == own }
				})
				target := own
				if hidden {
					target = relay(t, own)
				}
				table.Store(routing.NewTable([]routing.Route{{Host: "a.is", PlainHTTP: routing.Forward, Backends: []routing.Backend{
					{Addresses: []string{target.Addr().String()}, HTTPPort: target.Port()},
				}}}))
				response, _ := ask(t, addr, "GET "+path+" HTTP/1.1\r\nHost: a.is\r\nConnection: close\r\n\r\n")
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

// A member's object names the edge's own loopback, or a name that leads there, and a
// person's name leads out of its networks: nothing is dialled.
func TestBackendsThatMustNotLeadThere(t *testing.T) {
	for name, backend := range map[string]routing.Backend{
		"an address":    {Addresses: []string{"127.0.0.1"}, Discovered: true},
		"a name":        {Addresses: []string{"localhost"}, Discovered: true},
		"its networks":  {Addresses: []string{"localhost"}, Networks: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")}},
		"with a header": {Addresses: []string{"127.0.0.1"}, Discovered: true, ProxyProtocol: routing.V2},
	} {
		for _, path := range []string{"/", "/.well-known/acme-challenge/a"} {
			t.Run(name+" "+path, func(t *testing.T) {
				hidden := &countingListener{Listener: testkit.Listen(t)}
				server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: testkit.Timeout}
				go func() { _ = server.Serve(hidden) }()
				t.Cleanup(func() { server.Close() })
				backend.HTTPPort = hidden.Addr().(*net.TCPAddr).AddrPort().Port()
				addr := start(t, []routing.Route{{Host: "a.is", PlainHTTP: routing.Forward, Backends: []routing.Backend{backend}}})
				response, _ := ask(t, addr, "GET "+path+" HTTP/1.1\r\nHost: a.is\r\nConnection: close\r\n\r\n")
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

// relay passes connections on to an address, until the test ends.
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

// TestAcceptErrorsEndNothing has the kernel refuse connections for a while.
func TestAcceptErrorsEndNothing(t *testing.T) {
	broken := &brokenListener{Listener: testkit.Listen(t)}
	broken.left.Store(3)
	addr := startOn(t, broken, []routing.Route{{Host: "a.is"}})
	if response, _ := ask(t, addr, "GET / HTTP/1.1\r\nHost: a.is\r\n\r\n"); response.StatusCode != http.StatusPermanentRedirect {
		t.Errorf("answered %d", response.StatusCode)
	}
}

// brokenListener fails a few times.
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
