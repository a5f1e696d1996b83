package reach

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/proxy/takeover"
)

// announce announces a process of one service, which shares its addresses.
func announce(t *testing.T) *takeover.Process {
	t.Helper()
	process, err := takeover.Announce(t.Context(), "reach", "test", logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Close)
	return process
}

func TestListenersThatShareAnAddress(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		t.Run(address, func(t *testing.T) {
			first, err := announce(t).Listen(t.Context(), address, nil)
			if err != nil {
				t.Skip(err) // there is no IPv6 here
			}
			defer first.Close()
			at := first.Addr().(*net.TCPAddr).AddrPort()
			if n := listeners(at); n != 1 {
				t.Errorf("%d listen on %v, want 1", n, at)
			}
			second, err := announce(t).Listen(t.Context(), at.String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if n := listeners(at); n != 2 {
				t.Errorf("%d listen on %v, want 2", n, at)
			}
			second.Close()
			if n := listeners(at); n != 1 {
				t.Errorf("%d listen on %v after one has ended, want 1", n, at)
			}
		})
	}
}

func TestMalformedSocketTable(t *testing.T) {
	const heading = "  sl  local_address rem_address   st\n"
	for _, rows := range []string{"", "   0:", "   0: 0100007F:01BB 00000000:0000 0A\n   1: zz:01BB x 0A\n   2: 01:1 x 0A\n   3: 0100007F x 0A\n"} {
		_ = countListeners(strings.NewReader(rows), netip.MustParseAddrPort("127.0.0.1:443"))
		_ = countListeners(strings.NewReader(heading+rows), netip.MustParseAddrPort("127.0.0.1:443"))
	}
}
