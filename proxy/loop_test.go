package proxy_test

import (
	"net/netip"
	"testing"

	"github.com/jovalle/usher/proxy"
	"github.com/jovalle/usher/proxy/routing"
	"github.com/jovalle/usher/proxy/selfaddr"
)

// Routes name the proxy's own listeners, in all ways to write their addresses. None may
// cause a connection besides that of the client.
func TestRoutesBackToUsher(t *testing.T) {
	admin := netip.MustParseAddrPort("127.0.0.9:9")
	e := start(t, nil, func(s *proxy.Server) {
		s.HTTPSListen, s.HTTPListen = []string{":0"}, []string{"127.0.0.1:0"}
		s.Self = selfaddr.New(admin)
	})
	own := []struct {
		address string
		port    uint16
	}{
		{"127.0.0.1", e.https.Port()},
		{"127.1.2.3", e.https.Port()},
		{"::1", e.https.Port()},
		{"::ffff:127.0.0.1", e.https.Port()},
		{"0.0.0.0", e.https.Port()},
		{"::", e.https.Port()},
		{"localhost", e.https.Port()},
		{"127.0.0.1", e.http.Port()},
		{admin.Addr().String(), admin.Port()},
	}
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), e.https.Port())
	for i, to := range own {
		e.Table.Store(routing.NewTable([]routing.Route{
			{Host: "a.techn.is", Backends: []routing.Backend{{Cluster: "self", Addresses: []string{to.address}, HTTPSPort: to.port}}},
		}))
		if _, _, err := visit(t, addr, "a.techn.is"); err == nil {
			t.Errorf("%v: a connection was forwarded", to)
		}
		e.awaitMetric(t, "usher_connections_refused_total", map[string]string{"reason": "loop"}, float64(i+1))
	}
	if n := e.metric(t, "usher_connections_accepted_total", nil); n != float64(len(own)) {
		t.Errorf("%d connections became %v", len(own), n)
	}
}

// Listen adds the addresses of the Server to the set that it is given.
func TestOwnAddresses(t *testing.T) {
	admin := netip.MustParseAddrPort("[::1]:8080")
	self := selfaddr.New(admin)
	e := start(t, nil, func(s *proxy.Server) {
		s.HTTPSListen, s.HTTPListen, s.Self = []string{"127.0.0.1:0"}, []string{"127.0.0.2:0"}, self
	})
	for _, addr := range []netip.AddrPort{e.https, e.http, admin} {
		if !self.Reaches(addr) {
			t.Errorf("%v should reach the set", addr)
		}
	}
	if other := netip.AddrPortFrom(e.http.Addr(), e.https.Port()); self.Reaches(other) {
		t.Errorf("%v should not reach the set", other)
	}
}
