package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// The status page of a pod whose admin listener asks the API server who may read is shown by
// usher dashboard, also after the pod was replaced. On the host's network the listener is on
// loopback, and the port-forward outlives the pod there: containerd goes on to dial the
// node's own loopback address, where the next pod listens.
func TestDashboard(t *testing.T) {
	for _, test := range []struct {
		name, values string
		outlives     bool
	}{
		{"on the host's network", "network=HostNetwork", true},
		{"behind a load balancer", "network=LoadBalancer", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			install(t, "adminAuth=kubernetes", test.values)
			enroll(t, "hades")
			annotate(t, "hades")
			shown := startDashboard(t)
			address := shown.await(t, `http://[0-9.:]+/`)
			for path, want := range map[string]string{"": host("hades"), "hosts/" + host("hades"): "IngressRoute", "metrics": "usher_routes 1", "history": host("hades")} {
				testkit.Eventually(t, "the dashboard should show /"+path, func() error {
					status, body, err := read(t, address+path)
					if err == nil && (status != http.StatusOK || !strings.Contains(body, want)) {
						err = fmt.Errorf("it answers %d, and lacks %q:\n%.500s", status, want, body)
					}
					return err
				})
			}
			if test.outlives {
				if status, _, err := read(t, "http://127.0.0.1:8080/"); status != http.StatusUnauthorized {
					t.Errorf("without a token the page answers %d, %v", status, err)
				}
				if status, _, err := read(t, "http://127.0.0.1:8080/healthz"); status != http.StatusOK {
					t.Errorf("without a token /healthz answers %d, %v", status, err)
				}
			}

			kubectl(t, "delete", "pods", "--namespace", namespace, "--selector=app.kubernetes.io/name=usher", "--grace-period=1")
			testkit.Eventually(t, "the dashboard should show the new pod", func() error { // a request notices that the pod has gone
				status, _, err := read(t, address)
				if err == nil && status != http.StatusOK {
					err = fmt.Errorf("it answers %d", status)
				}
				if printed := shown.printed(); err == nil && !test.outlives && !strings.Contains(printed, "Connected to pod ") {
					err = fmt.Errorf("it has printed %q", printed)
				}
				return err
			})
			shown.interrupt(t)
		})
	}
}

// read returns the answer to a GET request.
func read(t *testing.T, url string) (status int, body string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	testkit.Must(t, err)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// dashboard is a running usher dashboard.
type dashboard struct {
	cmd    *exec.Cmd
	mu     sync.Mutex
	output bytes.Buffer
}

func startDashboard(t *testing.T) *dashboard {
	t.Helper()
	d := &dashboard{cmd: exec.CommandContext(t.Context(), usher(), "dashboard", "--port=0")}
	d.cmd.Env = append(os.Environ(), "KUBECONFIG="+os.Getenv(kubeconfigVariable))
	d.cmd.Stdout, d.cmd.Stderr = d, d
	testkit.Must(t, d.cmd.Start())
	t.Cleanup(func() { _ = d.cmd.Process.Kill() })
	return d
}

// Write implements io.Writer.
func (d *dashboard) Write(text []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.output.Write(text)
}

// await waits until the command has printed a pattern, and returns the match.
func (d *dashboard) await(t *testing.T, pattern string) (match string) {
	t.Helper()
	testkit.Eventually(t, "usher dashboard should print "+pattern, func() error {
		printed := d.printed()
		if match = regexp.MustCompile(pattern).FindString(printed); match == "" {
			return fmt.Errorf("it has printed %q", printed)
		}
		return nil
	})
	return match
}

func (d *dashboard) printed() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.output.String()
}

// interrupt ends the command as Ctrl-C does.
func (d *dashboard) interrupt(t *testing.T) {
	t.Helper()
	testkit.Must(t, d.cmd.Process.Signal(os.Interrupt))
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("usher dashboard ends with %v:\n%s", err, &d.output)
	}
}
