package e2e

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/hack/testenv"
)

// The tests that use the API of the edge pass with an edge without Kubernetes, too.
func TestStandaloneEdge(t *testing.T) {
	kubernetes := env
	standalone, err := testenv.Start(t.Context(), testenv.Options{Usher: program, Standalone: true, Args: flags})
	testkit.Must(t, err)
	t.Cleanup(func() {
		env = kubernetes
		if t.Failed() {
			standalone.Bed.KeepLogs()
			t.Log("the logs are in", standalone.Bed.LogDir())
		}
		testkit.Must(t, standalone.Bed.Stop())
	})
	env = standalone
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"expose", TestExposedHostsReachTheirClusterAndOthersDoNot},
		{"plain HTTP", TestPlainHTTP},
		{"address", TestPersonsExposedHostWithAnAddress},
		{"isolation", TestIsolation},
		{"ports", TestMQTTOverTLS},
		{"move", TestAnAppMovesWithoutADroppedRequest},
		{"doctor", TestDoctorFindsLeaks},
		{"tunnel", memberBehindATunnel},
	} {
		t.Run(test.name, test.run)
	}
}

// memberBehindATunnel adds a member as docs/install.md says: its API server and its Traefik are
// reached at other addresses, as by ssh -L, and not by a name of the certificate.
func memberBehindATunnel(t *testing.T) {
	cluster, err := env.Bed.StartCluster(t.Context(), "nyx")
	testkit.Must(t, err)
	testkit.Must(t, cluster.StartControllers(testbed.TokenController))
	traefik, err := cluster.StartTraefik(t.Context())
	testkit.Must(t, err)
	text, err := cluster.Kubeconfig()
	testkit.Must(t, err)
	kubeconfig := filepath.Join(t.TempDir(), "nyx.kubeconfig")
	testkit.Must(t, os.WriteFile(kubeconfig, text, 0o600))
	kubectl(t, env.Edge, "--kubeconfig", kubeconfig, "config", "set-cluster", "nyx",
		"--server=https://"+tunnel(t, cluster.Address()).String(), "--tls-server-name=localhost")
	add := exec.CommandContext(t.Context(), program, "cluster", "add", "nyx", "--kubeconfig", kubeconfig,
		"--edge-kubeconfig", env.Edge.KubeconfigFile(), "--address", "127.0.0.2")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	kubectl(t, env.Edge, "patch", "membercluster", "nyx", "--type=merge",
		fmt.Sprintf(`--patch={"spec":{"ingress":{"httpsPort":%d}}}`, tunnel(t, traefik.HTTPS).Port()))
	member := testenv.Member{Cluster: cluster, Traefik: traefik}
	testkit.Must(t, member.Publish(t.Context(), "afar", "afar.techn.is", `usher.techn.is/expose: "true"`))
	answered(t, "afar.techn.is", "nyx")
}

// tunnel listens on 127.0.0.2 and forwards connections to an address, until the test ends.
func tunnel(t *testing.T, to netip.AddrPort) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go forwardTo(client, to)
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

func forwardTo(client net.Conn, to netip.AddrPort) {
	defer client.Close()
	server, err := net.DialTimeout("tcp", to.String(), testkit.Timeout)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer server.Close()
		_, _ = io.Copy(server, client)
	}()
	_, _ = io.Copy(client, server)
}
