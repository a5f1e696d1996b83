package vm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// TestSourcesAreRead makes go test run this package again after each change of usher.
func TestSourcesAreRead(t *testing.T) { testkit.ReadSources(t) }

const (
	host      = "whoami.techn.is"
	https     = "127.0.0.1:443"
	defaults  = "/etc/default/usher"
	manifests = "/etc/usher/manifests/hosts.yaml"
	greeting  = "hello\n"
)

// The package installs a unit that a person enables. An upgrade replaces the running
// program, and drops neither an open connection nor a new one.
func TestDebianPackage(t *testing.T) {
	m := startMachine(t)
	packages := makePackages(t, m, "v0.1.0", "v0.2.0")
	m.run(t, "dpkg", "--install", packages[0])
	m.fails(t, "systemctl", "is-enabled", "usher")
	m.fails(t, "systemctl", "is-active", "usher")
	m.run(t, "systemd-analyze", "verify", "--man=no", "usher.service")
	m.run(t, "systemd-analyze", "security", "--no-pager", "--threshold=20", "usher.service") // 2.0 of 10

	m.write(t, manifests, fmt.Sprintf(`
apiVersion: usher.techn.is/v1alpha1
kind: ExposedHost
metadata: {name: %s}
spec: {host: %[1]s, backends: [{address: 127.0.0.1, httpsPort: %d}]}
`, host, startEcho(t, m)))
	m.run(t, "systemctl", "enable", "--now", "usher")
	kubectl, err := servers.Locate(servers.Kubectl)
	testkit.Must(t, err)
	apply := []string{kubectl, "--kubeconfig=/var/lib/usher/kubeconfig", "apply", "--server-side", "--filename=" + manifests}
	testkit.Eventually(t, "kubectl applies an ExposedHost", func() error {
		out, err := m.try(t.Context(), apply...)
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	testkit.Eventually(t, "the host is served", m.connect)
	if user := m.run(t, "stat", "--format=%U %a", "/var/lib/usher"); user != "usher 700" {
		t.Errorf("the state is of %s", user)
	}
	options, err := os.ReadFile(m.root + defaults)
	testkit.Must(t, err)
	m.write(t, defaults, string(options)+"# of a person\n")

	t.Run("upgrade", func(t *testing.T) { upgrade(t, m, packages[1]) })
	testkit.Eventually(t, "the API serves after the upgrade", func() error {
		_, err := m.try(t.Context(), apply...)
		return err
	})
	t.Run("wrong flags", func(t *testing.T) { reloadWithWrongFlags(t, m, string(options)) })
	t.Run("crash", func(t *testing.T) { crash(t, m) })
	t.Run("stop", func(t *testing.T) { stop(t, m) })
	t.Run("manifests", func(t *testing.T) { serveManifests(t, m, string(options)) })
	t.Run("remove", func(t *testing.T) { remove(t, m) })
}

// upgrade upgrades the package while connections are open and made.
func upgrade(t *testing.T, m *machine, file string) {
	before := m.mainPID(t)
	open, err := m.open()
	testkit.Must(t, err)
	defer open.Close()
	stopped, result := make(chan struct{}), make(chan error, 1)
	made := 0
	go func() {
		for {
			select {
			case <-stopped:
				result <- nil
				return
			default:
			}
			if err := m.connect(); err != nil {
				result <- err
				return
			}
			made++
		}
	}()
	m.run(t, "dpkg", "--install", "--force-confold", file)
	after := m.mainPID(t)
	m.run(t, "systemctl", "reload", "usher") // again: the new process can be replaced as the first
	close(stopped)
	if err := <-result; err != nil {
		t.Errorf("a new connection failed: %v", err)
	}
	t.Logf("%d connections during two replacements", made)
	if last := m.mainPID(t); before == after || after == last {
		t.Errorf("the main processes were %s, %s and %s", before, after, last)
	}
	if err := echo(open); err != nil {
		t.Errorf("the open connection: %v", err)
	}
	if !strings.Contains(m.run(t, "cat", defaults), "# of a person") {
		t.Error("the upgrade has replaced the flags of a person")
	}
	if processes := m.run(t, "pgrep", "--exact", "usher"); !strings.Contains(processes, before) {
		t.Errorf("process %s is not among %q, and has an open connection", before, processes)
	}
	testkit.Must(t, open.Close())
	testkit.Eventually(t, "the replaced processes end", func() error {
		if processes := m.run(t, "pgrep", "--exact", "usher"); processes != m.mainPID(t) {
			return fmt.Errorf("there are %q", processes)
		}
		return nil
	})
}

// reloadWithWrongFlags reloads with flags that cannot work. The old process continues.
func reloadWithWrongFlags(t *testing.T, m *machine, options string) {
	before := m.mainPID(t)
	for _, flag := range []string{"--nonsense", "--https-listen=192.0.2.1:443"} {
		m.write(t, defaults, strings.Replace(options, `USHER_OPTIONS="`, `USHER_OPTIONS="`+flag+" ", 1))
		m.fails(t, "systemctl", "reload", "usher")
		testkit.Must(t, m.connect())
		if after := m.mainPID(t); after != before {
			t.Errorf("%s: the main process was %s and is %s", flag, before, after)
		}
	}
	m.write(t, defaults, options)
}

// crash kills the main process, while a process that it has replaced has a connection.
func crash(t *testing.T, m *machine) {
	open, err := m.open()
	testkit.Must(t, err)
	defer open.Close()
	m.run(t, "systemctl", "reload", "usher")
	m.run(t, "systemctl", "kill", "--kill-who=main", "--signal=KILL", "usher")
	testkit.Eventually(t, "systemd starts usher again", m.connect)
}

// stop stops the unit, which then drains.
func stop(t *testing.T, m *machine) {
	m.run(t, "systemctl", "reload", "usher") // the main process is one that replaced another
	open, err := m.open()
	testkit.Must(t, err)
	defer open.Close()
	stopped := make(chan error, 1)
	go func() {
		_, err := m.try(context.Background(), "systemctl", "stop", "usher")
		stopped <- err
	}()
	testkit.Eventually(t, "new connections are refused", func() error {
		if m.connect() == nil {
			return errors.New("they are not")
		}
		return nil
	})
	if err := echo(open); err != nil {
		t.Errorf("the open connection during the drain: %v", err)
	}
	testkit.Must(t, open.Close())
	testkit.Must(t, <-stopped)
	m.fails(t, "systemctl", "is-failed", "usher")
}

// serveManifests uses the other flags of the package, as its comment says.
func serveManifests(t *testing.T, m *machine, options string) {
	m.write(t, defaults, strings.NewReplacer("\nUSHER_OPTIONS=", "\n#USHER_OPTIONS=", "\n#USHER_OPTIONS=", "\nUSHER_OPTIONS=").Replace(options))
	m.run(t, "systemctl", "restart", "usher")
	testkit.Must(t, m.connect())
	before := m.mainPID(t)
	m.run(t, "systemctl", "reload", "usher")
	testkit.Must(t, m.connect())
	if before == m.mainPID(t) {
		t.Error("the reload has not replaced the process")
	}
}

// remove removes and purges the package.
func remove(t *testing.T, m *machine) {
	m.run(t, "systemctl", "start", "usher")
	m.run(t, "dpkg", "--remove", "usher")
	if out, err := m.try(t.Context(), "pgrep", "--exact", "usher"); err == nil {
		t.Errorf("after the removal there is process %s", out)
	}
	for _, path := range []string{defaults, "/var/lib/usher", manifests} {
		if !m.exists(path) {
			t.Errorf("the removal has deleted %s", path)
		}
	}
	m.run(t, "dpkg", "--purge", "usher")
	for _, path := range []string{defaults, "/var/lib/usher", "/etc/systemd/system/multi-user.target.wants/usher.service", "/usr/bin/usher"} {
		if m.exists(path) {
			t.Errorf("the purge has left %s", path)
		}
	}
	if !m.exists(manifests) {
		t.Error("the purge has deleted a file that a person wrote")
	}
}

// open opens a TLS connection through usher, and uses it.
func (m *machine) open() (net.Conn, error) {
	conn, err := m.dial(https)
	if err != nil {
		return nil, err
	}
	client := tls.Client(conn, &tls.Config{ServerName: host, InsecureSkipVerify: true})
	if err := echo(client); err != nil {
		_ = client.Close()
		return nil, err
	}
	return client, nil
}

// connect opens a connection through usher, uses it and closes it.
func (m *machine) connect() error {
	conn, err := m.open()
	if err != nil {
		return err
	}
	return conn.Close()
}

// echo sends a text and reads it.
func echo(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(testkit.Timeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, greeting); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, len(greeting)))
	return err
}

// startEcho starts a TLS server in the network of the machine, which returns what it gets.
// It returns its port.
func startEcho(t *testing.T, m *machine) int {
	t.Helper()
	certificates := httptest.NewTLSServer(nil)
	config := certificates.TLS.Clone()
	certificates.Close()
	config.NextProtos = nil
	var listener net.Listener
	testkit.Must(t, m.inNetwork(func() (err error) {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}))
	t.Cleanup(func() { _ = listener.Close() })
	port := listener.Addr().(*net.TCPAddr).Port
	go func() {
		for {
			conn, err := tls.NewListener(listener, config).Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return port
}

// makePackages makes packages of usher with versions, and returns their paths inside. Each
// has other flags, so that dpkg sees a conflict with those that a person wrote.
func makePackages(t *testing.T, m *machine, versions ...string) []string {
	t.Helper()
	dir := t.TempDir()
	nfpm := filepath.Join(dir, "nfpm")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "../../tools/nfpm", "-o", nfpm, "tool")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building nfpm: %v\n%s", err, out)
	}
	_, err := testkit.BuildUsher(dir)
	testkit.Must(t, err)
	for _, name := range []string{"man/man1/usher.1.gz", "completions/usher.bash", "completions/_usher", "completions/usher.fish", "CHANGELOG.md.gz"} {
		path := filepath.Join(dir, name)
		testkit.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		testkit.Must(t, os.WriteFile(path, nil, 0o600))
	}
	sources := filepath.Join(dir, "hack/release/debian")
	testkit.Must(t, os.CopyFS(sources, os.DirFS("../../release/debian")))
	replace(t, filepath.Join(sources, "nfpm.yaml"), "compression: gzip", "compression: none") // which takes no time
	var paths []string
	for _, version := range versions {
		replace(t, filepath.Join(sources, "usher.default"), "# The flags", "# "+version+"\n# The flags")
		path := "/root/usher-" + version + ".deb"
		cmd := exec.CommandContext(t.Context(), nfpm, "package", "--config", "hack/release/debian/nfpm.yaml", "--packager", "deb", "--target", m.root+path)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "USHER_ARCH="+architecture(t), "USHER_VERSION="+version, "USHER_STAGE="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("nfpm: %v\n%s", err, out)
		}
		paths = append(paths, path)
	}
	return paths
}

// replace replaces a text in a file.
func replace(t *testing.T, path, from, to string) {
	t.Helper()
	text, err := os.ReadFile(path)
	testkit.Must(t, err)
	if !strings.Contains(string(text), from) {
		t.Fatalf("%s has no %q", path, from)
	}
	testkit.Must(t, os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o600))
}

// architecture returns dpkg's name of this machine's processor.
func architecture(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "dpkg", "--print-architecture").Output()
	testkit.Must(t, err)
	return strings.TrimSpace(string(out))
}
