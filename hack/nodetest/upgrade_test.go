package nodetest

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/testbed/servers"
)

// migrateRequests is the kernel's net.ipv4.tcp_migrate_req of this network namespace: whether a
// handshake under way, whose listener is closed, goes on with another of the same address.
const migrateRequests = "/proc/sys/net/ipv4/tcp_migrate_req"

// An upgrade and a rollback drop no connection, new or old, where the kernel hands handshakes on.
// By default it does not, and those are reset that are under way when the former pod lets go of the
// port: they are counted and shown.
func TestUpgradeAndRollbackUnderTraffic(t *testing.T) {
	install(t)
	backend := netip.MustParseAddrPort(serveBusyHost(t).String())
	apply(t, fmt.Sprintf(`{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: %[1]s},
		spec: {host: %[1]s, backends: [{address: %[2]s, httpsPort: %[3]d}]}}`, busyHost, backend.Addr(), backend.Port()))
	eventually(t, busyHost+" should be served", func() error { return (&traffic{address: hostPort(t)}).once(profile{}) })

	for _, test := range []struct {
		name, migrate string
		lossless      bool
	}{
		{"as the kernel is by default", "0", false},
		{"tcp_migrate_req set", "1", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			must(t, os.WriteFile(migrateRequests, []byte(test.migrate), 0))
			traffic := startTraffic(t, hostPort(t), 100,
				profile{every: 5 * time.Millisecond},
				profile{every: 20 * time.Millisecond, pause: 50 * time.Millisecond})
			helm(t, "upgrade", "image.tag="+newVersion)
			awaitHandOver(t)
			tool(t, servers.Helm, "rollback", "usher", "--namespace", namespace, "--wait", "--timeout=4m")
			awaitHandOver(t)
			failures := traffic.end()
			t.Logf("%d new connections, 100 transfers; failures: %q", traffic.connected.Load(), failures)
			for _, failure := range failures {
				if test.lossless || !strings.Contains(failure, "reset by peer") {
					t.Errorf("an upgrade drops connections: %s", failure)
				}
			}
		})
	}
}

// awaitHandOver waits until the former pod has let go of the port.
func awaitHandOver(t *testing.T) {
	t.Helper()
	eventually(t, "one process should listen on :443", func() error {
		if n := listeners(t, 443); n != 1 {
			return fmt.Errorf("%d do", n)
		}
		return nil
	})
}

// listeners counts the sockets that listen on a port for IPv4 and IPv6: see proc_net_tcp.rst of the
// kernel's documentation.
func listeners(t *testing.T, port int) int {
	t.Helper()
	const listening = "0A"
	sockets, err := os.ReadFile("/proc/net/tcp6")
	must(t, err)
	n := 0
	for line := range strings.Lines(string(sockets)) {
		fields := strings.Fields(line) // number, local address, remote address, state, ...
		if strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && fields[3] == listening {
			n++
		}
	}
	return n
}

func apply(t *testing.T, manifest string) {
	t.Helper()
	file := t.TempDir() + "/manifest.yaml"
	must(t, os.WriteFile(file, []byte(manifest), 0o600))
	kubectl(t, "apply", "-f", file)
}
