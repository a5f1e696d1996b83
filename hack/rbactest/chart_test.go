package rbactest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/hack/testbed/process"
	"github.com/jovalle/usher/hack/testbed/servers"
)

const namespace = "usher-system"

// A release is what the chart renders in split mode, where each half has an account of its own.
type release struct {
	roles []rbacv1.ClusterRole // Roles too, with a namespace
	pods  map[string]corev1.PodSpec
	rest  []string // ServiceAccounts and bindings
}

// render renders the chart.
func render(t *testing.T) release {
	t.Helper()
	helm, err := servers.Locate(servers.Helm)
	must(t, err)
	out, err := exec.CommandContext(t.Context(), helm, "template", "usher", "../../charts/usher", "--namespace", namespace,
		"--set=mode=split,edgeIsMember=true,replicas=2").Output()
	must(t, err)
	r := release{pods: map[string]corev1.PodSpec{}}
	for document := range bytes.SplitSeq(out, []byte("\n---\n")) {
		must(t, r.sort(document))
	}
	if len(r.roles) == 0 || len(r.pods) != 2 {
		t.Fatalf("rendered %d roles and %d pods", len(r.roles), len(r.pods))
	}
	return r
}

// sort puts a rendered object where it belongs.
func (r *release) sort(document []byte) error {
	var workload appsv1.DaemonSet // a Deployment's pod template is in the same place
	if err := yaml.Unmarshal(document, &workload); err != nil {
		return err
	}
	switch workload.Kind {
	case "Deployment", "DaemonSet":
		r.pods[workload.Name] = workload.Spec.Template.Spec
	case "ClusterRole", "Role":
		var role rbacv1.ClusterRole
		if err := yaml.Unmarshal(document, &role); err != nil {
			return err
		}
		r.roles = append(r.roles, role)
	case "ServiceAccount", "ClusterRoleBinding", "RoleBinding":
		r.rest = append(r.rest, string(document))
	}
	return nil
}

// loopback replaces the addresses that a pod listens on.
var loopback = map[string]string{ // flag → value
	"--https-listen": "127.0.0.1:0",
	"--http-listen":  "127.0.0.1:0",
	"--admin-listen": "127.0.0.1:0",
}

// start runs a rendered pod's command line under its account's token. Stop ends it.
func (r *release) start(t *testing.T, workload string) (log func() string, stop func()) {
	t.Helper()
	pod := r.pods[workload]
	kubeconfig, err := bed.Cluster("edge").KubeconfigFor(t.Context(), namespace, pod.ServiceAccountName)
	must(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "kubeconfig")
	must(t, os.WriteFile(file, kubeconfig, 0o600))
	args := []string{}
	for _, arg := range pod.Containers[0].Args {
		name, _, _ := strings.Cut(arg, "=")
		if _, replaced := loopback[name]; !replaced && name != "--state-dir" {
			args = append(args, arg)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(loopback)) {
		args = append(args, name+"="+loopback[name])
	}
	logFile := filepath.Join(dir, "log")
	p, err := process.Start(process.Command{
		Path:    program,
		Args:    append(args, "--kubeconfig="+file, "--namespace="+namespace, "--state-dir="+filepath.Join(dir, "state"))[:len(args)+2],
		LogFile: logFile,
	})
	must(t, err)
	t.Cleanup(p.Kill)
	return func() string {
		content, err := os.ReadFile(logFile)
		must(t, err)
		return string(content)
	}, p.Kill
}

// apply applies the release's roles but for one permission, which is the zero value for all.
func (r *release) apply(t *testing.T, without permission) {
	t.Helper()
	edge := bed.Cluster("edge")
	for _, role := range r.roles {
		role.Rules = without.takenFrom(role)
		manifest, err := yaml.Marshal(role)
		must(t, err)
		must(t, edge.Apply(context.Background(), string(manifest)))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Output's own
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
}
