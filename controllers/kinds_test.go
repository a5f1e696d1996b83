package controllers_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

// bareCluster returns a member that serves no kinds of Traefik and of the Gateway API.
func bareCluster(t *testing.T) *testbed.Cluster {
	t.Helper()
	cluster, err := startBare()
	testkit.Must(t, err)
	removeCRDs(t, cluster)
	return cluster
}

var startBare = sync.OnceValues(func() (*testbed.Cluster, error) {
	return bed.StartCluster(context.Background(), "bare")
})

// removeCRDs deletes all CRDs of a cluster. The API server's finalizer fails as long as it has
// not initialized the storage of the kind, and doubles its pause each time, up to minutes. It
// tries again at once after any change of the CRD.
func removeCRDs(t *testing.T, cluster *testbed.Cluster) {
	t.Helper()
	kubectl := func(args ...string) []string {
		out, err := cluster.Kubectl(t.Context(), args...)
		testkit.Must(t, err)
		return strings.Fields(out)
	}
	names := kubectl("get", "crds", "--output=name")
	if len(names) == 0 {
		return
	}
	kubectl(append([]string{"delete", "--wait=false"}, names...)...)
	attempt := 0
	testkit.Eventually(t, "the CRDs should go", func() error {
		names := kubectl("get", "crds", "--output=name")
		if len(names) == 0 {
			return nil
		}
		attempt++
		_, err := cluster.Kubectl(t.Context(), append(append([]string{"annotate", "--overwrite"}, names...), fmt.Sprintf("test.techn.is/attempt=%d", attempt))...)
		return fmt.Errorf("there are %q (%w)", names, err) // one of them may have gone meanwhile
	})
}

// inOldGroup is a manifest with its object in Traefik's former API group.
func inOldGroup(manifest string) string {
	return strings.Replace(manifest, "traefik.io/", "traefik.containo.us/", 1)
}

func ingressRouteTCP(name, rule string) string {
	return fmt.Sprintf("apiVersion: traefik.io/v1alpha1\nkind: IngressRouteTCP\nmetadata: {name: %s, namespace: default, annotations: {%s}}\nspec: {tls: {passthrough: true}, routes: [{match: %s, services: [{name: app, port: 443}]}]}\n", name, exposed, rule)
}

// Kinds are found when their definitions are installed, and forgotten with them,
// while usher runs. Of Traefik's two API groups the new one counts.
func TestDefinitionsComeAndGo(t *testing.T) {
	c := edge(t)
	bare := bareCluster(t)
	table := startUsher(t)
	addMember(t, c, "bare", nil)
	awaitMember(t, c, "bare", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	follows := func(want string) {
		t.Helper()
		testkit.Eventually(t, "the kinds that are followed", func() error {
			var mc v1alpha1.MemberCluster
			testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: "bare"}, &mc))
			if said := meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionSynced).Message; !strings.Contains(said, want) {
				return fmt.Errorf("it says %q, not %q", said, want)
			}
			return nil
		})
	}
	follows("read and followed: Ingress; to publish any of these too, install its CRD in the cluster: IngressRoute, IngressRouteTCP,")

	testkit.Must(t, bare.InstallOldTraefikCRDs(t.Context()))
	testkit.Must(t, bare.Apply(t.Context(), inOldGroup(ingressRoute("twin", "Host(`old.techn.is`)", exposed))))
	testkit.Must(t, bare.Apply(t.Context(), inOldGroup(ingressRouteTCP("tcp", "HostSNI(`oldtcp.techn.is`)"))))
	routed(t, table, "old.techn.is", "bare")
	follows("read and followed: Ingress, IngressRoute, IngressRouteTCP")
	routed(t, table, "oldtcp.techn.is", "bare")

	testkit.Must(t, bare.InstallTraefikCRDs(t.Context()))
	twin := ingressRoute("twin", "Host(`new.techn.is`)", exposed)
	testkit.Must(t, bare.Apply(t.Context(), twin))
	testkit.Must(t, bare.Apply(t.Context(), ingressRouteTCP("tcp", "HostSNI(`newtcp.techn.is`)")))
	for _, host := range []string{"new.techn.is", "newtcp.techn.is"} {
		routed(t, table, host, "bare")
	}
	for _, host := range []string{"old.techn.is", "oldtcp.techn.is"} {
		routed(t, table, host, "")
		awaitGone(t, c, host)
	}

	// The twin's own annotation counts; and without the twin, the old one does again.
	testkit.Must(t, bare.Apply(t.Context(), ingressRoute("twin", "Host(`new.techn.is`)")))
	awaitGone(t, c, "new.techn.is")
	remove(t, "bare", twin)
	routed(t, table, "old.techn.is", "bare")

	removeCRDs(t, bare)
	for _, host := range []string{"old.techn.is", "newtcp.techn.is"} {
		routed(t, table, host, "")
		awaitGone(t, c, host)
	}
	testkit.Must(t, bare.InstallTraefikCRDs(t.Context()))
	testkit.Must(t, bare.Apply(t.Context(), twin))
	routed(t, table, "new.techn.is", "bare")
}

// A new kind that may not be listed is reported, and delays nothing.
func TestForbiddenKindIsToldAndHoldsNobodyUp(t *testing.T) {
	c := edge(t)
	bare := bareCluster(t)
	apply(t, "bare", `
{apiVersion: v1, kind: ServiceAccount, metadata: {name: partial, namespace: default}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: partial}, rules: [
  {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [list, watch]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: partial},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: partial}, subjects: [{kind: ServiceAccount, name: partial, namespace: default}]}`)
	kubeconfig, err := bare.KubeconfigFor(t.Context(), "default", "partial")
	testkit.Must(t, err)
	table := startUsher(t)
	create(t, c, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "partial"}, Data: map[string][]byte{"kubeconfig": kubeconfig}})
	addMember(t, c, "bare", func(mc *v1alpha1.MemberCluster) { mc.Spec.Kubeconfig.SecretName = "partial" })
	awaitMember(t, c, "bare", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	apply(t, "bare", ingress("before", "before-forbidden.techn.is", exposed))
	routed(t, table, "before-forbidden.techn.is", "bare")

	testkit.Must(t, bare.InstallTraefikCRDs(t.Context()))
	awaitMember(t, c, "bare", v1alpha1.ConditionSynced, metav1.ConditionFalse, "Forbidden")
	routed(t, table, "before-forbidden.techn.is", "bare")
	apply(t, "bare", ingress("after", "after-forbidden.techn.is", exposed))
	routed(t, table, "after-forbidden.techn.is", "bare")
}
