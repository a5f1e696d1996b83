package eventloop

import (
	"io"
	"net/netip"
	"testing"

	"github.com/jovalle/usher/proxy/limit"
)

func TestMaxConnections(t *testing.T) {
	o := listen(t)
	e := start(t, routeA(o), func(f *Forwarder) { f.Limits = &limit.Connections{Max: 2} })
	first, _ := e.open(o)
	e.open(o)
	third := dial(t, e.addr)
	send(t, third, helloFor(t, hostA))
	if answer, _ := io.ReadAll(third); len(answer) > 0 {
		t.Errorf("a connection beyond the limit was answered %q", answer)
	}
	e.awaitMetric(1, "connections_refused_total", "too_many_connections")
	sendReset(first)
	e.awaitMetric(1, "connections_open")
	e.open(o)
}

func TestMaxConnectionsPerClient(t *testing.T) {
	o := listen(t)
	e := start(t, routeA(o), func(f *Forwarder) {
		f.Limits = &limit.Connections{PerClient: 1}
		f.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	var hello []byte
	visit := func(client string) io.ReadWriter {
		hello = helloFor(t, hostA)
		conn := dial(t, e.addr)
		send(t, conn, append(headerV2(t, client), hello...))
		return conn
	}
	first := visit("203.0.113.1:1")
	server := o.accept()
	expect(t, server, hello)
	if answer, _ := io.ReadAll(visit("203.0.113.1:2")); len(answer) > 0 {
		t.Errorf("a connection beyond the limit was answered %q", answer)
	}
	e.awaitMetric(1, "connections_refused_total", "too_many_of_client")
	visit("203.0.113.2:1")
	expect(t, o.accept(), hello)
	server.Close()
	_, _ = io.ReadAll(first)
	first.(io.Closer).Close()
	e.awaitMetric(1, "connections_open")
	visit("203.0.113.1:3")
	expect(t, o.accept(), hello)
}
