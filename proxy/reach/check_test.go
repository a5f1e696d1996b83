package reach

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/jovalle/usher/hack/test/testkit"
)

// fast checks many times a second. Programs that do not respond use up its timeout.
var fast = timing{interval: 20 * time.Millisecond, shadowed: 20 * time.Millisecond, tries: 3, retryInterval: time.Millisecond, timeout: 500 * time.Millisecond}

// A switchedListener passes its connections to a handler that can be replaced.
type switchedListener struct {
	net.Listener
	handler  atomic.Pointer[func(net.Conn)]
	accepted atomic.Int64
}

func openSwitched(t *testing.T, handler func(net.Conn)) *switchedListener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &switchedListener{Listener: listener}
	d.handler.Store(&handler)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			d.accepted.Add(1)
			conns.Go(func() { defer conn.Close(); (*d.handler.Load())(conn) })
		}
	})
	t.Cleanup(func() { listener.Close(); conns.Wait() })
	return d
}

func (d *switchedListener) at() netip.AddrPort { return d.Addr().(*net.TCPAddr).AddrPort() }

// usherTLS handles a connection as a TLS listener of usher does.
func usherTLS(c *Check) func(net.Conn) {
	return func(conn net.Conn) {
		config := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c.Seen(hello.ServerName)
			return nil, errors.New("refused")
		}}
		_ = tls.Server(conn, config).Handshake()
	}
}

// usherHTTP handles a connection as a plain HTTP listener of usher does.
func usherHTTP(c *Check) func(net.Conn) {
	return func(conn net.Conn) {
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		c.Seen(request.Host)
		_, _ = conn.Write([]byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
	}
}

// Programs that are not usher.

func silent(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

func closes(net.Conn) {}

func respondsHTTP(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 1))
	_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
}

func showsCertificate(t *testing.T, name string) func(net.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}}
	return func(conn net.Conn) { _ = tls.Server(conn, config).Handshake() }
}

// begin runs a check of a loopback address until the test ends.
func begin(t *testing.T, c *Check) {
	t.Helper()
	c.timing = fast
	var err error
	if c.Addresses, err = ParseAddresses([]string{"127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
}

func TestConnectionsReachAnotherProgram(t *testing.T) {
	for name, tt := range map[string]struct {
		other    func(t *testing.T) func(net.Conn)
		plain    bool
		wantText string
	}{
		"shows a certificate":          {func(t *testing.T) func(net.Conn) { return showsCertificate(t, "TRAEFIK DEFAULT CERT") }, false, `(certificate "TRAEFIK DEFAULT CERT")`},
		"shows a long one":             {func(t *testing.T) func(net.Conn) { return showsCertificate(t, strings.Repeat("x", 1000)) }, false, `(certificate "` + strings.Repeat("x", 64) + `")`},
		"does not respond":             {func(*testing.T) func(net.Conn) { return silent }, false, ""},
		"closes the connection":        {func(*testing.T) func(net.Conn) { return closes }, false, ""},
		"responds by HTTP":             {func(*testing.T) func(net.Conn) { return respondsHTTP }, false, ""},
		"on port 80":                   {func(*testing.T) func(net.Conn) { return respondsHTTP }, true, ""},
		"on port 80, does not respond": {func(*testing.T) func(net.Conn) { return silent }, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var log testkit.Log
			c := &Check{Log: funcr.New(log.Add, funcr.Options{})}
			usher := usherTLS(c)
			if tt.plain {
				usher = usherHTTP(c)
			}
			other := tt.other(t)
			d := openSwitched(t, other)
			if c.HTTPS = []netip.AddrPort{d.at()}; tt.plain {
				c.HTTP, c.HTTPS = c.HTTPS, nil
			}
			begin(t, c)
			testkit.WaitFor(t, "the other program to be detected", func() bool {
				err := c.Err()
				return err != nil && strings.Contains(err.Error(), d.at().String()) && strings.Contains(err.Error(), "--disable=servicelb") && strings.Contains(err.Error(), tt.wantText)
			})
			if n := len(log.With("Connections reach another program")); n != 1 {
				t.Errorf("it is logged %d times", n)
			}
			d.handler.Store(&usher)
			testkit.WaitFor(t, "usher to be detected", func() bool { return c.Err() == nil })
			testkit.WaitFor(t, "a log line about it", func() bool { return len(log.With("Connections reach usher again")) == 1 })
			d.handler.Store(&other)
			testkit.WaitFor(t, "the other program to be detected again", func() bool { return c.Err() != nil })
		})
	}
}

// Unknown results leave usher ready, however many there are.
func TestUnknownResultsKeepUsherReady(t *testing.T) {
	rounds := func(c *Check, n uint64) func() bool {
		return func() bool { return c.results[unknown].Load() >= n }
	}
	t.Run("no listener", func(t *testing.T) {
		d := openSwitched(t, closes)
		d.Close()
		c := &Check{HTTPS: []netip.AddrPort{d.at()}}
		begin(t, c)
		testkit.WaitFor(t, "ten rounds", rounds(c, 10))
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	})
	t.Run("there are too many connections", func(t *testing.T) {
		d := openSwitched(t, closes)
		var refused atomic.Uint64
		c := &Check{HTTPS: []netip.AddrPort{d.at()}, Limited: func() uint64 { return refused.Add(1) }}
		begin(t, c)
		testkit.WaitFor(t, "ten rounds", rounds(c, 10))
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	})
	t.Run("another process takes over", func(t *testing.T) {
		former, err := announce(t).Listen(t.Context(), "127.0.0.1:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer former.Close()
		c := &Check{HTTPS: []netip.AddrPort{former.Addr().(*net.TCPAddr).AddrPort()}}
		serve(former, usherTLS(c))
		begin(t, c)
		testkit.WaitFor(t, "the first round", func() bool { return c.Err() == nil })
		second, err := announce(t).Listen(t.Context(), former.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		serve(second, closes)
		testkit.WaitFor(t, "ten rounds after the take-over", rounds(c, 10))
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	})
}

func serve(listener net.Listener, handler func(net.Conn)) {
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			handler(conn)
			conn.Close()
		}
	}()
}

// Another program that gets the connections gets one in each round, except in the
// first, which needs several.
func TestConnectionsPerRound(t *testing.T) {
	a, err := ParseAddresses([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	d := openSwitched(t, closes)
	c := &Check{Addresses: a, HTTPS: []netip.AddrPort{d.at()}, timing: fast}
	for round, want := range []int64{3, 4, 5} {
		c.round(t.Context())
		if accepted := d.accepted.Load(); accepted != want {
			t.Errorf("%d connections until round %d, want %d", accepted, round, want)
		}
	}
}

func TestNotReadyBeforeTheFirstRound(t *testing.T) {
	c := &Check{}
	if err := c.Err(); err != nil {
		t.Errorf("switched off: %v", err)
	}
	c.Addresses = Addresses{auto: true}
	c.HTTPS = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:443")}
	if err := c.Err(); err != nil {
		t.Errorf("without an address to check: %v", err)
	}
	d := openSwitched(t, silent)
	c.HTTPS = []netip.AddrPort{d.at()}
	begin(t, c)
	if err := c.Err(); !errors.Is(err, errNoRoundYet) {
		t.Errorf("before the first round: %v", err)
	}
}

func TestSeenAcceptsOnlyTheExpectedName(t *testing.T) {
	c := &Check{}
	if c.Seen(newExpectation().name) {
		t.Error("a name is seen without a probe")
	}
	e := newExpectation()
	c.expected.Store(e)
	_, tail, _ := strings.Cut(e.name, ".")
	for _, name := range []string{"", suffix, "whoami.techn.is", newExpectation().name, "x." + tail, e.name + ".", "a" + e.name, e.name[1:], strings.ToUpper(e.name)} {
		if c.Seen(name) {
			t.Errorf("%q is accepted as %q", name, e.name)
		}
	}
	var matches atomic.Int64
	var racing sync.WaitGroup
	for range 8 {
		racing.Go(func() {
			if c.Seen(e.name) {
				matches.Add(1)
			}
		})
	}
	racing.Wait()
	if matches.Load() != 1 {
		t.Errorf("the name is seen %d times", matches.Load())
	}
}

func BenchmarkSeenUnknownHost(b *testing.B) {
	c := &Check{}
	for b.Loop() {
		c.Seen("whoami.techn.is")
	}
}
