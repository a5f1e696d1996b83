package enroll

import (
	"errors"
	"slices"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
)

func TestAddDoesNotChangeObjectsOfOthers(t *testing.T) {
	edge, hades := reach(t)
	id, err := identify(t.Context(), edge, "hades")
	testkit.Must(t, err)
	labels := func(member, edge string) string {
		return "{app.kubernetes.io/managed-by: usher, usher.techn.is/cluster: " + member + ", usher.techn.is/edge: " + edge + "}"
	}
	for _, test := range []struct {
		name, cluster, manifest string
		object, remedy          string // of the error
	}{
		{"a person's namespace", "hades", "{apiVersion: v1, kind: Namespace, metadata: {name: usher-reader}}",
			"Namespace usher-reader (context hades)", "was not created by usher"},
		{"a chart's role", "hades", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: usher-reader, labels: {app.kubernetes.io/managed-by: Helm}}}",
			"ClusterRole usher-reader (context hades)", "was not created by usher"},
		{"another member's role", "hades", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: usher-reader, labels: " + labels("pluto", string(id.edge)) + "}}",
			"ClusterRole usher-reader (context hades)", `belongs to the member "pluto"`},
		{"another edge's role", "hades", "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: usher-reader, labels: " + labels("hades", "e9c5") + "}}",
			"ClusterRole usher-reader (context hades)", "--all-namespaces -l usher.techn.is/edge=e9c5"},
		{"a role beside Traefik", "hades", "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: usher-reader, namespace: kube-system}}",
			"Role kube-system/usher-reader (context hades)", "was not created by usher"},
		{"a person's Secret at the edge", "edge", "{apiVersion: v1, kind: Secret, metadata: {name: hades-kubeconfig, namespace: usher-system}, stringData: {kubeconfig: mine}}",
			"Secret usher-system/hades-kubeconfig (context edge)", "was not created by usher"},
		{"a chart's MemberCluster", "edge", "{apiVersion: usher.techn.is/v1alpha1, kind: MemberCluster, metadata: {name: hades, labels: {app.kubernetes.io/managed-by: Helm}}}",
			"MemberCluster hades (context edge)", "was not created by usher"},
	} {
		t.Run(test.name, func(t *testing.T) {
			apply(t, test.cluster, test.manifest)
			before := snapshot(t)
			o := options(nil)
			following(&o)
			err := Add(t.Context(), edge, hades, o)
			if !errors.Is(err, ErrConflict) {
				t.Fatal(err)
			}
			wantText(t, err.Error(), test.object, test.remedy)
			if after := snapshot(t); !slices.Equal(before, after) {
				t.Errorf("before:\n%q\nafter:\n%q", before, after)
			}
			if err := Remove(t.Context(), edge, hades, options(nil)); !errors.Is(err, ErrConflict) && !isUnknown(err) {
				t.Errorf("remove: %v", err)
			}
			if after := snapshot(t); !slices.Equal(before, after) {
				t.Errorf("before removing:\n%q\nafter:\n%q", before, after)
			}
		})
	}
}
