package proxy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy"
	"github.com/jovalle/usher/proxy/routing"
	"github.com/jovalle/usher/proxy/takeover"
)

func TestEachHostReachesItsCluster(t *testing.T) {
	hades, illmatic := startCluster(t, "hades"), startCluster(t, "illmatic")
	e := start(t, []routing.Route{
		{Host: "a.techn.is", Backends: []routing.Backend{hades.backend()}},
		{Host: "*.techn.is", Backends: []routing.Backend{illmatic.backend()}},
	})
	for host, want := range map[string]string{
		"a.techn.is": "hades a.techn.is\n",
		"A.Techn.IS": "hades A.Techn.IS\n",
		"b.techn.is": "illmatic b.techn.is\n",
	} {
		_, greeting, err := visit(t, e.https, host)
		if err != nil || greeting != want {
			t.Errorf("%s: greeted with %q, %v; want %q", host, greeting, err, want)
		}
	}
	e.awaitMetric(t, "usher_connections_accepted_total", nil, 3)
}

func TestUnknownHostGetsTheAlert(t *testing.T) {
	hades := startCluster(t, "hades")
	private := routing.Route{
		Host: "private.techn.is", Backends: []routing.Backend{hades.backend()},
		AllowFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
	}
	e := start(t, []routing.Route{
		{Host: "a.techn.is", Backends: []routing.Backend{hades.backend()}}, private,
	})
	for name, host := range map[string]string{
		"unknown host":      "b.techn.is",
		"client not let in": "private.techn.is",
		"no server name":    "",
	} {
		_, _, err := visit(t, e.https, host)
		if err == nil || !strings.Contains(err.Error(), "remote error: tls: unrecognized name") {
			t.Errorf("%s: handshake ended with %v, want the alert unrecognized_name", name, err)
		}
	}
	for _, reason := range []string{"unknown_host", "client_not_allowed", "no_server_name"} {
		e.awaitMetric(t, "usher_connections_refused_total", map[string]string{"reason": reason}, 1)
	}
	if n := e.metric(t, "usher_bytes_total", nil); n != 0 {
		t.Errorf("%v bytes moved for refused clients", n)
	}
}

func TestTableChangesWhileServing(t *testing.T) {
	hades := startCluster(t, "hades")
	e := start(t, []routing.Route{{Host: "a.techn.is", Backends: []routing.Backend{hades.backend()}}})
	conn, _, err := visit(t, e.https, "a.techn.is")
	if err != nil {
		t.Fatal(err)
	}
	e.Table.Store(nil)
	if _, _, err := visit(t, e.https, "a.techn.is"); err == nil {
		t.Error("a withdrawn host is still served")
	}
	if _, err := conn.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	echo := make([]byte, len("still here"))
	if _, err := io.ReadFull(conn, echo); err != nil || string(echo) != "still here" {
		t.Errorf("the established connection echoes %q, %v", echo, err)
	}
}

func TestPlainHTTP(t *testing.T) {
	e := start(t, []routing.Route{{Host: "a.techn.is"}})
	response := get(t, e.http, "a.techn.is:8080", "/b//c?d=%20e")
	if got, want := response.Header.Get("Location"), "https://a.techn.is/b//c?d=%20e"; response.StatusCode != http.StatusPermanentRedirect || got != want {
		t.Errorf("answered %d to %q, want 308 to %q", response.StatusCode, got, want)
	}
	if response := get(t, e.http, "b.techn.is", "/"); response.StatusCode != http.StatusNotFound {
		t.Errorf("unknown host: answered %d, want 404", response.StatusCode)
	}
}

func TestListen(t *testing.T) {
	for name, tt := range map[string]struct {
		listen []string
		reason string
	}{
		"no such address": {[]string{"192.0.2.1:0"}, "listen for HTTPS"},
		"no port":         {[]string{"127.0.0.1"}, "missing port"},
		"second fails":    {[]string{"127.0.0.1:0", "nonsense"}, "missing port"},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.CheckDescriptors(t)
			s := proxy.Server{HTTPSListen: tt.listen, Table: &routing.Live{}}
			if err := s.Listen(); err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("Listen() = %v, want an error with %q", err, tt.reason)
			}
		})
	}
	if err := new(proxy.Server).Listen(); err == nil {
		t.Error("Listen() succeeds without a table")
	}
}

func TestIPv4AndIPv6(t *testing.T) {
	hades := startCluster(t, "hades")
	e := start(t, []routing.Route{{Host: "a.techn.is", Backends: []routing.Backend{hades.backend()}}},
		func(s *proxy.Server) { s.HTTPSListen, s.HTTPListen = []string{":0"}, []string{":0"} })
	for _, ip := range []string{"127.0.0.1", "::1"} {
		addr := netip.AddrPortFrom(netip.MustParseAddr(ip), e.https.Port())
		if _, greeting, err := visit(t, addr, "a.techn.is"); err != nil || !strings.HasPrefix(greeting, "hades") {
			t.Errorf("%s: greeted with %q, %v", addr, greeting, err)
		}
		addr = netip.AddrPortFrom(addr.Addr(), e.http.Port())
		if response := get(t, addr, "a.techn.is", "/"); response.StatusCode != http.StatusPermanentRedirect {
			t.Errorf("%s: answered %d", addr, response.StatusCode)
		}
	}
}

// A second server takes over the address of the first, as a new process would. The first
// keeps its connections. Clients that connect later and are slow with their ClientHello
// reach the second, so they are not reset when the first stops.
func TestTakeOver(t *testing.T) {
	hades := startCluster(t, "hades")
	routes := []routing.Route{{Host: "a.techn.is", Backends: []routing.Backend{hades.backend()}}}
	patient := func(s *proxy.Server) {
		s.Timeouts.Drain = testkit.Timeout
		s.Process = announce(t, "usher")
	}
	first := start(t, routes, patient)
	old, _, err := visit(t, first.https, "a.techn.is")
	if err != nil {
		t.Fatal(err)
	}
	second := start(t, routes, patient, func(s *proxy.Server) {
		s.HTTPSListen = []string{first.https.String()}
		s.HTTPListen = []string{first.http.String()}
	})
	const count = 20
	var slow []net.Conn
	for range count {
		slow = append(slow, dial(t, first.https))
	}
	first.stop()
	if _, err := old.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(old, make([]byte, 1)); err != nil {
		t.Errorf("the connection of the first server was closed: %v", err)
	}
	old.Close()
	first.end(t)
	for _, raw := range slow {
		conn := tls.Client(raw, &tls.Config{ServerName: "a.techn.is", InsecureSkipVerify: true})
		if err := conn.Handshake(); err != nil {
			t.Errorf("a client that was slow with its ClientHello: %v", err)
		}
	}
	second.awaitMetric(t, "usher_connections_accepted_total", nil, count)
}

// Only a process of the same service can take over an address.
func TestNoTakeOverByAnotherService(t *testing.T) {
	holds := start(t, nil, func(s *proxy.Server) { s.Process = announce(t, "home") })
	for name, process := range map[string]*takeover.Process{"another service": announce(t, "work"), "one that shares with none": nil} {
		for flag, s := range map[string]*proxy.Server{
			"HTTPS": {HTTPSListen: []string{holds.https.String()}},
			"HTTP":  {HTTPListen: []string{holds.http.String()}},
		} {
			s.Table, s.Process = &routing.Live{}, process
			if err := s.Listen(); err == nil || !strings.Contains(err.Error(), "listen for "+flag) {
				t.Errorf("%s, %s: Listen() = %v", name, flag, err)
			}
		}
	}
	holds.end(t)
	start(t, nil, func(s *proxy.Server) { // a released address is free
		s.HTTPSListen, s.HTTPListen = []string{holds.https.String()}, []string{holds.http.String()}
		s.Process = announce(t, "work")
	})
}

// announce announces another process of a service.
func announce(t *testing.T, service string) *takeover.Process {
	t.Helper()
	process, err := takeover.Announce(t.Context(), service, "v1", logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Close)
	return process
}

func TestServeReturnsWhenNothingIsOpen(t *testing.T) {
	e := start(t, nil, func(s *proxy.Server) { s.Timeouts.Drain = time.Hour })
	e.end(t)
}

func TestDrainTimeoutEndsConnections(t *testing.T) {
	hades := startCluster(t, "hades")
	e := start(t, []routing.Route{{Host: "a.techn.is", Backends: []routing.Backend{hades.backend()}}})
	conn, _, err := visit(t, e.https, "a.techn.is")
	if err != nil {
		t.Fatal(err)
	}
	e.end(t)
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the drained connection ended with %v, want a reset", err)
	}
	conn.Close()
	if n := e.metric(t, "usher_connections_closed_total", map[string]string{"reason": "drain_timeout"}); n != 1 {
		t.Errorf("%v connections counted as drained, want 1", n)
	}
}

func TestCancelledBeforeServe(t *testing.T) {
	s := proxy.Server{HTTPSListen: []string{"127.0.0.1:0"}, Table: &routing.Live{}}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Serve(ctx); err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// Both ports share what they know of dead addresses, and an operator sees it by cluster.
func TestFailingAddresses(t *testing.T) {
	hades, dead := startCluster(t, "hades"), testkit.Listen(t)
	port := dead.Addr().(*net.TCPAddr).AddrPort().Port()
	dead.Close()
	routes := []routing.Route{{Host: "a.techn.is", PlainHTTP: routing.Forward, Backends: []routing.Backend{
		{Cluster: "illmatic", Addresses: []string{"127.0.0.1"}, HTTPSPort: port, HTTPPort: port},
		{Cluster: "illmatic", Addresses: []string{"127.0.0.2"}, HTTPSPort: port, HTTPPort: port},
		hades.backend(),
	}}}
	e := start(t, routes)
	of := func(cluster string) map[string]string { return map[string]string{"cluster": cluster} }
	if _, greeting, err := visit(t, e.https, "a.techn.is"); err != nil || greeting != "hades a.techn.is\n" {
		t.Fatalf("greeted %q, %v", greeting, err)
	}
	e.awaitMetric(t, "usher_addresses_failing", of("illmatic"), 2)
	e.awaitMetric(t, "usher_addresses_failing", of("hades"), 0)
	if response := get(t, e.http, "a.techn.is", "/"); response.StatusCode != http.StatusBadGateway {
		t.Errorf("answered %d", response.StatusCode) // hades has no plain HTTP port
	}
	e.awaitMetric(t, "usher_addresses_failing", of("hades"), 1)
	e.awaitMetric(t, "usher_addresses_failing", of("illmatic"), 2)
}
