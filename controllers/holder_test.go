package controllers_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// never is a grace that no test sees the end of.
const never = time.Hour

// startWithGrace runs the reconcilers with a hand-over grace until the test ends, or
// until stop is called.
func startWithGrace(t *testing.T, table *routing.Live, grace time.Duration) (stop func()) {
	t.Helper()
	stop = startControllers(t, table, controllers.HandoverGrace(grace))
	t.Cleanup(stop)
	return stop
}

// rivals checks that the rivals of a host are these, as "cluster:reason".
func rivals(want ...string) func(*v1alpha1.ExposedHost) error {
	return func(eh *v1alpha1.ExposedHost) error {
		var got []string
		for _, rival := range eh.Status.Rivals {
			got = append(got, rival.Cluster+":"+rival.Reason)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("rivals are %v", got)
		}
		return nil
	}
}

// all checks a host in several ways.
func all(checks ...func(*v1alpha1.ExposedHost) error) func(*v1alpha1.ExposedHost) error {
	return func(eh *v1alpha1.ExposedHost) error {
		for _, check := range checks {
			if err := check(eh); err != nil {
				return err
			}
		}
		return nil
	}
}

// mentions checks that the message of a host's Accepted condition holds a text.
func mentions(text string) func(*v1alpha1.ExposedHost) error {
	return func(eh *v1alpha1.ExposedHost) error {
		if c := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionAccepted); c == nil || !strings.Contains(c.Message, text) {
			return fmt.Errorf("it does not mention %q: %+v", text, c)
		}
		return nil
	}
}

// onlyBy is a route to a cluster.
func onlyBy(cluster string) func(*routing.Route) bool {
	return func(route *routing.Route) bool { return served(route) && route.Backends[0].Cluster == cluster }
}

// notIllmatic is a route to another cluster than illmatic, or to none.
func notIllmatic(route *routing.Route) bool {
	return !served(route) || route.Backends[0].Cluster != "illmatic"
}

func served(route *routing.Route) bool { return route != nil && route.Refusal == "" }

// contested makes hades hold a host for which illmatic waits, with an object that is
// the older one of the two. It returns both, as they are annotated.
func contested(t *testing.T, c client.Client, host string) (holder, rival string) {
	t.Helper()
	name := strings.ReplaceAll(host, ".", "-")
	rule := "Host(`" + host + "`)"
	holder = ingressRoute(name, rule, exposed)
	addMember(t, c, "hades", nil)
	addMember(t, c, "illmatic", nil)
	apply(t, "illmatic", ingressRoute(name, rule))
	testkit.Eventually(t, "a later second", func() error { return laterThan(t, "illmatic", name) })
	apply(t, "hades", holder)
	awaitHost(t, c, host, ready("hades"))
	apply(t, "illmatic", holder)
	awaitHost(t, c, host, all(ready("hades"), rivals("illmatic:HeldByAnother")))
	return holder, holder
}

// An older object that is annotated later is a rival, and so it is after a restart.
func TestOlderObjectAnnotatedLaterTakesNothing(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	stop := startWithGrace(t, table, never)
	contested(t, c, "later.techn.is")
	unwatch := watchRoute(t, table, "later.techn.is", notIllmatic)
	stop()
	startWithGrace(t, table, never)
	apply(t, "hades", ingressRoute("marker", "Host(`marker.techn.is`)", exposed))
	apply(t, "illmatic", ingressRoute("marker2", "Host(`marker2.techn.is`)", exposed))
	awaitHost(t, c, "marker.techn.is", ready("hades"))
	awaitHost(t, c, "marker2.techn.is", ready("illmatic"))
	awaitHost(t, c, "later.techn.is", all(ready("hades"), rivals("illmatic:HeldByAnother")))
	unwatch()
}

// A malformed annotation refuses the host to its holder, hands it to nobody, and is
// corrected as if there were no rival.
func TestRefusedHolderKeepsTheHost(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	stop := startWithGrace(t, table, 0)
	const host = "refused.techn.is"
	sound, _ := contested(t, c, host)
	unwatch := watchRoute(t, table, host, notIllmatic)
	stays := all(refused("AnnotationInvalid"), rivals("illmatic:HeldByAnother"))
	apply(t, "hades", ingressRoute("refused-techn-is", "Host(`"+host+"`)", exposed, "usher.techn.is/allow-from: me"))
	awaitHost(t, c, host, stays)
	refusedRoute(t, table, host, "AnnotationInvalid")

	stop()
	startWithGrace(t, table, 0)
	apply(t, "illmatic", ingressRoute("marker", "Host(`marker.techn.is`)", exposed))
	awaitHost(t, c, "marker.techn.is", ready("illmatic"))
	awaitHost(t, c, host, stays)
	apply(t, "hades", sound)
	awaitHost(t, c, host, all(ready("hades"), rivals("illmatic:HeldByAnother")))
	routed(t, table, host, "hades")
	unwatch()
}

// A claim that was refused when it was made holds nothing, however long it waits: the
// first that is sound gets the host, and keeps it when the other is corrected.
func TestRefusedClaimHoldsNothing(t *testing.T) {
	c := edge(t)
	startWithGrace(t, &routing.Live{}, never)
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.RequireAll = true })
	addMember(t, c, "illmatic", nil)
	const host, rule = "vain.techn.is", "Host(`vain.techn.is`)"
	// Of what is beside it in its cluster a claim is refused too.
	apply(t, "hades", ingressRoute("beside", rule+" && Path(`/x`)"))
	apply(t, "hades", ingressRoute("vain", rule, exposed))
	awaitHost(t, c, host, refused("NotAllAnnotated"))
	testkit.Eventually(t, "a later second", func() error { return laterThan(t, "hades", "vain") })
	apply(t, "illmatic", ingressRoute("vain", rule, exposed, "usher.techn.is/allow-from: me"))
	awaitHost(t, c, host, all(refused("NotAllAnnotated"), rivals("illmatic:AnnotationInvalid")))
	apply(t, "illmatic", ingressRoute("vain", rule, exposed))
	awaitHost(t, c, host, ready("illmatic"))
	remove(t, "hades", ingressRoute("beside", rule))
	awaitHost(t, c, host, all(ready("illmatic"), rivals("hades:HeldByAnother")))
}

// A member whose API server says that its objects are the oldest of all, and claims a
// host while its holder is away and usher starts again, takes nothing: neither then
// nor when the holder is back.
func TestLyingMemberTakesNothing(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	stop := startWithGrace(t, table, 0)
	kubeconfig, err := bed.Cluster("hades").Kubeconfig()
	testkit.Must(t, err)
	g := openGate(t, bed.Cluster("hades"))
	addMemberBy(t, c, "hades", g.kubeconfig(t, kubeconfig))
	const host = "wanted-by-a-liar.techn.is"
	apply(t, "hades", ingressRoute("honest", "Host(`"+host+"`)", exposed))
	awaitHost(t, c, host, ready("hades"))
	unwatch := watchRoute(t, table, host, onlyBy("hades"))

	stop()
	g.reset(true)
	liar := startHostile(t, answers{list: func(w io.Writer, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"kind": "IngressList", "apiVersion": "networking.k8s.io/v1", "metadata": {"resourceVersion": "1"}, "items": [
			{"metadata": {"name": "liar", "namespace": "default", "uid": "l", "resourceVersion": "1", "creationTimestamp": "1970-01-01T00:00:01Z", "annotations": {"usher.techn.is/expose": "true"}},
			 "spec": {"rules": [{"host": %q, "http": {"paths": [{"path": "/"}]}}, {"host": "liar.techn.is", "http": {"paths": [{"path": "/"}]}}]}}]}`, host)
	}})
	create(t, c, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "liar"}, Data: map[string][]byte{"kubeconfig": liar.kubeconfig()}})
	create(t, c, &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "liar"}, Spec: v1alpha1.MemberClusterSpec{
		Kubeconfig: &v1alpha1.KubeconfigRef{SecretName: "liar"}, Ingress: v1alpha1.IngressEndpoint{Addresses: []string{"192.0.2.66"}},
	}})
	startWithGrace(t, table, 0)
	awaitHost(t, c, "liar.techn.is", ready("liar"))
	kept := all(ready("hades"), rivals("liar:HeldByAnother"))
	awaitHost(t, c, host, kept)
	awaitMember(t, c, "hades", v1alpha1.ConditionConnected, metav1.ConditionFalse, "Unreachable")
	g.reset(false)
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	awaitHost(t, c, host, all(kept, mentions("held by IngressRoute default/honest of cluster hades")))
	unwatch()
}

// An object that is replaced, at once or within the grace, leaves no gap, and the rival
// that waits for the host does not get it.
func TestReplacedObjectIsNoHandOver(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	startWithGrace(t, table, never)
	const host = "replaced.techn.is"
	holder, _ := contested(t, c, host)
	unwatch := watchRoute(t, table, host, onlyBy("hades"))
	file := t.TempDir() + "/holder.yaml"
	testkit.Must(t, os.WriteFile(file, []byte(holder), 0o600))
	for range 3 {
		if out, err := bed.Cluster("hades").Kubectl(t.Context(), "replace", "--force", "-f", file); err != nil {
			t.Fatalf("kubectl replace: %v\n%s", err, out)
		}
	}
	remove(t, "hades", holder)
	awaitHost(t, c, host, all(ready("hades"), rivals("illmatic:HeldByAnother"), mentions("which no longer claims it")))
	apply(t, "hades", holder)
	awaitHost(t, c, host, all(ready("hades"), rivals("illmatic:HeldByAnother"), mentions("held by IngressRoute default/replaced-techn-is of cluster hades")))
	unwatch()
}

// Where the claim does not come back, the rival gets the host after the grace, not
// before, and the status is written once at each end of it.
func TestHandOverAfterTheGrace(t *testing.T) {
	const grace = 4 * time.Second
	c := edge(t)
	table := &routing.Live{}
	startWithGrace(t, table, grace)
	const host = "handed-over.techn.is"
	holder, _ := contested(t, c, host)
	unwatch := watchRoute(t, table, host, served)
	w := countWrites(t)
	began := time.Now()
	remove(t, "hades", holder)
	awaitHost(t, c, host, all(ready("hades"), mentions("illmatic gets it unless cluster hades claims it again within the hand-over grace")))
	routed(t, table, host, "illmatic")
	if took := time.Since(began); took < grace {
		t.Errorf("it was handed over after %v", took)
	}
	awaitHost(t, c, host, all(ready("illmatic"), rivals()))
	awaitEvent(t, c, host, "HandedOver")
	unwatch()
	if written := w.of("ExposedHost"); len(written) > 3 { // the message; the spec; the status
		t.Errorf("it took %d writes: %q", len(written), written)
	}
}

// A restart in the grace begins it again, and does not end it.
func TestRestartBeginsTheGraceAgain(t *testing.T) {
	const grace = 5 * time.Second
	c := edge(t)
	table := &routing.Live{}
	stop := startWithGrace(t, table, grace)
	const host = "restarted.techn.is"
	holder, _ := contested(t, c, host)
	remove(t, "hades", holder)
	awaitHost(t, c, host, all(ready("hades"), mentions("which no longer claims it")))
	stop()
	time.Sleep(grace) // it passes while nobody decides
	began := time.Now()
	startWithGrace(t, table, grace)
	routed(t, table, host, "illmatic")
	if took := time.Since(began); took < grace {
		t.Errorf("it was handed over %v after the restart", took)
	}
	awaitHost(t, c, host, ready("illmatic"))
}

// The grace does not delay a withdrawal, with or without a refused rival; an object that
// is made private; the deletion of a MemberCluster; or a manually written ExposedHost.
func TestTheGraceDelaysNothingElse(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	startWithGrace(t, table, never)
	const host, name, rule = "graced.techn.is", "graced-techn-is", "Host(`graced.techn.is`)"
	holder, rival := contested(t, c, host)

	t.Run("made private", func(t *testing.T) {
		testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), ingressRoute(name, rule)))
		awaitHost(t, c, host, all(refused("HeldByAnother"), mentions("it is not served until then"), rivals("illmatic:HeldByAnother")))
		refusedRoute(t, table, host, "HeldByAnother")
		testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), holder))
		awaitHost(t, c, host, ready("hades"))
		routed(t, table, host, "hades")
	})
	t.Run("a refused rival", func(t *testing.T) {
		testkit.Must(t, bed.Cluster("illmatic").Apply(t.Context(), ingressRoute(name, rule, exposed, "usher.techn.is/allow-from: me")))
		awaitHost(t, c, host, rivals("illmatic:AnnotationInvalid"))
		remove(t, "hades", holder)
		awaitHost(t, c, host, refused("AnnotationInvalid"))
		refusedRoute(t, table, host, "AnnotationInvalid")
		// It waited for that, and is corrected: it gets nothing in the grace.
		testkit.Must(t, bed.Cluster("illmatic").Apply(t.Context(), rival))
		awaitHost(t, c, host, all(refused("HeldByAnother"), rivals("illmatic:HeldByAnother")))
		testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), holder))
		awaitHost(t, c, host, ready("hades"))
	})
	t.Run("nobody else", func(t *testing.T) {
		remove(t, "illmatic", rival)
		awaitHost(t, c, host, rivals())
		remove(t, "hades", holder)
		awaitGone(t, c, host)
		routed(t, table, host, "")
		// Who claims it in that moment waits all the same.
		testkit.Must(t, bed.Cluster("illmatic").Apply(t.Context(), rival))
		awaitHost(t, c, host, all(refused("HeldByAnother"), rivals("illmatic:HeldByAnother")))
		testkit.Eventually(t, "a later second", func() error { return laterThan(t, "illmatic", name) })
		testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), holder))
		awaitHost(t, c, host, ready("hades"))
	})
	t.Run("a person who names the holder", func(t *testing.T) {
		for _, cluster := range []string{"illmatic", "hades"} {
			_, err := bed.Cluster("edge").Kubectl(t.Context(), "patch", "exposedhost", host, "--field-manager=usher", "--type=merge", "-p", `{"spec":{"holder":"`+cluster+`"}}`)
			testkit.Must(t, err)
			routed(t, table, host, cluster)
			awaitHost(t, c, host, ready(cluster))
		}
	})
	t.Run("a person who pins the host", func(t *testing.T) {
		_, err := bed.Cluster("edge").Kubectl(t.Context(), "patch", "exposedhost", host, "--type=merge", "-p", `{"spec":{"backends":[{"cluster":"illmatic"}]}}`)
		testkit.Must(t, err)
		routed(t, table, host, "illmatic")
		pinned := awaitHost(t, c, host, all(ready("illmatic"), rivals("illmatic:HeldByManual", "hades:HeldByManual")))
		testkit.Must(t, c.Delete(t.Context(), pinned)) // nobody holds it then: the oldest claim does
		awaitHost(t, c, host, func(eh *v1alpha1.ExposedHost) error {
			if eh.UID == pinned.UID {
				return fmt.Errorf("it is the old one still")
			}
			return ready("illmatic")(eh)
		})
	})
	t.Run("a MemberCluster", func(t *testing.T) {
		testkit.Must(t, c.Delete(t.Context(), &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "illmatic"}}))
		routed(t, table, host, "hades")
		awaitHost(t, c, host, ready("hades"))
	})
}

// A holder that is unreachable when the grace ends may have claimed the host again. Until
// that is known, no cluster gets the host, and it is not served.
func TestHolderThatIsAwayIsNotTakenFrom(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	startWithGrace(t, table, noticedWithin)
	kubeconfig, err := bed.Cluster("hades").Kubeconfig()
	testkit.Must(t, err)
	g := openGate(t, bed.Cluster("hades"))
	addMemberBy(t, c, "hades", g.kubeconfig(t, kubeconfig))
	addMember(t, c, "illmatic", nil)
	const host = "away.techn.is"
	route := ingressRoute("away", "Host(`"+host+"`)", exposed)
	apply(t, "hades", route)
	awaitHost(t, c, host, ready("hades"))
	apply(t, "illmatic", route)
	awaitHost(t, c, host, rivals("illmatic:HeldByAnother"))
	unwatch := watchRoute(t, table, host, notIllmatic)

	remove(t, "hades", route)
	awaitHost(t, c, host, all(ready("hades"), mentions("which no longer claims it")))
	g.reset(true)
	apply(t, "hades", route) // which usher cannot see
	awaitHost(t, c, host, all(refused("HeldByAnother"), mentions("is unreachable now")))
	refusedRoute(t, table, host, "HeldByAnother")
	g.reset(false)
	awaitHost(t, c, host, all(ready("hades"), rivals("illmatic:HeldByAnother")))
	unwatch()
}

// A host that nobody holds goes to the oldest claim of all members, not to the one
// whose API server is the fastest when usher starts.
func TestStartWaitsForEveryMember(t *testing.T) {
	c := edge(t)
	const host = "unheld.techn.is"
	route := ingressRoute("unheld", "Host(`"+host+"`)", exposed)
	apply(t, "hades", route)
	testkit.Eventually(t, "a later second", func() error { return laterThan(t, "hades", "unheld") })
	apply(t, "illmatic", route)
	g := openGate(t, bed.Cluster("hades"))
	kubeconfig, err := bed.Cluster("hades").Kubeconfig()
	testkit.Must(t, err)
	addMemberBy(t, c, "hades", g.kubeconfig(t, kubeconfig))
	addMember(t, c, "illmatic", nil)
	release := g.hold("/ingressroutes")
	table := startUsher(t)
	unwatch := watchRoute(t, table, host, notIllmatic)
	awaitMember(t, c, "illmatic", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	release()
	awaitHost(t, c, host, all(ready("hades"), rivals("illmatic:HeldByAnother")))
	unwatch()
}

// A member without a usable kubeconfig is never connected, and delays no host.
func TestStartWaitsForNoMemberWithoutKubeconfig(t *testing.T) {
	const settled = 30 * time.Second // of every member, whatever it does
	c := edge(t)
	create(t, c, &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "half-made"}, Spec: v1alpha1.MemberClusterSpec{
		Kubeconfig: &v1alpha1.KubeconfigRef{SecretName: "none"}, Ingress: v1alpha1.IngressEndpoint{Addresses: []string{"192.0.2.77"}},
	}})
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("prompt", "Host(`prompt.techn.is`)", exposed))
	began := time.Now()
	routed(t, startUsher(t), "prompt.techn.is", "hades")
	if took := time.Since(began); took > settled-5*time.Second {
		t.Errorf("it was published %v after the start", took)
	}
}

// What docs/operations.md says of a new edge cluster: with its ExposedHosts
// restored the holders keep their hosts, those too that are refused; without, the
// oldest claim wins.
func TestRestoredEdgeKeepsTheHolders(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	stop := startWithGrace(t, table, never)
	const host, broken = "restored.techn.is", "restored-broken.techn.is"
	contested(t, c, host)
	apply(t, "illmatic", ingressRoute("broken", "Host(`before.techn.is`)", exposed))
	apply(t, "hades", ingressRoute("broken", "Host(`"+broken+"`)", exposed))
	awaitHost(t, c, broken, ready("hades"))
	apply(t, "illmatic", ingressRoute("broken", "Host(`"+broken+"`)", exposed))
	apply(t, "hades", ingressRoute("broken", "Host(`"+broken+"`)", exposed, "usher.techn.is/allow-from: me"))
	awaitHost(t, c, broken, all(refused("AnnotationInvalid"), rivals("illmatic:HeldByAnother")))
	stop()

	kubectl := func(args ...string) string {
		t.Helper()
		out, err := bed.Cluster("edge").Kubectl(t.Context(), args...)
		if err != nil {
			t.Fatalf("kubectl %v: %v\n%s", args, err, out)
		}
		return out
	}
	backup := t.TempDir() + "/holders.yaml"
	testkit.Must(t, os.WriteFile(backup, []byte(kubectl("get", "exposedhosts", "-l", "usher.techn.is/managed", "-o", "yaml")), 0o600))
	testkit.Must(t, c.DeleteAllOf(t.Context(), &v1alpha1.ExposedHost{}))
	kubectl("create", "--field-manager=usher", "-f", backup)
	stop = startWithGrace(t, table, never)
	awaitHost(t, c, host, all(ready("hades"), rivals("illmatic:HeldByAnother")))
	eh := awaitHost(t, c, broken, all(refused("AnnotationInvalid"), rivals("illmatic:HeldByAnother")))
	if eh.Labels[v1alpha1.LabelManaged] != "true" {
		t.Error("it is a person's")
	}
	stop()

	testkit.Must(t, c.DeleteAllOf(t.Context(), &v1alpha1.ExposedHost{}))
	startWithGrace(t, table, never)
	awaitHost(t, c, host, all(ready("illmatic"), rivals("hades:HeldByAnother")))
	awaitHost(t, c, broken, all(ready("illmatic"), rivals("hades:AnnotationInvalid")))
}

// An ExposedHost that an usher wrote which knew no holders is its backend's.
func TestHostFromBeforeHoldersStays(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	stop := startWithGrace(t, table, never)
	const host = "upgraded.techn.is"
	contested(t, c, host)
	stop()
	_, err := bed.Cluster("edge").Kubectl(t.Context(), "patch", "exposedhost", host, "--field-manager=usher", "--type=merge", "-p", `{"spec":{"holder":null}}`)
	testkit.Must(t, err)
	startWithGrace(t, table, never)
	awaitHost(t, c, host, func(eh *v1alpha1.ExposedHost) error {
		if eh.Spec.Holder != "hades" {
			return fmt.Errorf("its holder is %q", eh.Spec.Holder)
		}
		return all(ready("hades"), rivals("illmatic:HeldByAnother"))(eh)
	})
}
