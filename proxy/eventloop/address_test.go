package eventloop

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// A member's object names an address of the edge itself, or a name that resolves to
// one: nothing is dialled. What it names beside it is still served.
func TestWhatAMemberNamesLeadsNowhereLocal(t *testing.T) {
	home := []netip.Prefix{netip.MustParsePrefix("127.0.0.3/32")}
	for name, tt := range map[string]struct {
		backend  func(routing.Backend) routing.Backend
		refused  float64 // addresses
		hostsToo bool    // a second backend, that a person gave, serves
	}{
		"an address": {func(b routing.Backend) routing.Backend { b.Discovered = true; return b }, 1, true},
		"a name": {func(b routing.Backend) routing.Backend {
			b.Discovered, b.Addresses = true, []string{"edge.invalid"}
			return b
		}, 3, true},
		"a person's name that leaves its networks": {func(b routing.Backend) routing.Backend {
			b.Networks, b.Addresses = home, []string{"edge.invalid"}
			return b
		}, 3, true},
		"nothing else": {func(b routing.Backend) routing.Backend { b.Discovered = true; return b }, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.CheckDescriptors(t)
			hidden, open := listen(t), listen(t)
			route := routing.Route{Host: hostA, Backends: []routing.Backend{tt.backend(hidden.backend())}}
			if tt.hostsToo {
				route.Backends = append(route.Backends, open.backend())
			}
			e := start(t, []routing.Route{route}, func(f *Forwarder) {
				f.resolver = newResolver()
				f.resolver.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
					return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::ffff:127.0.0.1"), netip.MustParseAddr("::1")}, nil
				}
			})
			if tt.hostsToo {
				client, backend := e.open(open)
				send(t, backend, []byte("x"))
				expect(t, client, []byte("x"))
			} else {
				client := dial(t, e.addr)
				send(t, client, helloFor(t, hostA))
				expect(t, client, alertRecord(internalError))
				expectEOF(t, client)
			}
			e.awaitMetric(tt.refused, "dial_failures_total", "hades")
			hidden.expectNoConnection()
		})
	}
}

// expectNoConnection fails if the proxy has dialled the origin: what was dialled
// before the test's own connection is accepted before it.
func (o origin) expectNoConnection() {
	o.t.Helper()
	own := dial(o.t, o.listener.Addr().(*net.TCPAddr).AddrPort())
	if first := o.accept(); first.RemoteAddr().String() != own.LocalAddr().String() {
		o.t.Error("the origin was dialled")
	}
}
