// Package standalone tests an edge without Kubernetes: usher run --standalone, with the
// real kubectl, a real member and a real Traefik. It must not import usher's own packages.
package standalone

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// programEnv has the path of usher in a process of the test that another one has started.
const programEnv = "USHER_STANDALONE_PROGRAM"

var program, kubectlPath string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "usher-standalone-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if program = os.Getenv(programEnv); program == "" {
		if program, err = testkit.BuildUsher(dir); err == nil {
			err = os.Setenv(programEnv, program)
		}
	}
	if err == nil {
		kubectlPath, err = servers.Locate(servers.Kubectl)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// TestSourcesAreRead makes go test run this package again after each change of usher.
func TestSourcesAreRead(t *testing.T) { testkit.ReadSources(t) }

// An edge is a directory, and the addresses of the processes that use it.
type edge struct {
	dir                     string
	https, http, admin, api string
	cache                   string // of kubectl
}

func newEdge(t *testing.T, dir string) *edge {
	t.Helper()
	free := func() string { return testkit.FreeAddress(t, "127.0.0.1") }
	return &edge{dir: dir, https: free(), http: free(), admin: free(), api: free(), cache: t.TempDir()}
}

// A process is a running usher.
type process struct {
	*edge
	cmd *exec.Cmd
	log *output
}

// output is the log of a process.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start starts usher.
func (e *edge) start(t *testing.T) *process {
	t.Helper()
	args := []string{"run", "--standalone", e.dir, "--https-listen", e.https, "--http-listen", e.http, "--admin-listen", e.admin, "--api-listen", e.api}
	p := &process{edge: e, cmd: exec.CommandContext(t.Context(), program, args...), log: &output{}}
	p.cmd.Stderr, p.cmd.WaitDelay = p.log, 10*time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	testkit.Must(t, p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("the log of usher:\n%s", p.log)
		}
	})
	return p
}

// ready waits until usher serves and its API does.
func (p *process) ready(t *testing.T) *process {
	t.Helper()
	testkit.Eventually(t, "usher should be ready", p.isReady)
	testkit.Eventually(t, "the API should be ready", func() error {
		_, err := p.kubectl(t.Context(), "get", "--raw", "/readyz")
		return err
	})
	return p
}

func (p *process) isReady() error {
	answer, err := http.Get("http://" + p.admin + "/readyz")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", answer.Status)
	}
	return nil
}

// kill ends usher by SIGKILL, and waits until it and its API server have ended.
func (p *process) kill(t *testing.T) {
	t.Helper()
	children := p.children()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	for _, child := range children {
		testkit.WaitFor(t, "the API server to end", func() bool { return syscall.Kill(child, 0) != nil })
	}
}

// stop ends usher by SIGTERM.
func (p *process) stop(t *testing.T) {
	t.Helper()
	testkit.Must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	_ = p.cmd.Wait()
}

// children returns the process IDs of the API server.
func (p *process) children() []int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.cmd.Process.Pid))
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid))
	for _, task := range tasks {
		more, _ := os.ReadFile(task)
		text = append(append(text, ' '), more...)
	}
	var all []int
	for word := range strings.FieldsSeq(string(text)) {
		if id, err := strconv.Atoi(word); err == nil {
			all = append(all, id)
		}
	}
	return all
}

func (e *edge) kubeconfig() string { return filepath.Join(e.dir, "kubeconfig") }

// kubectl runs the real kubectl.
func (e *edge) kubectl(ctx context.Context, args ...string) (string, error) {
	return e.run(ctx, "", kubectlPath, args...)
}

// usher runs a command of usher.
func (e *edge) usher(ctx context.Context, args ...string) (string, error) {
	return e.run(ctx, "", program, args...)
}

// apply applies a manifest.
func (e *edge) apply(ctx context.Context, manifest string, flags ...string) error {
	_, err := e.run(ctx, manifest, kubectlPath, append([]string{"apply", "-f", "-"}, flags...)...)
	return err
}

func (e *edge) run(ctx context.Context, input, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	cmd.Env = append(os.Environ(), "KUBECONFIG="+e.kubeconfig(), "KUBECACHEDIR="+e.cache, "KUBERC=off", "KUBE_EDITOR=sed -i s/10.1.0.0/10.2.0.0/")
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// list is the manifest of a NetworkList.
func list(name, network string) string {
	return fmt.Sprintf("{apiVersion: usher.techn.is/v1alpha1, kind: NetworkList, metadata: {name: %s}, spec: {networks: [%q]}}\n", name, network)
}
