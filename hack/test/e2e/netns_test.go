package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/hack/testenv"
)

// Addresses on a link between two network namespaces.
const (
	usherSide  = "198.18.0.1" // for benchmarks only (RFC 2544)
	edgeSide   = "198.18.0.2"
	memberSide = "198.18.0.3"
)

// The link to a member drops its packets, so that connections time out. usher runs in its
// own network namespace, and connects to the clusters over that link.
func TestMemberBehindADeadLinkKeepsItsHosts(t *testing.T) {
	near, far := linkNamespaces(t)
	edge := newEdge(t, "edge-by-link", env.Hades)
	kubeconfig := kubeconfigVia(t, edge, forward(t, far, edgeSide, edge.Address().String()))
	secret := kubeconfigVia(t, env.Hades.Cluster, forward(t, far, memberSide, env.Hades.Address().String()))
	testkit.Must(t, edge.Apply(t.Context(), fmt.Sprintf("{apiVersion: v1, kind: Secret, metadata: {name: hades-kubeconfig, namespace: usher-system}, stringData: {kubeconfig: %q}}", secret)))
	file := filepath.Join(t.TempDir(), "kubeconfig")
	testkit.Must(t, os.WriteFile(file, []byte(kubeconfig), 0o600))
	wrapper := filepath.Join(t.TempDir(), "usher")
	testkit.Must(t, os.WriteFile(wrapper, fmt.Appendf(nil, "#!/bin/sh\nexec ip netns exec %s %s \"$@\"\n", near, program), 0o700))
	usher, err := testenv.Begin(env.Bed, "usher-by-link", wrapper, edge, "--kubeconfig", file)
	testkit.Must(t, err)
	t.Cleanup(usher.Kill)

	const kept, added = "link.techn.is", "link-later.techn.is"
	testkit.Must(t, env.Hades.Publish(t.Context(), "link", kept, `usher.techn.is/expose: "true"`))
	app, err := env.Hades.StartApp(t.Context(), "default", "link-later")
	testkit.Must(t, err)
	awaitCondition(t, edge, "exposedhost/"+kept, "Ready", "True")
	born := creation(t, edge, kept)

	began := time.Now()
	ip(t, "-n", far, "rule", "add", "blackhole", "from", memberSide, "pref", "100")
	testkit.Must(t, env.Hades.Route(t.Context(), app, added, `usher.techn.is/expose: "true"`))
	awaitCondition(t, edge, "membercluster/hades", "Connected", "False")
	took := time.Since(began)
	t.Logf("shown as away after %v", took)
	if took > 30*time.Second {
		t.Errorf("shown as away only after %v", took)
	}
	time.Sleep(time.Until(began.Add(25 * time.Second))) // the outage outlasts the first attempts at a new connection
	if out := kubectl(t, edge, "get", "exposedhosts"); strings.Contains(out, added) {
		t.Fatalf("the link is not dead:\n%s", out)
	}
	ip(t, "-n", far, "rule", "del", "pref", "100")
	returned := time.Now()
	awaitCondition(t, edge, "exposedhost/"+added, "Ready", "True")
	took = time.Since(returned)
	t.Logf("caught up %v after the return", took)
	if took > 10*time.Second {
		t.Errorf("caught up only %v after the return", took)
	}
	if now := creation(t, edge, kept); now != born {
		t.Errorf("the ExposedHost was made at %s, and again at %s", born, now)
	}
}

// linkNamespaces creates two network namespaces with a link between them.
func linkNamespaces(t *testing.T) (near, far string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip(8), of iproute2, to make network namespaces")
	}
	near, far = fmt.Sprintf("usher-near-%d", os.Getpid()), fmt.Sprintf("usher-far-%d", os.Getpid())
	for _, name := range []string{near, far} {
		if out, err := exec.CommandContext(t.Context(), "ip", "netns", "add", name).CombinedOutput(); err != nil {
			t.Skipf("no network namespace can be made here: %s", out)
		}
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
		ip(t, "-n", name, "link", "set", "lo", "up")
	}
	ip(t, "-n", near, "link", "add", "usher-link", "type", "veth", "peer", "name", "usher-link", "netns", far)
	for namespace, addresses := range map[string][]string{near: {usherSide}, far: {edgeSide, memberSide}} {
		for _, address := range addresses {
			ip(t, "-n", namespace, "address", "add", address+"/24", "dev", "usher-link")
		}
		ip(t, "-n", namespace, "link", "set", "usher-link", "up")
	}
	return near, far
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// forward listens in a network namespace, and forwards connections to an address in the
// test's own namespace. It returns its listen address.
func forward(t *testing.T, namespace, address, target string) string {
	t.Helper()
	listener, err := listenIn(t, namespace, address+":0")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go carry(t, conn, target)
		}
	}()
	return listener.Addr().String()
}

// carry copies data between a connection and a target until one of them is closed.
func carry(t *testing.T, conn net.Conn, target string) {
	defer conn.Close()
	onward, err := new(net.Dialer).DialContext(t.Context(), "tcp", target)
	if err != nil {
		return
	}
	defer onward.Close()
	go func() { _, _ = io.Copy(onward, conn); _ = onward.Close() }()
	_, _ = io.Copy(conn, onward)
}

// listenIn creates a listener in a network namespace. It can be used from any namespace.
func listenIn(t *testing.T, namespace, address string) (listener net.Listener, err error) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread, which is in another namespace, ends with the goroutine
		var file *os.File
		if file, err = os.Open(filepath.Join("/run/netns", namespace)); err != nil {
			return
		}
		defer file.Close()
		if err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err == nil {
			listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		}
	}()
	<-done
	return listener, err
}

// kubeconfigVia returns a cluster's kubeconfig with another address.
func kubeconfigVia(t *testing.T, c *testbed.Cluster, address string) string {
	t.Helper()
	kubeconfig, err := c.Kubeconfig()
	testkit.Must(t, err)
	config, err := clientcmd.Load(kubeconfig)
	testkit.Must(t, err)
	for _, cluster := range config.Clusters {
		cluster.Server, cluster.TLSServerName = "https://"+address, "localhost"
	}
	kubeconfig, err = clientcmd.Write(*config)
	testkit.Must(t, err)
	return string(kubeconfig)
}

// awaitCondition waits until a condition of an object has a status.
func awaitCondition(t *testing.T, c *testbed.Cluster, object, kind, status string) {
	t.Helper()
	query := fmt.Sprintf("jsonpath={.status.conditions[?(@.type==%q)].status}", kind)
	testkit.Eventually(t, fmt.Sprintf("%s should be %s=%s", object, kind, status), func() error {
		out, err := c.Kubectl(t.Context(), "get", object, "-o", query)
		if err == nil && out != status {
			err = fmt.Errorf("is %q", out)
		}
		return err
	})
}
