package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/process"
)

// loopback replaces the addresses that a pod listens on.
var loopback = map[string]string{ // flag → value
	"--https-listen": "127.0.0.1:0",
	"--http-listen":  "127.0.0.1:0",
	"--admin-listen": "127.0.0.1:0",
}

// A pod is the process of a rendered pod, which runs on this machine without a container.
type pod struct {
	logFile string
	stop    func()
}

// start runs the command line of a rendered pod with its environment, its volumes and the token of
// its account. It is killed when the test ends.
func (r *release) start(t *testing.T, workload string) *pod {
	t.Helper()
	spec, ok := r.pods[workload]
	if !ok {
		t.Fatalf("there is no workload %s", workload)
	}
	dir := t.TempDir()
	kubeconfig, err := bed.Cluster("edge").KubeconfigFor(t.Context(), namespace, spec.ServiceAccountName)
	testkit.Must(t, err)
	file := filepath.Join(dir, "kubeconfig") // replaces the token and the address of a pod in a cluster
	testkit.Must(t, os.WriteFile(file, kubeconfig, 0o600))
	container := spec.Containers[0]
	p := &pod{logFile: filepath.Join(dir, "log")}
	running, err := process.Start(process.Command{
		Path:    program,
		Args:    append(commandLine(t, container, dir), "--kubeconfig="+file, "--namespace="+namespace),
		Env:     environment(container),
		LogFile: p.logFile,
	})
	testkit.Must(t, err)
	p.stop = running.Kill
	t.Cleanup(p.stop)
	return p
}

// commandLine returns the command line of a container, with loopback addresses instead of the pod's,
// and with a folder in dir for each volume.
func commandLine(t *testing.T, container corev1.Container, dir string) []string {
	t.Helper()
	var args []string
	for _, arg := range container.Args {
		name, _, _ := strings.Cut(arg, "=")
		if _, replaced := loopback[name]; replaced {
			continue
		}
		for _, mount := range container.VolumeMounts {
			folder := filepath.Join(dir, mount.Name)
			testkit.Must(t, os.MkdirAll(folder, 0o700))
			arg = strings.ReplaceAll(arg, mount.MountPath, folder)
		}
		args = append(args, arg)
	}
	for _, name := range slices.Sorted(maps.Keys(loopback)) {
		args = append(args, name+"="+loopback[name])
	}
	return args
}

func environment(container corev1.Container) []string {
	var env []string
	for _, variable := range container.Env {
		env = append(env, variable.Name+"="+variable.Value)
	}
	return env
}

func (p *pod) log(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(p.logFile)
	testkit.Must(t, err)
	return string(content)
}

// addresses are the listen addresses of a pod, as logged.
type addresses struct{ HTTPS, Admin []netip.AddrPort }

// addresses waits until the pod listens.
func (p *pod) addresses(t *testing.T) (found addresses) {
	t.Helper()
	testkit.Eventually(t, "usher should start", func() error {
		for line := range strings.Lines(p.log(t)) {
			var said struct {
				Message string `json:"msg"`
				addresses
			}
			if json.Unmarshal([]byte(line), &said) == nil && said.Message == "Started" {
				found = said.addresses
				return nil
			}
		}
		return fmt.Errorf("it logs %s", p.log(t))
	})
	return found
}
