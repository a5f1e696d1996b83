package routetable_test

import (
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/routetable"
)

// versioned gives an object what an API server would.
func versioned(o metav1.Object, uid, version string) {
	o.SetUID(types.UID(uid))
	o.SetResourceVersion(version)
}

// A Builder that has built other tables before builds what a new one would.
func TestBuilderFollowsEveryChange(t *testing.T) {
	a := host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "hades"}))
	versioned(&a, "a", "1")
	b := host("b.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "illmatic"}))
	versioned(&b, "b", "1")
	moved := *a.DeepCopy()
	moved.Spec.Backends[0].Cluster = "illmatic"
	moved.ResourceVersion = "2"
	refused := host("a.is", metav1.ConditionFalse, on(v1alpha1.HostBackend{Cluster: "hades"}))
	versioned(&refused, "a", "3")
	elsewhere := slices.Clone(clusters)
	elsewhere[0].Spec.Ingress.Addresses = []string{"192.0.2.11"}
	versioned(&elsewhere[0], "hades", "2")
	unversioned := host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Address: "192.0.2.1"}))
	rewritten := host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Address: "192.0.2.2"}))

	var builder routetable.Builder
	for _, step := range []struct {
		name     string
		hosts    []v1alpha1.ExposedHost
		clusters []v1alpha1.MemberCluster
	}{
		{"first", []v1alpha1.ExposedHost{a}, clusters},
		{"unchanged", []v1alpha1.ExposedHost{a}, clusters},
		{"one more", []v1alpha1.ExposedHost{a, b}, clusters},
		{"one moved", []v1alpha1.ExposedHost{moved, b}, clusters},
		{"one refused", []v1alpha1.ExposedHost{refused, b}, clusters},
		{"one back", []v1alpha1.ExposedHost{a, b}, clusters},
		{"a cluster elsewhere", []v1alpha1.ExposedHost{a, b}, elsewhere},
		{"a cluster gone", []v1alpha1.ExposedHost{a, b}, clusters[1:]},
		{"a host gone", []v1alpha1.ExposedHost{b}, clusters},
		{"from a file", []v1alpha1.ExposedHost{unversioned}, nil},
		{"from a file that has changed", []v1alpha1.ExposedHost{rewritten}, nil},
	} {
		got, _ := builder.Build(step.hosts, step.clusters)
		want, _ := routetable.Build(step.hosts, step.clusters)
		for _, name := range []string{"a.is", "b.is"} {
			if g, w := fmt.Sprintf("%+v", got.Lookup(name)), fmt.Sprintf("%+v", want.Lookup(name)); g != w {
				t.Errorf("%s: %s: got %s, want %s", step.name, name, g, w)
			}
		}
		if got.Len() != want.Len() {
			t.Errorf("%s: %d routes, want %d", step.name, got.Len(), want.Len())
		}
	}
}
