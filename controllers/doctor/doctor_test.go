package doctor_test

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/doctor"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// certificateOf returns a certificate for names.
func certificateOf(t *testing.T, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.Must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(60 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	testkit.Must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// backendOf starts an HTTPS server, and returns it as published.
func backendOf(t *testing.T, config *tls.Config, handler http.Handler) *doctor.Host {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS, server.EnableHTTP2 = config, true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return hostAt(published, server.Listener.Addr())
}

func hostAt(host string, addr net.Addr) *doctor.Host {
	to := addr.(*net.TCPAddr).AddrPort()
	return &doctor.Host{Name: host, Host: host, Backends: []routing.Backend{{Addresses: []string{to.Addr().String()}, HTTPSPort: to.Port(), HTTPPort: to.Port()}}}
}

// audit audits a host alone.
func audit(t *testing.T, h *doctor.Host, change ...func(*doctor.Doctor)) []doctor.Finding {
	t.Helper()
	d := doctor.New()
	d.Version = "test"
	for _, change := range change {
		change(d)
	}
	return d.Host(t.Context(), h, doctor.NewInventory([]*doctor.Host{h}))
}

func kindsOf(findings []doctor.Finding) []string {
	var kinds []string
	for i := range findings {
		kinds = append(kinds, findings[i].Kind)
	}
	return kinds
}

// wantKinds fails if the findings are of other kinds.
func wantKinds(t *testing.T, findings []doctor.Finding, kinds ...string) {
	t.Helper()
	if !slices.Equal(kindsOf(findings), kinds) {
		t.Errorf("found %v, want %v: %+v", kindsOf(findings), kinds, findings)
	}
}

// published is the host that the tests audit.
const published = "a.techn.is"

// notFound answers as Traefik does for a host that it does not serve, and serves published.
var notFound = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.Host != published {
		http.NotFound(w, r)
	}
})

func TestASoundHostHasNoFindings(t *testing.T) {
	var handshakes, gentle atomic.Int32
	var agents atomic.Value
	config := &tls.Config{Certificates: []tls.Certificate{certificateOf(t, "a.techn.is")}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agents.Store(r.UserAgent())
		notFound.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(&countingListener{tls.NewListener(listener, config), &handshakes, &gentle}) }()
	t.Cleanup(func() { _ = server.Close() })
	wantKinds(t, audit(t, hostAt("a.techn.is", listener.Addr())))
	if agent := agents.Load(); agent != "usher-doctor/test" {
		t.Errorf("the User-Agent is %v", agent)
	}
	testkit.Eventually(t, "each handshake should be ended by a close_notify", func() error {
		if done, ended := handshakes.Load(), gentle.Load(); done == 0 || done != ended {
			return errors.New("it is not")
		}
		return nil
	})
}

// countingListener counts the connections whose handshake is complete, and those of them
// that the client ends by a close_notify.
type countingListener struct {
	net.Listener
	handshakes, gentle *atomic.Int32
}

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countingConn{Conn: conn, of: l}, nil
}

type countingConn struct {
	net.Conn
	of          *countingListener
	done, ended atomic.Bool
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.Conn.(*tls.Conn).ConnectionState().HandshakeComplete && c.done.CompareAndSwap(false, true) {
		c.of.handshakes.Add(1)
	}
	// crypto/tls returns io.EOF for a close_notify only. A client whose ECH was rejected ends
	// with an alert after the handshake: RFC 9849, section 6.1.6.
	if err != nil && (errors.Is(err, io.EOF) || strings.Contains(err.Error(), "encrypted client hello required")) && c.ended.CompareAndSwap(false, true) {
		c.of.gentle.Add(1)
	}
	return n, err
}

// Traefik has no ECH, so that the backend is a server of crypto/tls with keys.
func TestBackendWithECHIsFound(t *testing.T) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	testkit.Must(t, err)
	var b cryptobyte.Builder
	b.AddUint16(0xfe0d)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint8(1)
		b.AddUint16(0x0020)
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(key.PublicKey().Bytes()) })
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint16(1); b.AddUint16(1) })
		b.AddUint8(32)
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte("a.techn.is")) })
		b.AddUint16(0)
	})
	encoded, err := b.Bytes()
	testkit.Must(t, err)
	config := &tls.Config{Certificates: []tls.Certificate{certificateOf(t, "a.techn.is")}}
	sound := backendOf(t, config.Clone(), notFound)
	wantKinds(t, audit(t, sound))
	config.EncryptedClientHelloKeys = []tls.EncryptedClientHelloKey{{Config: encoded, PrivateKey: key.Bytes(), SendAsRetry: true}}
	findings := audit(t, backendOf(t, config, notFound))
	wantKinds(t, findings, reason.ECHBackend)
	if cure := findings[0].Cure; len(cure) != 1 || cure[0] != "kubectl delete exposedhost a.techn.is" {
		t.Errorf("the cure is %q", cure)
	}
}

// What a hostile backend sends is bounded, in size and time, and harmless on a terminal.
func TestHostileBackends(t *testing.T) {
	const host = published
	flood := backendOf(t, &tls.Config{Certificates: []tls.Certificate{certificateOf(t, "\x1b[2J.evil")}}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}))
	findings := audit(t, flood)
	wantKinds(t, findings, reason.CertificateMismatch)
	if strings.ContainsRune(findings[0].Evidence, '\x1b') {
		t.Errorf("the evidence is %q", findings[0].Evidence)
	}

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	began := time.Now()
	wantKinds(t, audit(t, hostAt(host, silent.Addr())), reason.BackendUnreachable)
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("a silent backend takes %v", took)
	}
}

// A member's address that its objects name, and that no backend may have, is not connected to.
func TestForbiddenAddressesAreNotDialled(t *testing.T) {
	var reached atomic.Bool
	h := backendOf(t, nil, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	h.Backends[0].Discovered = true // loopback
	wantKinds(t, audit(t, h), reason.BackendUnreachable)
	h.Backends[0].Discovered = false
	wantKinds(t, audit(t, h, func(d *doctor.Doctor) { d.Own = func(netip.AddrPort) bool { return true } }), reason.LoopToSelf)
	if reached.Load() {
		t.Error("it was connected to")
	}
}

// A resolver that overrides addresses only, and leaves the keys for ECH of a CDN, is found.
// A router without NAT loopback drops connections to the public address, or answers itself.
func TestHairpinNATIsFound(t *testing.T) {
	h := backendOf(t, &tls.Config{Certificates: []tls.Certificate{certificateOf(t, published)}}, notFound)
	public := netip.MustParseAddr("127.0.0.1")
	listen := func(config *tls.Config) uint16 {
		server := httptest.NewUnstartedServer(notFound)
		server.TLS = config
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		t.Cleanup(server.Close)
		return server.Listener.Addr().(*net.TCPAddr).AddrPort().Port()
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	nobody := closed.Addr().(*net.TCPAddr).AddrPort().Port()
	testkit.Must(t, closed.Close())
	refusing := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("no such name") }}
	for text, test := range map[string]struct {
		port uint16
		own  bool
		at   netip.Addr
		want []string
	}{
		"nobody answers":              {nobody, false, public, []string{reason.HairpinNAT}},
		"the router answers":          {listen(&tls.Config{Certificates: []tls.Certificate{certificateOf(t, "router.lan")}}), false, public, []string{reason.HairpinNAT}},
		"it leads back":               {listen(&tls.Config{Certificates: []tls.Certificate{certificateOf(t, published)}}), false, public, nil},
		"usher refuses this client":   {listen(refusing), false, public, nil},
		"the machine has the address": {nobody, true, public, nil},
		"a CDN's address":             {nobody, false, netip.MustParseAddr("127.0.0.9"), nil},
		"not audited":                 {0, false, public, nil},
	} {
		t.Run(text, func(t *testing.T) {
			wantKinds(t, audit(t, h, func(d *doctor.Doctor) {
				d.Inside = func(context.Context, string) (doctor.DNSAnswer, error) {
					return doctor.DNSAnswer{Addrs: []netip.Addr{test.at}}, nil
				}
				d.Direct = func(a netip.Addr) bool { return a == public }
				d.PublicPort = test.port
				if test.own {
					d.Own = func(a netip.AddrPort) bool { return a.Port() == test.port }
				}
			}), test.want...)
		})
	}
}

func TestECHInDNSIsFound(t *testing.T) {
	config := &tls.Config{Certificates: []tls.Certificate{certificateOf(t, "a.techn.is")}}
	h := backendOf(t, config, notFound)
	for text, test := range map[string]struct {
		answer doctor.DNSAnswer
		want   []string
	}{
		"private, with ECH":    {doctor.DNSAnswer{Addrs: []netip.Addr{netip.MustParseAddr("192.168.1.2")}, ECH: true}, []string{reason.ECHInDNS}},
		"the edge's, with ECH": {doctor.DNSAnswer{Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.7")}, ECH: true}, []string{reason.ECHInDNS}},
		"private, without":     {doctor.DNSAnswer{Addrs: []netip.Addr{netip.MustParseAddr("192.168.1.2")}}, nil},
		"the CDN's":            {doctor.DNSAnswer{Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.9")}, ECH: true}, nil},
	} {
		t.Run(text, func(t *testing.T) {
			wantKinds(t, audit(t, h, func(d *doctor.Doctor) {
				d.Inside = func(context.Context, string) (doctor.DNSAnswer, error) { return test.answer, nil }
				d.Direct = func(a netip.Addr) bool { return a == netip.MustParseAddr("203.0.113.7") }
			}), test.want...)
		})
	}
	h.Drift = "the resolver answers with other addresses"
	wantKinds(t, audit(t, h), reason.DNSDrift)
}

// Real connections in state TIME_WAIT are counted; the range of ports is given, since that
// of the machine is not the test's to change.
func TestPortExhaustionIsFound(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, conn); _ = conn.Close() }()
		}
	}()
	backend := listener.Addr().(*net.TCPAddr).AddrPort()
	for range 8 {
		conn, err := net.Dial("tcp", backend.String())
		testkit.Must(t, err)
		testkit.Must(t, conn.Close()) // the client closes first
	}
	ports := func(given string) doctor.Machine {
		proc := t.TempDir()
		testkit.Must(t, os.MkdirAll(filepath.Join(proc, "sys/net/ipv4"), 0o700))
		testkit.Must(t, os.WriteFile(filepath.Join(proc, "sys/net/ipv4/ip_local_port_range"), []byte(given), 0o600))
		testkit.Must(t, os.Symlink("/proc/self", filepath.Join(proc, "self")))
		return doctor.Machine{Proc: proc}
	}
	testkit.Eventually(t, "the connections should be counted", func() error {
		findings := ports("40000\t40009\n").Audit([]netip.AddrPort{backend})
		if !slices.Equal(kindsOf(findings), []string{reason.PortExhaustion}) || !strings.Contains(findings[0].Evidence, "8 of the 10 local ports") {
			return errors.New(strings.Join(kindsOf(findings), " "))
		}
		return nil
	})
	wantKinds(t, ports("1024\t65535\n").Audit([]netip.AddrPort{backend}))
}

func TestNarrowerHosts(t *testing.T) {
	for name, test := range map[string]struct {
		own, other []string
		leaks      bool
	}{
		"everyone, everyone": {nil, nil, false},
		"everyone, some":     {nil, []string{"10.0.0.0/8"}, true},
		"some, everyone":     {[]string{"10.0.0.0/8"}, nil, false},
		"the same":           {[]string{"10.0.0.0/8", "@family"}, []string{"@family", "10.0.0.0/8"}, false},
		"a part":             {[]string{"10.1.0.0/16"}, []string{"10.0.0.0/8"}, false},
		"more":               {[]string{"10.0.0.0/8"}, []string{"10.1.0.0/16"}, true},
		"others":             {[]string{"@family"}, []string{"10.1.0.0/16"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{Certificates: []tls.Certificate{certificateOf(t, "a.techn.is")}}
			h := backendOf(t, config, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Host != "a.techn.is" && r.Host != "b.techn.is" {
					http.NotFound(w, r)
				}
			}))
			other := *h
			other.Host, other.Name, h.AllowFrom, other.AllowFrom = "b.techn.is", "b.techn.is", test.own, test.other
			findings := doctor.New().Host(t.Context(), h, doctor.NewInventory([]*doctor.Host{h, &other}))
			if leaks := slices.Contains(kindsOf(findings), reason.FrontingLeak); leaks != test.leaks {
				t.Errorf("found: %v", findings)
			}
		})
	}
}

func TestKindsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/doctor.md")
	testkit.Must(t, err)
	for _, kind := range doctor.Kinds() {
		if !strings.Contains(string(text), "\n## "+kind+"\n") {
			t.Errorf("docs/doctor.md has no section %s", kind)
		}
	}
}
