package eventloop

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// An object of a member names a local address of the edge, or a host name that resolves
// to one: it is not dialled. Its other addresses are.
func TestLocalAddressesOfMembersAreNotDialled(t *testing.T) {
	home := []netip.Prefix{netip.MustParsePrefix("127.0.0.3/32")}
	for name, tt := range map[string]struct {
		backend  func(routing.Backend) routing.Backend
		refused  float64 // addresses
		hostsToo bool    // there is a second, configured backend, which serves
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

// expectNoConnection fails the test if the proxy has dialled the origin. It dials the
// origin itself: an earlier connection would be accepted first.
func (o origin) expectNoConnection() {
	o.t.Helper()
	own := dial(o.t, o.listener.Addr().(*net.TCPAddr).AddrPort())
	if first := o.accept(); first.RemoteAddr().String() != own.LocalAddr().String() {
		o.t.Error("the origin was dialled")
	}
}
