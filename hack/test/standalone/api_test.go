package standalone

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// What a person does with kubectl works as in Kubernetes.
func TestKubectl(t *testing.T) {
	p := newEdge(t, filepath.Join(t.TempDir(), "edge")).start(t).ready(t)
	testkit.Must(t, p.apply(t.Context(), list("home", "10.1.0.0/16")))
	testkit.Must(t, p.apply(t.Context(), list("ssa", "10.3.0.0/16"), "--server-side"))
	_, err := p.kubectl(t.Context(), "edit", "networklist", "home")
	testkit.Must(t, err)
	_, err = p.kubectl(t.Context(), "create", "secret", "generic", "token", "-n", "usher-system", "--from-literal=key=value")
	testkit.Must(t, err)
	_, err = p.kubectl(t.Context(), "label", "secret", "token", "-n", "usher-system", "kept=yes")
	testkit.Must(t, err)
	testkit.Must(t, p.apply(t.Context(), "{apiVersion: v1, kind: Secret, metadata: {name: token, namespace: usher-system}, stringData: {more: text}}", "--server-side"))
	for _, test := range []struct {
		args string
		want []string
	}{
		{"get networklists", []string{"NAME", "NETWORKS", "AGE", "10.2.0.0/16"}},
		{"get nl ssa -o yaml --show-managed-fields", []string{"operation: Apply", "f:networks"}},
		{"get exposedhosts", nil},
		{"explain exposedhost.spec", []string{"KIND:       ExposedHost", "holder"}},
		{"explain secret.stringData", []string{"KIND:       Secret", "write-only"}},
		{"get secrets -A", []string{"TYPE", "DATA", "Opaque", "2"}},
		{"get secret token -n usher-system -o jsonpath={.data.more}", []string{"dGV4dA=="}},
		{"get secrets -A --field-selector type=Opaque -l kept=yes -o name", []string{"secret/token"}},
		{"get namespaces", []string{"usher-system", "Active"}},
		{"get events -A", []string{"LAST SEEN", "LeaderElection"}},
		{"get events.events.k8s.io -A", []string{"LeaderElection"}},
		{"get leases -A", []string{"HOLDER", "usher"}},
		{"describe nl home", []string{"10.2.0.0/16"}},
		{"api-resources", []string{"memberclusters", "leases"}},
		{"version", []string{"Server Version: v1."}},
		{"delete nl ssa", []string{"deleted"}},
	} {
		out, err := p.kubectl(t.Context(), strings.Fields(test.args)...)
		if err != nil || !testkit.ContainsAll(out, test.want) {
			t.Errorf("kubectl %s: %v\n%s\nwant %q", test.args, err, out, test.want)
		}
	}
	if strings.Contains(p.log.String(), "SHOULD NOT HAPPEN") {
		t.Error("the fields of an object are not in its schema")
	}
}

// What is invalid is refused, and the message says why.
func TestRefusals(t *testing.T) {
	p := newEdge(t, filepath.Join(t.TempDir(), "edge")).start(t).ready(t)
	for _, test := range []struct{ manifest, want string }{
		{list("bad", "nonsense"), "not a CIDR"},
		{"{apiVersion: usher.techn.is/v1alpha1, kind: NetworkList, metadata: {name: bad}, spec: {nets: []}}", "nets"},
		{"{apiVersion: v1, kind: Secret, metadata: {name: lost, namespace: nowhere}}", `namespaces "nowhere" not found`},
		{"{apiVersion: v1, kind: Secret, metadata: {name: bad, namespace: default}, data: {a/b: YQ==}}", "data[a/b]"},
		{"{apiVersion: v1, kind: Secret, metadata: {name: Bad_Name, namespace: default}}", "metadata.name"},
	} {
		if err := p.apply(t.Context(), test.manifest); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v; want %q", test.manifest, err, test.want)
		}
	}
	if _, err := p.kubectl(t.Context(), "delete", "namespace", "usher-system"); err == nil {
		t.Error("a namespace was deleted, and what is in it stays")
	}
}

// kubectl get -w shows changes.
func TestWatch(t *testing.T) {
	p := newEdge(t, filepath.Join(t.TempDir(), "edge")).start(t).ready(t)
	seen := &output{}
	watch := exec.CommandContext(t.Context(), kubectlPath, "--kubeconfig", p.kubeconfig(), "get", "networklists", "-w")
	watch.Stdout = seen
	testkit.Must(t, watch.Start())
	defer func() { _ = watch.Process.Kill(); _ = watch.Wait() }()
	testkit.Eventually(t, "a watch should see the object", func() error {
		if err := p.apply(t.Context(), list("seen", "10.7.0.0/16")); err != nil {
			return err
		}
		if !strings.Contains(seen.String(), "10.7.0.0/16") {
			return fmt.Errorf("it has %q", seen)
		}
		return nil
	})
}

// Without a certificate of the edge's authority nothing is answered, and no other user of
// the machine may read a file or reach etcd.
func TestNobodyElse(t *testing.T) {
	parent := t.TempDir()
	testkit.Must(t, os.Chmod(parent, 0o755))
	p := newEdge(t, filepath.Join(parent, "edge")).start(t).ready(t)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for _, path := range []string{"/api/v1/secrets", "/apis/usher.techn.is/v1alpha1/exposedhosts", "/readyz", "/metrics", "/version"} {
		answer, err := client.Get("https://" + p.api + path)
		testkit.Must(t, err)
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a certificate: %s", path, answer.Status)
		}
	}
	testkit.Must(t, filepath.WalkDir(p.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 && entry.Type() != fs.ModeSocket {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	}))
	if os.Geteuid() == 0 {
		other := exec.CommandContext(t.Context(), "/bin/sh", "-c", "ls "+p.dir+"/etcd/client.sock || cat "+p.dir+"/pki/admin.pem")
		other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := other.CombinedOutput(); err == nil || !strings.Contains(string(out), "denied") {
			t.Errorf("another user: %v, %s", err, out)
		}
	}
	for _, socket := range p.tcpListeners(t) {
		if socket != p.api {
			t.Errorf("the API server listens on %s besides %s", socket, p.api)
		}
	}
}

// The commands of the docs make a kubeconfig for another machine. A certificate of the same
// authority without the group, and one of another authority, may do nothing.
func TestKubeconfigForAnotherMachine(t *testing.T) {
	p := newEdge(t, filepath.Join(t.TempDir(), "edge")).start(t).ready(t)
	text, err := os.ReadFile("../../../docs/standalone.md")
	testkit.Must(t, err)
	_, after, found := strings.Cut(string(text), "    umask 077\n")
	commands, _, ended := strings.Cut(after, "\n\n")
	if !found || !ended {
		t.Fatal("the docs have no such commands")
	}
	at := strings.NewReplacer("https://edge.home.arpa:6443", "https://"+p.api, "/var/lib/usher", p.dir, "kubectl ", kubectlPath+" ")
	work := t.TempDir()
	shell := func(script string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), "/bin/sh", "-euc", script)
		command.Dir = work
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	get := func(want string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), kubectlPath, "--kubeconfig", filepath.Join(work, "ana.kubeconfig"), "get", "networklists", "--request-timeout=20s")
		out, err := command.CombinedOutput()
		if !strings.Contains(string(out), want) || (err == nil) != (want == "No resources found") {
			t.Errorf("%v: %s; want %q", err, out, want)
		}
	}
	shell("umask 077\n" + at.Replace(commands))
	get("No resources found")
	shell("umask 077\n" + strings.Replace(at.Replace(commands), "/O=system:masters/CN=ana", "/CN=ana", 1))
	get("Forbidden")
	shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout own.key -subj /CN=own -out own.crt -days 1\n" +
		strings.Replace(at.Replace(commands), "-CA "+p.dir+"/pki/ca.crt -CAkey "+p.dir+"/pki/ca.key", "-CA own.crt -CAkey own.key", 1))
	get("Unauthorized")
}

// A directory that others may enter is refused, and the message says what to do.
func TestOpenDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "open")
	testkit.Must(t, os.Mkdir(dir, 0o755))
	p := newEdge(t, dir).start(t)
	_ = p.cmd.Wait()
	if !strings.Contains(p.log.String(), "chmod 700 "+dir) {
		t.Errorf("%s", p.log)
	}
}
