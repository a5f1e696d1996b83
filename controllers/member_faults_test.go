package controllers_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

const (
	noticedWithin  = 30 * time.Second // a member that does not answer is shown as not connected
	caughtUpWithin = 10 * time.Second // what has changed meanwhile, after a member's return
	// hiddenFor is how long a fault lasts: client-go's own pauses would have grown
	// beyond what may pass until all is caught up.
	hiddenFor = 25 * time.Second
)

// Whatever befalls a member's API server, and the way to it: nothing is withdrawn,
// and after its return usher catches up. The members fail at the same time: none delays another.
func TestFaultyMemberKeepsItsHosts(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	t.Run("faults", func(t *testing.T) {
		for _, test := range []struct {
			name, cluster string
			away          bool // it does not answer at all
			begin, end    func(*gate)
		}{
			{"lists and watches fail", "hades", false, func(g *gate) { g.fail(true) }, func(g *gate) { g.fail(false) }},
			{"connections are half open and watches stale", "illmatic", true, (*gate).freeze, (*gate).thaw},
		} {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				g := openGate(t, bed.Cluster(test.cluster))
				kubeconfig, err := bed.Cluster(test.cluster).Kubeconfig()
				testkit.Must(t, err)
				addMemberBy(t, c, test.cluster, g.kubeconfig(t, kubeconfig))
				p := publish(t, table, test.cluster)

				test.begin(g)
				began := time.Now()
				p.change(t)
				if test.away {
					awaitUnreachable(t, c, test.cluster, began)
				}
				p.stays(t, table, time.Until(began.Add(hiddenFor)))
				test.end(g)
				p.caughtUp(t, table)
				awaitMember(t, c, test.cluster, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
			})
		}
	})
}

// An unreachable member is deleted: its hosts are withdrawn at once, whatever its
// connections hang on, and no other member waits. Made again by the same name, it
// is read again.
func TestMemberDeletedWhileAway(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	g := openGate(t, bed.Cluster("illmatic"))
	kubeconfig, err := bed.Cluster("illmatic").Kubeconfig()
	testkit.Must(t, err)
	addMemberBy(t, c, "illmatic", g.kubeconfig(t, kubeconfig))
	p, other := publish(t, table, "illmatic"), publish(t, table, "hades")

	g.freeze()
	awaitUnreachable(t, c, "illmatic", time.Now())
	illmatic := &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "illmatic"}}
	testkit.Must(t, c.Delete(t.Context(), illmatic))
	began := time.Now()
	routed(t, table, p.kept, "")
	awaitGone(t, c, p.kept)
	awaitGone(t, c, p.withdrawn)
	if took := time.Since(began); took > caughtUpWithin {
		t.Errorf("withdrawn only after %v", took)
	}
	other.change(t)
	other.caughtUp(t, table)

	p.change(t)
	create(t, c, &v1alpha1.MemberCluster{ObjectMeta: illmatic.ObjectMeta, Spec: v1alpha1.MemberClusterSpec{
		Kubeconfig: &v1alpha1.KubeconfigRef{SecretName: "illmatic-gated"},
		Ingress:    v1alpha1.IngressEndpoint{Addresses: []string{addressOf["illmatic"]}},
	}})
	awaitMember(t, c, "illmatic", v1alpha1.ConditionConnected, metav1.ConditionFalse, "Unreachable")
	g.thaw()
	p.caughtUp(t, table)
	awaitMember(t, c, "illmatic", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

// A killed API server: refused connections, and everything again when it returns.
func TestKilledMemberKeepsItsHosts(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	p := publish(t, table, "hades")
	hades := bed.Cluster("hades")
	hades.Stop()
	awaitUnreachable(t, c, "hades", time.Now())
	p.stays(t, table, time.Second)
	testkit.Must(t, hades.Start(t.Context()))
	p.change(t)
	p.caughtUp(t, table)
}

// A permission that is removed later is reported, and is not evidence of absence.
func TestPermissionTakenAwayKeepsHosts(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	const granted = `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: reader},
		roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}, subjects: [{kind: ServiceAccount, name: reader, namespace: default}]}`
	apply(t, "hades", "{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader, namespace: default}}")
	apply(t, "hades", granted)
	kubeconfig, err := bed.Cluster("hades").KubeconfigFor(t.Context(), "default", "reader")
	testkit.Must(t, err)
	g := openGate(t, bed.Cluster("hades"))
	addMemberBy(t, c, "hades", g.kubeconfig(t, kubeconfig))
	p := publish(t, table, "hades")

	remove(t, "hades", granted)
	g.cut() // a watch that runs is not ended by a permission
	awaitMember(t, c, "hades", v1alpha1.ConditionSynced, metav1.ConditionFalse, "Forbidden")
	p.change(t)
	p.stays(t, table, 2*time.Second)
	apply(t, "hades", granted)
	p.caughtUp(t, table)
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

// A new leader reports a refusal soon, although it leaves the status of a member that does
// not answer unchanged for half a minute.
func TestPermissionMissingAtTheStartIsReported(t *testing.T) {
	c := edge(t)
	account := "{apiVersion: v1, kind: ServiceAccount, metadata: {name: demoted, namespace: default}}"
	granted := `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: demoted},
		roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}, subjects: [{kind: ServiceAccount, name: demoted, namespace: default}]}`
	apply(t, "hades", account)
	apply(t, "hades", granted)
	kubeconfig, err := bed.Cluster("hades").KubeconfigFor(t.Context(), "default", "demoted")
	testkit.Must(t, err)
	stop := startControllers(t, &routing.Live{})
	addMemberBy(t, c, "hades", kubeconfig)
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	stop()

	remove(t, "hades", granted)
	testkit.Eventually(t, "the API server should know that the role is gone", func() error {
		return bed.Cluster("hades").Refuses(t.Context(), "system:serviceaccount:default:demoted",
			authorizationv1.ResourceAttributes{Verb: "list", Group: "networking.k8s.io", Resource: "ingresses"})
	})
	began := time.Now()
	startUsher(t)
	awaitMember(t, c, "hades", v1alpha1.ConditionSynced, metav1.ConditionFalse, "Forbidden")
	if waited := time.Since(began); waited >= 30*time.Second {
		t.Errorf("it is reported after %v", waited)
	}
}

// A kubeconfig is replaced while its hosts are looked up without a pause: by one
// that works, by one that does not, and back. The other member is left alone.
func TestReplacedKubeconfigLeavesNoGap(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "illmatic", nil)
	addMember(t, c, "hades", nil)
	awaitMember(t, c, "illmatic", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	p := publish(t, table, "hades")
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	other := syncedAt(t, c, "illmatic")
	gap := watchForGap(t, table, p.kept)

	account := "{apiVersion: v1, kind: ServiceAccount, metadata: {name: rotated, namespace: default}}"
	apply(t, "hades", account)
	apply(t, "hades", `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: rotated},
		roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}, subjects: [{kind: ServiceAccount, name: rotated, namespace: default}]}`)
	kubeconfig, err := bed.Cluster("hades").KubeconfigFor(t.Context(), "default", "rotated")
	testkit.Must(t, err)
	for range 3 {
		awaitInUse(t, c, replaceKubeconfig(t, c, "hades", kubeconfig))
		kubeconfig = append(kubeconfig, '\n')
	}
	inUse := updateSecret(t, c, "hades", func(secret *corev1.Secret) { secret.Labels = map[string]string{"synced-by": "gitops"} })
	awaitInUse(t, c, inUse) // the kubeconfig is the same
	wrong, err := bed.Cluster("hades").KubeconfigWithToken("expired")
	testkit.Must(t, err)
	replaceKubeconfig(t, c, "hades", wrong)
	awaitMember(t, c, "hades", v1alpha1.ConditionConnected, metav1.ConditionFalse, "Unauthorized")
	awaitInUse(t, c, inUse) // nothing was read by the wrong one
	inUse = replaceKubeconfig(t, c, "hades", kubeconfig)
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	awaitInUse(t, c, inUse)
	p.change(t)
	p.caughtUp(t, table)
	if why := gap(); why != "" {
		t.Error(why)
	}
	if now := syncedAt(t, c, "illmatic"); !now.Equal(other) {
		t.Errorf("the other member was reconnected: it synced at %v, and again at %v", other, now)
	}
}

// published are the hosts of one member by which its faults are measured.
type published struct{ cluster, kept, withdrawn, added string }

// publish exposes two hosts of a member.
func publish(t *testing.T, table *routing.Live, cluster string) published {
	t.Helper()
	p := published{cluster, "kept." + cluster + ".techn.is", "withdrawn." + cluster + ".techn.is", "added." + cluster + ".techn.is"}
	apply(t, cluster, ingressRoute("kept", "Host(`"+p.kept+"`)", exposed))
	apply(t, cluster, ingressRoute("withdrawn", "Host(`"+p.withdrawn+"`)", exposed))
	routed(t, table, p.kept, cluster)
	routed(t, table, p.withdrawn, cluster)
	return p
}

// change withdraws one of the hosts, and exposes another.
func (p published) change(t *testing.T) {
	t.Helper()
	apply(t, p.cluster, ingressRoute("withdrawn", "Host(`"+p.withdrawn+"`)"))
	apply(t, p.cluster, ingressRoute("added", "Host(`"+p.added+"`)", exposed))
}

// stays checks for a while that nothing is withdrawn.
func (p published) stays(t *testing.T, table *routing.Live, while time.Duration) {
	t.Helper()
	testkit.Consistently(t, while, "nothing should be withdrawn without evidence", func() error {
		for _, host := range []string{p.kept, p.withdrawn} {
			if table.Load().Lookup(host) == nil {
				return fmt.Errorf("%s was", host)
			}
		}
		return nil
	})
}

// caughtUp checks that what changed is in the table in time, and the rest still is.
func (p published) caughtUp(t *testing.T, table *routing.Live) {
	t.Helper()
	began := time.Now()
	routed(t, table, p.added, p.cluster)
	routed(t, table, p.withdrawn, "")
	routed(t, table, p.kept, p.cluster)
	took := time.Since(began)
	t.Logf("%s: caught up after %v", p.cluster, took)
	if took > caughtUpWithin {
		t.Errorf("%s: caught up only after %v", p.cluster, took)
	}
}

// awaitUnreachable waits until a member is shown as unreachable, and checks that it was in time.
func awaitUnreachable(t *testing.T, c client.Client, name string, since time.Time) {
	t.Helper()
	testkit.WaitFor(t, name+" to be shown as unreachable", func() bool {
		var mc v1alpha1.MemberCluster
		testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: name}, &mc))
		return meta.IsStatusConditionFalse(mc.Status.Conditions, v1alpha1.ConditionConnected)
	})
	took := time.Since(since)
	t.Logf("%s: shown as unreachable after %v", name, took)
	if took > noticedWithin {
		t.Errorf("%s: shown as unreachable only after %v", name, took)
	}
}

// addMemberBy is addMember with a kubeconfig.
func addMemberBy(t *testing.T, c client.Client, name string, kubeconfig []byte) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-gated"}, Data: map[string][]byte{"kubeconfig": kubeconfig}}
	create(t, c, secret)
	create(t, c, &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.MemberClusterSpec{
		Kubeconfig: &v1alpha1.KubeconfigRef{SecretName: secret.Name},
		Ingress:    v1alpha1.IngressEndpoint{Addresses: []string{addressOf[name]}},
	}})
}

// replaceKubeconfig writes another kubeconfig into a member's Secret, and returns the Secret's version.
func replaceKubeconfig(t *testing.T, c client.Client, name string, kubeconfig []byte) v1alpha1.ObservedKubeconfig {
	t.Helper()
	return updateSecret(t, c, name, func(secret *corev1.Secret) { secret.Data["kubeconfig"] = kubeconfig })
}

// updateSecret changes a member's Secret, and returns its version.
func updateSecret(t *testing.T, c client.Client, name string, change func(*corev1.Secret)) v1alpha1.ObservedKubeconfig {
	t.Helper()
	var secret corev1.Secret
	testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name + "-kubeconfig"}, &secret))
	change(&secret)
	testkit.Must(t, c.Update(t.Context(), &secret))
	return v1alpha1.ObservedKubeconfig{SecretUID: secret.UID, ResourceVersion: secret.ResourceVersion}
}

// awaitInUse waits until hades has come in sync by the kubeconfig in a version of its Secret.
func awaitInUse(t *testing.T, c client.Client, want v1alpha1.ObservedKubeconfig) {
	t.Helper()
	testkit.Eventually(t, "a sync by the kubeconfig", func() error {
		var mc v1alpha1.MemberCluster
		if err := c.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc); err != nil {
			return err
		}
		if is := mc.Status.Kubeconfig; is == nil || *is != want {
			return fmt.Errorf("in use is %+v, and not %+v", is, want)
		}
		return nil
	})
}

func syncedAt(t *testing.T, c client.Client, name string) time.Time {
	t.Helper()
	var mc v1alpha1.MemberCluster
	testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: name}, &mc))
	return mc.Status.LastSyncTime.Time
}

// watchForGap looks a host up again and again until the returned function is
// called, which says whether it was ever missing.
func watchForGap(t *testing.T, table *routing.Live, host string) func() string {
	t.Helper()
	var gap string
	done := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(200 * time.Microsecond):
			}
			if table.Load().Lookup(host) == nil {
				gap = host + " was missing from the table"
			}
		}
	})
	stop := sync.OnceFunc(func() { close(done); looking.Wait() })
	t.Cleanup(stop)
	return func() string { stop(); return gap }
}
