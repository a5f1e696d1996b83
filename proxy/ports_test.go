package proxy_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy"
	"github.com/jovalle/usher/proxy/routing"
	"github.com/jovalle/usher/proxy/selfaddr"
)

// withPorts makes a Server listen on the TLS ports of these names.
func withPorts(names ...string) func(*proxy.Server) {
	return func(s *proxy.Server) {
		for _, name := range names {
			s.TLSListen = append(s.TLSListen, proxy.TLSListen{Name: name, Addresses: []string{"127.0.0.1:0"}})
		}
	}
}

// onPort is the port of a host that leads to clusters.
func onPort(name string, clusters ...cluster) routing.Port {
	port := routing.Port{Name: name}
	for _, c := range clusters {
		port.Backends = append(port.Backends, c.backend())
	}
	return port
}

// A host is served on its own ports only, on each by the backends of that port. On another
// port it is refused like an unknown host, and no wildcard serves it there.
func TestHostsAreServedOnTheirPortsOnly(t *testing.T) {
	web, broker, other := startCluster(t, "web"), startCluster(t, "broker"), startCluster(t, "other")
	backends := []routing.Backend{web.backend()}
	e := start(t, []routing.Route{
		{Host: "web.techn.is", Backends: backends},
		{Host: "both.techn.is", Backends: backends, Ports: []routing.Port{onPort("mqtts", broker)}},
		{Host: "mqtt.techn.is", Backends: backends, NotHTTPS: true, PlainHTTP: routing.Deny, Ports: []routing.Port{onPort("mqtts", broker)}},
		{Host: "refused.techn.is", Refusal: "NotIsolated"},
		{Host: "plain.techn.is", Backends: backends, PlainHTTP: routing.Forward, PlainOnly: true},
		{Host: "*.techn.is", Backends: backends, Except: []string{"vault"}, Ports: []routing.Port{onPort("mqtts", other), onPort("ldaps", other)}},
		{
			Host: "lan.techn.is", Backends: backends, Ports: []routing.Port{onPort("mqtts", broker)},
			AllowFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		},
	}, withPorts("mqtts", "ldaps"))
	const no = ""
	for host, want := range map[string]struct{ https, mqtts, ldaps string }{
		"web.techn.is":     {"web", no, no},
		"both.techn.is":    {"web", "broker", no},
		"BOTH.techn.is":    {"web", "broker", no},
		"mqtt.techn.is":    {no, "broker", no},
		"any.techn.is":     {"web", "other", "other"},
		"vault.techn.is":   {no, no, no},
		"refused.techn.is": {no, no, no},
		"plain.techn.is":   {no, no, no},
		"lan.techn.is":     {no, no, no},
		"techn.is":         {no, no, no},
		"unknown.is":       {no, no, no},
	} {
		for port, cluster := range map[string]string{"https": want.https, "mqtts": want.mqtts, "ldaps": want.ldaps} {
			_, greeting, err := visit(t, e.TLSAddrs(port)[0], host)
			switch refused := err != nil && strings.Contains(err.Error(), "remote error: tls: unrecognized name"); {
			case cluster == no && !refused:
				t.Errorf("%s on %s: greeted with %q, %v; want the alert unrecognized_name", host, port, greeting, err)
			case cluster != no && greeting != fmt.Sprintf("%s %s\n", cluster, host):
				t.Errorf("%s on %s: greeted with %q, %v; want %s", host, port, greeting, err, cluster)
			}
		}
	}
	// both, BOTH, mqtt and any; the others are refused
	e.awaitMetric(t, "usher_port_connections_total", map[string]string{"port": "mqtts", "result": "forwarded"}, 4)
	e.awaitMetric(t, "usher_port_connections_total", map[string]string{"port": "mqtts", "result": "refused"}, 7)
	e.awaitMetric(t, "usher_port_connections_total", map[string]string{"port": "https", "result": "forwarded"}, 4)
	if n := e.metric(t, "usher_connections_accepted_total", nil); n != 33 {
		t.Errorf("%v connections were accepted, want 33", n)
	}
}

// A host that is not served on https is not redirected to it.
func TestPlainHTTPOfAHostWithoutHTTPS(t *testing.T) {
	broker := startCluster(t, "broker")
	e := start(t, []routing.Route{{Host: "mqtt.techn.is", Backends: []routing.Backend{broker.backend()}, NotHTTPS: true, PlainHTTP: routing.Deny, Ports: []routing.Port{onPort("mqtts", broker)}}}, withPorts("mqtts"))
	if response := get(t, e.http, "mqtt.techn.is", "/"); response.StatusCode != http.StatusNotFound {
		t.Errorf("answered %d, want 404", response.StatusCode)
	}
}

// A PROXY header to a backend is that of the port; from clients it is required on each port.
func TestProxyHeadersOnPorts(t *testing.T) {
	listener := testkit.Listen(t)
	addr := listener.Addr().(*net.TCPAddr).AddrPort()
	backend := routing.Backend{Addresses: []string{addr.Addr().String()}, HTTPSPort: addr.Port(), ProxyProtocol: routing.V1}
	e := start(t, []routing.Route{{Host: "a.techn.is", Ports: []routing.Port{{Name: "mqtts", Backends: []routing.Backend{backend}}}}}, withPorts("mqtts"), func(s *proxy.Server) {
		s.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	client := dial(t, e.TLSAddrs("mqtts")[0])
	const header = "PROXY TCP4 192.0.2.7 192.0.2.1 5000 8883\r\n"
	if _, err := io.WriteString(client, header); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = tls.Client(client, &tls.Config{ServerName: "a.techn.is", InsecureSkipVerify: true}).Handshake()
	}()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got := make([]byte, len(header))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != header {
		t.Errorf("the backend reads %q, %v; want %q", got, err, header)
	}
}

// A route on one port must not lead to a listener of another.
func TestPortsThatLeadBackToUsher(t *testing.T) {
	self := selfaddr.New()
	e := start(t, nil, withPorts("mqtts"), func(s *proxy.Server) { s.Self = self })
	https, mqtts := cluster{"self", e.https}, cluster{"self", e.TLSAddrs("mqtts")[0]}
	e.Table.Store(routing.NewTable([]routing.Route{{Host: "a.techn.is", Backends: []routing.Backend{mqtts.backend()}, Ports: []routing.Port{onPort("mqtts", https)}}}))
	for i, port := range []string{"https", "mqtts"} {
		if _, _, err := visit(t, e.TLSAddrs(port)[0], "a.techn.is"); err == nil {
			t.Errorf("%s: a connection was forwarded", port)
		}
		e.awaitMetric(t, "usher_connections_refused_total", map[string]string{"reason": "loop"}, float64(i+1))
	}
	if n := e.metric(t, "usher_connections_accepted_total", nil); n != 2 {
		t.Errorf("2 connections became %v", n)
	}
}

// Another process of the service takes over all ports; open connections of each survive.
func TestTakeOverOfPorts(t *testing.T) {
	broker := startCluster(t, "broker")
	routes := []routing.Route{{Host: "a.techn.is", Ports: []routing.Port{onPort("mqtts", broker)}}}
	patient := func(s *proxy.Server) {
		s.Timeouts.Drain = testkit.Timeout
		s.Process = announce(t, "usher")
	}
	first := start(t, routes, patient, withPorts("mqtts"))
	at := first.TLSAddrs("mqtts")[0]
	old, _, err := visit(t, at, "a.techn.is")
	if err != nil {
		t.Fatal(err)
	}
	second := start(t, routes, patient, func(s *proxy.Server) {
		s.TLSListen = []proxy.TLSListen{{Name: "mqtts", Addresses: []string{at.String()}}}
	})
	first.stop()
	if _, _, err := visit(t, at, "a.techn.is"); err != nil {
		t.Errorf("during the drain: %v", err)
	}
	if _, err := old.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(old, make([]byte, 1)); err != nil {
		t.Errorf("the connection of the first server was closed: %v", err)
	}
	old.Close()
	first.end(t)
	second.awaitMetric(t, "usher_port_connections_total", map[string]string{"port": "mqtts", "result": "forwarded"}, 1)
}

// The self-check covers each TLS port.
func TestSelfCheckOfPorts(t *testing.T) {
	e := start(t, nil, checking(t, "127.0.0.1"), withPorts("mqtts", "ldaps"))
	e.awaitReached(t)
	for _, port := range []string{"https", "mqtts", "ldaps"} {
		at := e.TLSAddrs(port)[0]
		if n := e.metric(t, "usher_shadowed", map[string]string{"address": at.String()}); n != 0 {
			t.Errorf("%s is shadowed", at)
		}
	}
	if n := e.metric(t, "usher_self_checks_total", map[string]string{"result": "seen"}); n != 4 { // and plain HTTP
		t.Errorf("%v checks were seen, want 4", n)
	}
}

// A name of a port that nobody listens on is in the log and in the metrics.
func TestPortsWithoutListenerAreReported(t *testing.T) {
	broker := startCluster(t, "broker")
	var log testkit.Log
	e := start(t, []routing.Route{
		{Host: "a.techn.is", Ports: []routing.Port{onPort("mqtt", broker), onPort("mqtts", broker)}},
		{Host: "b.techn.is", Ports: []routing.Port{onPort("mqtts", broker)}},
	}, withPorts("mqtts", "ldaps"), func(s *proxy.Server) { s.Log = funcr.New(log.Add, funcr.Options{}) })
	log.Await(t, "this process does not listen on", `"ports"=["mqtt"]`)
	for _, tt := range []struct {
		port, listening string
		hosts           float64
	}{{"mqtts", "true", 2}, {"ldaps", "true", 0}, {"mqtt", "false", 1}} {
		labels := map[string]string{"port": tt.port, "listening": tt.listening}
		if n := e.metric(t, "usher_port_routes", labels); n != tt.hosts {
			t.Errorf("usher_port_routes%v is %v, want %v", labels, n, tt.hosts)
		}
	}
}

func TestListenOnPorts(t *testing.T) {
	s := proxy.Server{TLSListen: []proxy.TLSListen{{Name: "mqtts", Addresses: []string{"127.0.0.1:0", "192.0.2.1:0"}}}, Table: &routing.Live{}}
	testkit.CheckDescriptors(t)
	if err := s.Listen(); err == nil || !strings.Contains(err.Error(), "listen for TLS port mqtts") {
		t.Errorf("Listen() = %v", err)
	}
	e := start(t, nil, func(s *proxy.Server) {
		s.TLSListen = []proxy.TLSListen{{Name: "mqtts", Addresses: []string{"127.0.0.1:0", "127.0.0.2:0"}}}
	})
	if found := e.TLSPorts(); len(found) != 1 || len(found["mqtts"]) != 2 || !slices.Equal(found["mqtts"], e.TLSAddrs("mqtts")) {
		t.Errorf("TLSPorts() = %v", found)
	}
}
