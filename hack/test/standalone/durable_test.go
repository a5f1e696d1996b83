package standalone

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// tcpListeners returns the addresses that the API server listens on.
func (p *process) tcpListeners(t *testing.T) []string {
	t.Helper()
	own := map[string]bool{}
	for _, child := range p.children() {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", child))
		for _, link := range links {
			if target, err := os.Readlink(link); err == nil {
				own[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] = true
			}
		}
	}
	var all []string
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(table)
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) < 10 || fields[3] != "0A" || !own[fields[9]] {
				continue
			}
			var a, b, c, d, port int
			if _, err := fmt.Sscanf(fields[1], "%02X%02X%02X%02X:%04X", &d, &c, &b, &a, &port); err == nil && len(fields[1]) == 13 {
				all = append(all, fmt.Sprintf("%d.%d.%d.%d:%d", a, b, c, d, port))
			} else {
				all = append(all, fields[1])
			}
		}
	}
	if len(all) == 0 {
		t.Error("the API server listens nowhere")
	}
	return all
}

// What the API has acknowledged is there after SIGKILL at any moment.
func TestKill(t *testing.T) {
	e := newEdge(t, filepath.Join(t.TempDir(), "edge"))
	var written []string
	for round := range 4 {
		p := e.start(t).ready(t)
		found, err := p.kubectl(t.Context(), "get", "networklists", "-o", "name")
		testkit.Must(t, err)
		for _, name := range written {
			if !strings.Contains(found, "/"+name+"\n") {
				t.Fatalf("round %d: %s was acknowledged and is lost", round, name)
			}
		}
		write := p.writer(t)
		end := time.AfterFunc(time.Duration(100+150*round)*time.Millisecond, func() {
			for _, child := range p.children() {
				_ = syscall.Kill(child, syscall.SIGKILL)
			}
			_ = p.cmd.Process.Kill()
		})
		for i := 0; ; i++ {
			name := fmt.Sprintf("r%d-%d", round, i)
			if write(name) != nil {
				break
			}
			written = append(written, name)
		}
		end.Stop()
		p.kill(t)
	}
	t.Logf("%d objects were written and kept", len(written))
	if len(written) < 4 {
		t.Errorf("only %q were written", written)
	}
}

// writer returns a function that creates a NetworkList, faster than kubectl does.
func (p *process) writer(t *testing.T) func(name string) error {
	t.Helper()
	admin := filepath.Join(p.dir, "pki", "admin.pem")
	certificate, err := tls.LoadX509KeyPair(admin, admin)
	testkit.Must(t, err)
	authority, err := os.ReadFile(filepath.Join(p.dir, "pki", "ca.crt"))
	testkit.Must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	client := &http.Client{Timeout: testkit.Timeout, Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, RootCAs: roots}}}
	return func(name string) error {
		answer, err := client.Post("https://"+p.api+"/apis/usher.techn.is/v1alpha1/networklists", "application/yaml", strings.NewReader(list(name, "10.0.0.0/8")))
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusCreated {
			return errors.New(answer.Status)
		}
		return nil
	}
}

// The API server is started again when it ends, and the proxy does not.
func TestAPIServerEnds(t *testing.T) {
	p := newEdge(t, filepath.Join(t.TempDir(), "edge")).start(t).ready(t)
	testkit.Must(t, p.apply(t.Context(), list("kept", "10.0.0.0/8")))
	for _, child := range p.children() {
		testkit.Must(t, syscall.Kill(child, syscall.SIGKILL))
	}
	testkit.Eventually(t, "the API should answer again", func() error {
		if err := p.isReady(); err != nil {
			t.Errorf("usher is not ready: %v", err)
		}
		_, err := p.kubectl(t.Context(), "get", "networklist", "kept")
		return err
	})
	if strings.Contains(p.log.String(), "no kind NetworkList") {
		t.Error("usher believed that the kind is gone")
	}
}

// A process that starts while another one serves takes over, and the API follows.
func TestTakeover(t *testing.T) {
	e := newEdge(t, filepath.Join(t.TempDir(), "edge"))
	old := e.start(t).ready(t)
	testkit.Must(t, old.apply(t.Context(), list("kept", "10.0.0.0/8")))
	next := e.start(t)
	testkit.WaitFor(t, "the next process to start", func() bool { return strings.Contains(next.log.String(), `"msg":"Started"`) })
	old.stop(t)
	testkit.Must(t, next.isReady())
	testkit.Eventually(t, "the next API server should answer", func() error {
		_, err := next.kubectl(t.Context(), "get", "networklist", "kept")
		return err
	})
	testkit.Must(t, next.apply(t.Context(), list("more", "10.0.0.0/8")))
}

// A start installs the definitions of this version over those of an older one, and keeps
// the objects.
func TestUpgrade(t *testing.T) {
	e := newEdge(t, filepath.Join(t.TempDir(), "edge"))
	p := e.start(t).ready(t)
	testkit.Must(t, p.apply(t.Context(), list("kept", "10.0.0.0/8")))
	_, err := p.kubectl(t.Context(), "patch", "crd", "networklists.usher.techn.is", "--type=json", "-p", `[{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns"}, {"op": "remove", "path": "/spec/names/shortNames"}]`)
	testkit.Must(t, err)
	p.stop(t)
	p = e.start(t).ready(t)
	out, err := p.kubectl(t.Context(), "get", "networklists")
	if err != nil || !testkit.ContainsAll(out, []string{"NETWORKS", "10.0.0.0/8"}) {
		t.Errorf("%v: %s", err, out)
	}
}

const fullEnv = "USHER_STANDALONE_TMPFS"

// A full disk ends the API server and not the proxy. The log says what to do, and the API
// is back when there is room again.
func TestFullDisk(t *testing.T) {
	if os.Getenv(fullEnv) == "" {
		testkit.InMountNamespace(t, fullEnv)
		return
	}
	mount := t.TempDir()
	testkit.Must(t, syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=64m,mode=700"))
	t.Cleanup(func() { _ = syscall.Unmount(mount, syscall.MNT_DETACH) })
	p := newEdge(t, filepath.Join(mount, "edge")).start(t).ready(t)
	testkit.Must(t, p.apply(t.Context(), list("kept", "10.0.0.0/8")))
	filler := filepath.Join(mount, "filler")
	fill(t, filler)
	for _, child := range p.children() { // and at the worst time
		_ = syscall.Kill(child, syscall.SIGKILL)
	}
	testkit.Eventually(t, "the log should say what to do", func() error {
		if !strings.Contains(p.log.String(), "make room on the disk of "+p.dir) {
			return errors.New("it does not")
		}
		return nil
	})
	testkit.Must(t, p.isReady())
	testkit.Must(t, os.Remove(filler))
	testkit.Eventually(t, "the API should answer again", func() error {
		if err := p.isReady(); err != nil {
			t.Errorf("usher is not ready: %v", err)
		}
		_, err := p.kubectl(t.Context(), "get", "networklist", "kept")
		return err
	})
	testkit.Eventually(t, "the API should take writes again", func() error { return p.apply(t.Context(), list("more", "10.0.0.0/8")) })
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	testkit.Must(t, err)
	for size := 1 << 20; size > 0; {
		if _, err := file.Write(make([]byte, size)); err != nil {
			size /= 16
		}
	}
	testkit.Must(t, file.Close())
}

// A backup of a running edge, and of one that is stopped, is restored into an empty
// directory; certificates stay valid.
func TestBackup(t *testing.T) {
	e := newEdge(t, filepath.Join(t.TempDir(), "edge"))
	p := e.start(t).ready(t)
	testkit.Must(t, p.apply(t.Context(), list("kept", "10.0.0.0/8")))
	_, err := p.kubectl(t.Context(), "create", "secret", "generic", "token", "-n", "usher-system", "--from-literal=key=value")
	testkit.Must(t, err)
	copies := t.TempDir()
	running, stopped := filepath.Join(copies, "running.tar.gz"), filepath.Join(copies, "stopped.tar.gz")
	_, err = p.usher(t.Context(), "standalone", "backup", running, "--dir", p.dir)
	testkit.Must(t, err)
	p.stop(t)
	_, err = p.usher(t.Context(), "standalone", "backup", stopped, "--dir", p.dir)
	testkit.Must(t, err)
	if _, err := p.usher(t.Context(), "standalone", "backup", stopped, "--dir", p.dir); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("over an older backup: %v", err)
	}
	if _, err := p.usher(t.Context(), "standalone", "restore", running, "--dir", p.dir); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("into a directory that is not empty: %v", err)
	}
	damaged := filepath.Join(copies, "damaged.tar.gz")
	whole, err := os.ReadFile(running)
	testkit.Must(t, err)
	testkit.Must(t, os.WriteFile(damaged, whole[:len(whole)-20], 0o600))
	into := newEdge(t, filepath.Join(t.TempDir(), "restored"))
	if _, err := p.usher(t.Context(), "standalone", "restore", damaged, "--dir", into.dir); err == nil {
		t.Error("a damaged backup is restored")
	}
	if _, err := os.Stat(into.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a failure leaves something behind: %v", err)
	}
	for i, file := range []string{running, stopped} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
		into := newEdge(t, filepath.Join(t.TempDir(), fmt.Sprint("restored", i)))
		_, err = p.usher(t.Context(), "standalone", "restore", file, "--dir", into.dir)
		testkit.Must(t, err)
		again := into.start(t).ready(t)
		out, err := again.kubectl(t.Context(), "get", "networklist/kept", "secret/token", "-n", "usher-system", "-o", "name")
		if err != nil || !testkit.ContainsAll(out, []string{"kept", "token"}) {
			t.Errorf("%v: %s", err, out)
		}
		if i == 0 {
			before, err := os.ReadFile(filepath.Join(e.dir, "pki", "admin.pem"))
			testkit.Must(t, err)
			after, err := os.ReadFile(filepath.Join(into.dir, "pki", "admin.pem"))
			testkit.Must(t, err)
			if !bytes.Equal(before, after) {
				t.Error("the certificate is another one")
			}
		}
		again.stop(t)
	}
}
