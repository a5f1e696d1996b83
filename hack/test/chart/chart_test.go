package chart

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

const namespace = "usher-system"

// A release has the objects that run usher, as rendered from the chart or from config/.
type release struct {
	roles []rbacv1.ClusterRole // Roles too, with a namespace
	pods  map[string]corev1.PodSpec
	rest  []string // ServiceAccounts and bindings
}

// renderChart renders the chart with values, as KEY=VALUE.
func renderChart(t *testing.T, values ...string) release {
	t.Helper()
	out, err := helmTemplate(t, values...)
	testkit.Must(t, err)
	return parse(t, out)
}

func helmTemplate(t *testing.T, values ...string) ([]byte, error) {
	t.Helper()
	args := []string{"template", "usher", "../../../charts/usher", "--namespace", namespace}
	for _, value := range values {
		args = append(args, "--set="+value)
	}
	return output(t, servers.Helm, args...)
}

// renderConfig renders config/ as `kubectl apply -k config` does.
func renderConfig(t *testing.T) release {
	t.Helper()
	out, err := output(t, servers.Kubectl, "kustomize", "../../../config")
	testkit.Must(t, err)
	return parse(t, out)
}

// output returns the standard output of one of the test bed's programs. An error contains its standard error.
func output(t *testing.T, program string, args ...string) ([]byte, error) {
	t.Helper()
	path, err := servers.Locate(program)
	testkit.Must(t, err)
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	return out, err
}

func parse(t *testing.T, manifests []byte) release {
	t.Helper()
	r := release{pods: map[string]corev1.PodSpec{}}
	for document := range bytes.SplitSeq(manifests, []byte("\n---\n")) {
		testkit.Must(t, r.sort(document))
	}
	if len(r.roles) == 0 || len(r.pods) == 0 {
		t.Fatalf("rendered %d roles and %d pods", len(r.roles), len(r.pods))
	}
	return r
}

// sort stores a rendered object in the field for its kind.
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

// apply applies the release's roles without one permission; the zero value removes none.
func (r *release) apply(t *testing.T, without permission) {
	t.Helper()
	edge := bed.Cluster("edge")
	for _, role := range r.roles {
		role.Rules = without.takenFrom(role)
		manifest, err := yaml.Marshal(role)
		testkit.Must(t, err)
		testkit.Must(t, edge.Apply(context.Background(), string(manifest)))
	}
}

// waitUntilRefused waits until the API server refuses a permission to a workload's
// account. The API server watches the roles. A program that starts before it has seen
// the change may use the permission, and may not need it again.
func (r *release) waitUntilRefused(t *testing.T, workload string, p permission) {
	t.Helper()
	resource, subresource, _ := strings.Cut(p.resource, "/")
	account := "system:serviceaccount:" + namespace + ":" + r.pods[workload].ServiceAccountName
	testkit.Eventually(t, account+" should be refused: "+p.String(), func() error {
		return bed.Cluster("edge").Refuses(t.Context(), account, authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: p.verbs[0], Group: p.group, Resource: resource, Subresource: subresource,
		})
	})
}
