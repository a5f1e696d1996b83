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

// fast checks many times a second. Its patience is used up by those who say nothing.
var fast = pace{interval: 20 * time.Millisecond, shadowed: 20 * time.Millisecond, tries: 3, between: time.Millisecond, patience: 500 * time.Millisecond}

// A door is a listener whose connections go to its present owner.
type door struct {
	net.Listener
	behind atomic.Pointer[func(net.Conn)]
	taken  atomic.Int64
}

func open(t *testing.T, behind func(net.Conn)) *door {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{Listener: listener}
	d.behind.Store(&behind)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			d.taken.Add(1)
			conns.Go(func() { defer conn.Close(); (*d.behind.Load())(conn) })
		}
	})
	t.Cleanup(func() { listener.Close(); conns.Wait() })
	return d
}

func (d *door) at() netip.AddrPort { return d.Addr().(*net.TCPAddr).AddrPort() }

// own stands for a listener of this process that hears TLS.
func own(c *Check) func(net.Conn) {
	return func(conn net.Conn) {
		config := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c.Seen(hello.ServerName)
			return nil, errors.New("refused")
		}}
		_ = tls.Server(conn, config).Handshake()
	}
}

// ownPlain stands for one that hears plain HTTP.
func ownPlain(c *Check) func(net.Conn) {
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

func closing(net.Conn) {}

func talking(conn net.Conn) {
	_, _ = conn.Read(make([]byte, 1))
	_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
}

func certified(t *testing.T, name string) func(net.Conn) {
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

// begin runs a check of loopback until the test ends.
func begin(t *testing.T, c *Check) {
	t.Helper()
	c.pace = fast
	var err error
	if c.Addresses, err = ParseAddresses([]string{"127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
}

func TestConnectionsThatReachAnother(t *testing.T) {
	for name, tt := range map[string]struct {
		other func(t *testing.T) func(net.Conn)
		plain bool
		says  string
	}{
		"who shows a certificate":     {func(t *testing.T) func(net.Conn) { return certified(t, "TRAEFIK DEFAULT CERT") }, false, `(certificate "TRAEFIK DEFAULT CERT")`},
		"who shows a long one":        {func(t *testing.T) func(net.Conn) { return certified(t, strings.Repeat("x", 1000)) }, false, `(certificate "` + strings.Repeat("x", 64) + `")`},
		"who says nothing":            {func(*testing.T) func(net.Conn) { return silent }, false, ""},
		"who hangs up":                {func(*testing.T) func(net.Conn) { return closing }, false, ""},
		"who speaks HTTP":             {func(*testing.T) func(net.Conn) { return talking }, false, ""},
		"on port 80":                  {func(*testing.T) func(net.Conn) { return talking }, true, ""},
		"on port 80 who says nothing": {func(*testing.T) func(net.Conn) { return silent }, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var log testkit.Log
			c := &Check{Log: funcr.New(log.Add, funcr.Options{})}
			usher := own(c)
			if tt.plain {
				usher = ownPlain(c)
			}
			other := tt.other(t)
			d := open(t, other)
			if c.HTTPS = []netip.AddrPort{d.at()}; tt.plain {
				c.HTTP, c.HTTPS = c.HTTPS, nil
			}
			begin(t, c)
			testkit.WaitFor(t, "the other to be noticed", func() bool {
				err := c.Err()
				return err != nil && strings.Contains(err.Error(), d.at().String()) && strings.Contains(err.Error(), "--disable=servicelb") && strings.Contains(err.Error(), tt.says)
			})
			if n := len(log.With("Connections reach another program")); n != 1 {
				t.Errorf("it is logged %d times", n)
			}
			d.behind.Store(&usher)
			testkit.WaitFor(t, "its end to be noticed", func() bool { return c.Err() == nil })
			testkit.WaitFor(t, "a line about its end", func() bool { return len(log.With("Connections reach usher again")) == 1 })
			d.behind.Store(&other)
			testkit.WaitFor(t, "its return to be noticed", func() bool { return c.Err() != nil })
		})
	}
}

// What is no evidence leaves usher ready, however often it comes.
func TestNoEvidence(t *testing.T) {
	rounds := func(c *Check, n uint64) func() bool {
		return func() bool { return c.results[unknown].Load() >= n }
	}
	t.Run("nobody listens", func(t *testing.T) {
		d := open(t, closing)
		d.Close()
		c := &Check{HTTPS: []netip.AddrPort{d.at()}}
		begin(t, c)
		testkit.WaitFor(t, "ten rounds", rounds(c, 10))
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	})
	t.Run("there are too many connections", func(t *testing.T) {
		d := open(t, closing)
		var refused atomic.Uint64
		c := &Check{HTTPS: []netip.AddrPort{d.at()}, Limited: func() uint64 { return refused.Add(1) }}
		begin(t, c)
		testkit.WaitFor(t, "ten rounds", rounds(c, 10))
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a newcomer takes over", func(t *testing.T) {
		former, err := announce(t).Listen(t.Context(), "127.0.0.1:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer former.Close()
		c := &Check{HTTPS: []netip.AddrPort{former.Addr().(*net.TCPAddr).AddrPort()}}
		serve(former, own(c))
		begin(t, c)
		testkit.WaitFor(t, "the first round", func() bool { return c.Err() == nil })
		newcomer, err := announce(t).Listen(t.Context(), former.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer newcomer.Close()
		serve(newcomer, closing)
		testkit.WaitFor(t, "ten rounds beside the newcomer", rounds(c, 10))
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	})
}

func serve(listener net.Listener, behind func(net.Conn)) {
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			behind(conn)
			conn.Close()
		}
	}()
}

// Another that is asked in usher's place hears of it once in a round, but for the
// first.
func TestOneConnectionARoundReachesAnother(t *testing.T) {
	a, err := ParseAddresses([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, closing)
	c := &Check{Addresses: a, HTTPS: []netip.AddrPort{d.at()}, pace: fast}
	for round, want := range []int64{3, 4, 5} {
		c.round(t.Context())
		if taken := d.taken.Load(); taken != want {
			t.Errorf("%d connections until round %d, want %d", taken, round, want)
		}
	}
}

func TestNotReadyBeforeTheFirstRound(t *testing.T) {
	c := &Check{}
	if err := c.Err(); err != nil {
		t.Errorf("switched off it says %v", err)
	}
	c.Addresses = Addresses{auto: true}
	c.HTTPS = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:443")}
	if err := c.Err(); err != nil {
		t.Errorf("without an address to check it says %v", err)
	}
	d := open(t, silent)
	c.HTTPS = []netip.AddrPort{d.at()}
	begin(t, c)
	if err := c.Err(); !errors.Is(err, errNotYet) {
		t.Errorf("at once it says %v", err)
	}
}

func TestAStrangerCannotPassForTheCheck(t *testing.T) {
	c := &Check{}
	if c.Seen(expect().name) {
		t.Error("a name is seen though no connection is under way")
	}
	e := expect()
	c.expected.Store(e)
	_, tail, _ := strings.Cut(e.name, ".")
	for _, name := range []string{"", suffix, "whoami.techn.is", expect().name, "x." + tail, e.name + ".", "a" + e.name, e.name[1:], strings.ToUpper(e.name)} {
		if c.Seen(name) {
			t.Errorf("%q passes for %q", name, e.name)
		}
	}
	var passed atomic.Int64
	var racing sync.WaitGroup
	for range 8 {
		racing.Go(func() {
			if c.Seen(e.name) {
				passed.Add(1)
			}
		})
	}
	racing.Wait()
	if passed.Load() != 1 {
		t.Errorf("the name is seen %d times", passed.Load())
	}
}

func BenchmarkSeenOfAStranger(b *testing.B) {
	c := &Check{}
	for b.Loop() {
		c.Seen("whoami.techn.is")
	}
}
