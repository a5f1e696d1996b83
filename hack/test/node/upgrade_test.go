package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// An upgrade and a rollback drop no connection, new or old, with the default settings of the kernel:
// the new pod receives all new connections before the old one closes its listeners. A pod with its
// own network is removed from the Service before it stops.
func TestUpgradeAndRollbackUnderTraffic(t *testing.T) {
	for _, test := range []struct {
		name    string
		values  []string
		address func(t *testing.T) string
		former  func(t *testing.T) (await func())
	}{
		{"on the host's network", nil, hostPort, oldListeners},
		{"behind a load balancer", []string{"network=LoadBalancer"}, servicePort("usher"), oldPods},
	} {
		t.Run(test.name, func(t *testing.T) {
			install(t, test.values...)
			exposeBusyHost(t, test.address(t))
			traffic := startTraffic(t, test.address(t), 100,
				profile{every: 5 * time.Millisecond},
				profile{every: 20 * time.Millisecond, pause: 50 * time.Millisecond})
			for _, change := range []func(){
				func() { helm(t, "upgrade", append(test.values, "image.tag="+newVersion)...) },
				func() { tool(t, servers.Helm, "rollback", "usher", "--namespace", namespace, "--wait", "--timeout=4m") },
			} {
				awaitTheirEnd := test.former(t)
				change()
				awaitTheirEnd()
			}
			failures := traffic.end()
			t.Logf("%d new connections, 100 transfers; failures: %q", traffic.connected.Load(), failures)
			if len(failures) > 0 {
				t.Errorf("an upgrade drops connections: %q", failures)
			}
		})
	}
}

// oldListeners returns a function that waits until the old pod has closed its listeners on the node's port.
func oldListeners(t *testing.T) func() {
	return func() {
		t.Helper()
		testkit.Eventually(t, "one process should listen on :443", func() error {
			if n := listeners(t, 443); n != 1 {
				return fmt.Errorf("%d do", n)
			}
			return nil
		})
		testkit.Eventually(t, "the pod that took over should say so", func() error {
			log, err := try(t, servers.Kubectl, "logs", "--namespace", namespace, "--selector=app.kubernetes.io/name=usher", "--tail=-1")
			if err == nil && !strings.Contains(log, "Took over from another usher process: new connections are this one's") {
				err = errors.New("its log does not")
			}
			if err != nil { // the old pod may have gone since they were listed
				return fmt.Errorf("%w:\n%s", err, log)
			}
			return nil
		})
	}
}

// oldPods returns a function that waits until the pods that run now no longer listen.
func oldPods(t *testing.T) func() {
	pods := podAddresses(t)
	return func() {
		t.Helper()
		for pod, address := range pods {
			testkit.Eventually(t, pod+" should stop", func() error {
				conn, err := net.DialTimeout("tcp", address, time.Second)
				if err != nil {
					return nil
				}
				_ = conn.Close()
				return errors.New("it listens")
			})
		}
	}
}

// listeners counts the sockets that listen on a port for IPv4 and IPv6: see proc_net_tcp.rst of the
// kernel's documentation.
func listeners(t *testing.T, port int) int {
	t.Helper()
	const listening = "0A"
	sockets, err := os.ReadFile("/proc/net/tcp6")
	testkit.Must(t, err)
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
	testkit.Must(t, os.WriteFile(file, []byte(manifest), 0o600))
	kubectl(t, "apply", "-f", file)
}

// An upgrade from a chart with older CRDs upgrades the CRDs, too.
func TestUpgradeUpgradesTheCRDs(t *testing.T) {
	before := begin(t)
	older := filepath.Join(t.TempDir(), "usher")
	testkit.Must(t, os.CopyFS(older, os.DirFS(chart)))
	definition := filepath.Join(older, "crds/usher.techn.is_exposedhosts.yaml")
	whole, err := os.ReadFile(definition)
	testkit.Must(t, err)
	const column = "    - jsonPath: .spec.host\n      name: Host\n      type: string\n"
	less := strings.Replace(string(whole), column, "", 1)
	if less == string(whole) {
		t.Fatal("the CRD has no such column")
	}
	testkit.Must(t, os.WriteFile(definition, []byte(less), 0o600))

	columns := func() string {
		return kubectl(t, "get", "crd", "exposedhosts.usher.techn.is", "--output=jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}")
	}
	t.Cleanup(func() { uninstall(t, before) })
	tool(t, servers.Helm, "install", "usher", older, "--namespace", namespace, "--create-namespace", "--set=replicas=0")
	if now := columns(); strings.HasPrefix(now, "Host ") {
		t.Errorf("the older CRD has the columns %q", now)
	}
	helm(t, "upgrade", "replicas=0")
	if now := columns(); !strings.HasPrefix(now, "Host ") {
		t.Errorf("after the upgrade the CRD has the columns %q", now)
	}
}
