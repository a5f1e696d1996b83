package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// sharing lets other clusters publish names under a wildcard.
const sharing = `usher.techn.is/share-below: "true"`

// exact is the IngressRoute of one host.
func exact(host string, annotations ...string) string {
	return ingressRoute(strings.ReplaceAll(host, ".", "-"), "Host(`"+host+"`)", annotations...)
}

// lists checks what the status of a wildcard lists of the names under it, each as
// "host cluster:reason".
func lists(want ...string) func(*v1alpha1.ExposedHost) error {
	return func(eh *v1alpha1.ExposedHost) error {
		var got []string
		for _, name := range eh.Status.Below {
			got = append(got, name.Host+" "+name.Cluster+":"+name.Reason)
		}
		if !slices.Equal(got, want) || int(eh.Status.BelowTotal) != len(want) {
			return fmt.Errorf("it lists %q, of %d", got, eh.Status.BelowTotal)
		}
		return nil
	}
}

// heldBy checks which cluster an ExposedHost names as the holder of the host.
func heldBy(cluster string) func(*v1alpha1.ExposedHost) error {
	return func(eh *v1alpha1.ExposedHost) error {
		if eh.Spec.Holder != cluster {
			return fmt.Errorf("it is held by %q", eh.Spec.Holder)
		}
		return nil
	}
}

// A name under a wildcard is for the wildcard's cluster to give. Both ExposedHosts show
// a claim of another cluster. What was given stays given.
func TestNameUnderAnothersWildcard(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	startWithGrace(t, table, never)
	addMember(t, c, "hades", nil)
	addMember(t, c, "illmatic", nil)
	const name, other, wild = "a.below.techn.is", "b.below.techn.is", "wildcard.below.techn.is"
	apply(t, "hades", wildcard("wild", "*.below.techn.is", exposed))
	routed(t, table, name, "hades")

	unwatch := watchRoute(t, table, name, notIllmatic)
	apply(t, "illmatic", exact(name, exposed))
	refusedRoute(t, table, name, "UnderWildcard")
	awaitHost(t, c, name, all(refused("UnderWildcard"), heldBy(""), mentions("the wildcard *.below.techn.is of cluster hades"), mentions("share-below")))
	awaitHost(t, c, wild, all(ready("hades"), lists(name+" illmatic:UnderWildcard")))
	awaitEvent(t, c, name, "UnderWildcard")
	awaitEvent(t, c, wild, "UnderWildcard")
	unwatch()

	// A second source of the wildcard that does not share it, and a malformed word, share nothing.
	apply(t, "hades", wildcard("wild", "*.below.techn.is", exposed, sharing))
	awaitHost(t, c, name, all(ready("illmatic"), heldBy("illmatic")))
	awaitHost(t, c, wild, all(ready("hades"), lists(name+" illmatic:Admitted")))
	apply(t, "hades", wildcard("second", "*.below.techn.is", exposed))
	notShared := func(eh *v1alpha1.ExposedHost) error {
		if eh.Spec.ShareBelow {
			return errors.New("it is shared")
		}
		return nil
	}
	awaitHost(t, c, wild, notShared)
	apply(t, "illmatic", exact(other, exposed))
	awaitHost(t, c, other, refused("UnderWildcard"))
	awaitHost(t, c, wild, lists(other+" illmatic:UnderWildcard", name+" illmatic:Admitted"))
	apply(t, "hades", wildcard("second", "*.below.techn.is", exposed, `usher.techn.is/share-below: "yes"`))
	refusedRoute(t, table, "c.below.techn.is", "OptionsUncertain")
	awaitHost(t, c, name, ready("illmatic"))
	remove(t, "hades", wildcard("second", "*.below.techn.is"))
	awaitHost(t, c, other, ready("illmatic"))

	// What the wildcard's cluster claims itself, it gets.
	apply(t, "hades", wildcard("wild", "*.below.techn.is", exposed))
	awaitHost(t, c, wild, notShared)
	awaitHost(t, c, name, all(ready("illmatic"), heldBy("illmatic")))
	apply(t, "illmatic", exact("c.below.techn.is", exposed))
	awaitHost(t, c, "c.below.techn.is", refused("UnderWildcard"))
	apply(t, "hades", exact("c.below.techn.is", exposed))
	awaitHost(t, c, "c.below.techn.is", all(ready("hades"), rivals("illmatic:UnderWildcard")))
	awaitHost(t, c, wild, lists("c.below.techn.is illmatic:UnderWildcard", name+" illmatic:Admitted", other+" illmatic:Admitted"))
}

// A cluster that holds a name keeps it when the wildcard of another appears above it,
// however old that is, and after a restart. Names are given again once it is withdrawn.
func TestWildcardTakesNoNameThatIsHeld(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	stop := startWithGrace(t, table, never)
	addMember(t, c, "hades", nil)
	addMember(t, c, "illmatic", nil)
	const name, late = "a.later.techn.is", "late.later.techn.is"
	wild := wildcard("wild", "*.later.techn.is", exposed)
	apply(t, "hades", wildcard("wild", "*.later.techn.is"))
	testkit.Eventually(t, "a later second", func() error { return laterThan(t, "hades", "wild") })
	apply(t, "illmatic", exact(name, exposed))
	awaitHost(t, c, name, ready("illmatic"))
	unwatch := watchRoute(t, table, name, onlyBy("illmatic"))
	apply(t, "hades", wild)
	routed(t, table, "any.later.techn.is", "hades")
	apply(t, "hades", exact(name, exposed))
	awaitHost(t, c, name, all(ready("illmatic"), rivals("hades:HeldByAnother")))
	stop()
	stop = startWithGrace(t, table, never)
	apply(t, "illmatic", exact(late, exposed))
	awaitHost(t, c, late, refused("UnderWildcard"))
	awaitHost(t, c, name, all(ready("illmatic"), rivals("hades:HeldByAnother")))

	// A wildcard that is replaced gives nothing away; one that is gone does, after the grace.
	// The name is decided again and again meanwhile.
	unwatchLate := watchRoute(t, table, late, notIllmatic)
	calm := touch(t, c, late)
	for range 3 {
		remove(t, "hades", wild)
		awaitGone(t, c, "wildcard.later.techn.is")
		testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), wild))
		awaitHost(t, c, "wildcard.later.techn.is", ready("hades"))
	}
	calm()
	awaitHost(t, c, late, refused("UnderWildcard"))
	unwatchLate()
	stop()
	startWithGrace(t, table, time.Second)
	apply(t, "illmatic", exact("marker.later.techn.is", exposed))
	awaitHost(t, c, "marker.later.techn.is", refused("UnderWildcard"))
	remove(t, "hades", wild)
	awaitHost(t, c, late, all(ready("illmatic"), heldBy("illmatic")))
	awaitHost(t, c, name, ready("illmatic"))
	unwatch()
}

// touch changes a label of an ExposedHost over and over until stop is called.
func touch(t *testing.T, c client.Client, name string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ctx.Err() == nil; n++ {
			eh := &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: name}}
			patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata": {"labels": {"touched": "%d"}}}`, n))
			if err := c.Patch(ctx, eh, patch); err != nil && ctx.Err() == nil {
				t.Errorf("patch ExposedHost %s: %v", name, err)
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}

// A wildcard that a person wrote is for its own clusters, whatever was held before. A
// name that a person wrote stands.
func TestManualWildcardKeepsItsNames(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	addMember(t, c, "illmatic", nil)
	const name, pinned, wild = "a.pin.techn.is", "b.pin.techn.is", "wildcard.pin.techn.is"
	apply(t, "illmatic", exact(name, exposed))
	awaitHost(t, c, name, ready("illmatic"))
	create(t, c, &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: pinned}, Spec: v1alpha1.ExposedHostSpec{Host: pinned, Backends: []v1alpha1.HostBackend{{Cluster: "illmatic"}}}})
	routed(t, table, pinned, "illmatic")
	stop := watchRoute(t, table, pinned, onlyBy("illmatic"))

	eh := &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: wild}, Spec: v1alpha1.ExposedHostSpec{Host: "*.pin.techn.is", Backends: []v1alpha1.HostBackend{{Address: "192.0.2.77"}}}}
	create(t, c, eh)
	awaitHost(t, c, name, all(refused("UnderWildcard"), heldBy("illmatic"), mentions("ExposedHost "+wild)))
	refusedRoute(t, table, name, "UnderWildcard")
	awaitHost(t, c, wild, lists(name+" illmatic:UnderWildcard"))
	edit := func(change func(*v1alpha1.ExposedHostSpec)) {
		t.Helper()
		testkit.Eventually(t, "a write of "+wild, func() error {
			if err := c.Get(t.Context(), client.ObjectKey{Name: wild}, eh); err != nil {
				return err
			}
			change(&eh.Spec)
			return c.Update(t.Context(), eh, client.FieldOwner("kubectl"))
		})
	}
	edit(func(spec *v1alpha1.ExposedHostSpec) { spec.ShareBelow = true })
	awaitHost(t, c, name, ready("illmatic"))
	awaitHost(t, c, wild, lists(name+" illmatic:Admitted"))
	edit(func(spec *v1alpha1.ExposedHostSpec) { spec.ShareBelow = false })
	awaitHost(t, c, name, refused("UnderWildcard"))
	edit(func(spec *v1alpha1.ExposedHostSpec) { spec.Backends = []v1alpha1.HostBackend{{Cluster: "hades"}} })
	routed(t, table, "any.pin.techn.is", "hades")
	awaitHost(t, c, name, refused("UnderWildcard"))
	apply(t, "hades", exact(name, exposed))
	awaitHost(t, c, name, all(ready("hades"), heldBy("hades"), rivals("illmatic:UnderWildcard")))
	edit(func(spec *v1alpha1.ExposedHostSpec) {
		spec.Backends = []v1alpha1.HostBackend{{Cluster: "illmatic"}, {Cluster: "hades"}}
	})
	awaitHost(t, c, name, all(ready("hades"), rivals("illmatic:HeldByAnother")))
	apply(t, "illmatic", exact("c.pin.techn.is", exposed))
	awaitHost(t, c, "c.pin.techn.is", ready("illmatic"))
	stop()
}

// usher's own wildcard whose spec a person edits is theirs, with shareBelow as they write it.
func TestPersonSharesAManagedWildcard(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	addMember(t, c, "illmatic", nil)
	apply(t, "hades", wildcard("wild", "*.edit.techn.is", exposed))
	awaitHost(t, c, "wildcard.edit.techn.is", ready("hades"))
	apply(t, "illmatic", exact("a.edit.techn.is", exposed))
	awaitHost(t, c, "a.edit.techn.is", refused("UnderWildcard"))
	_, err := bed.Cluster("edge").Kubectl(t.Context(), "patch", "exposedhost", "wildcard.edit.techn.is", "--type=merge", "-p", `{"spec":{"shareBelow":true}}`)
	testkit.Must(t, err)
	awaitHost(t, c, "a.edit.techn.is", ready("illmatic"))
	routed(t, table, "b.edit.techn.is", "hades")
	testkit.Must(t, c.Delete(t.Context(), &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: "wildcard.edit.techn.is"}}))
	awaitHost(t, c, "wildcard.edit.techn.is", heldBy("hades"))
	apply(t, "illmatic", exact("c.edit.techn.is", exposed))
	awaitHost(t, c, "c.edit.techn.is", refused("UnderWildcard"))
	awaitHost(t, c, "a.edit.techn.is", ready("illmatic"))
}

// Nobody holds a wildcard nor the names under it, and usher starts: the older claim wins
// each, in whatever order the decisions are made.
func TestAgeDecidesBetweenAWildcardAndTheNamesUnderIt(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	const names = 12
	older, younger := func(i int) string { return fmt.Sprintf("o%d.age.techn.is", i) }, func(i int) string { return fmt.Sprintf("y%d.age.techn.is", i) }
	var manifests [2][]string
	for i := range names {
		manifests[0], manifests[1] = append(manifests[0], exact(older(i), exposed)), append(manifests[1], exact(younger(i), exposed))
	}
	apply(t, "illmatic", strings.Join(manifests[0], "---\n"))
	testkit.Eventually(t, "a later second", func() error { return laterThan(t, "illmatic", fmt.Sprintf("o%d-age-techn-is", names-1)) })
	apply(t, "hades", wildcard("age", "*.age.techn.is", exposed))
	testkit.Eventually(t, "a later second", func() error { return laterThan(t, "hades", "age") })
	apply(t, "illmatic", strings.Join(manifests[1], "---\n"))
	addMember(t, c, "hades", nil)
	addMember(t, c, "illmatic", nil)
	for round := range 3 {
		stop := startWithGrace(t, table, 0)
		awaitHost(t, c, "wildcard.age.techn.is", ready("hades"))
		for i := range names {
			awaitHost(t, c, older(i), all(ready("illmatic"), heldBy("illmatic")))
			awaitHost(t, c, younger(i), all(refused("UnderWildcard"), heldBy("")))
		}
		if round == 1 { // while it runs
			testkit.Must(t, c.DeleteAllOf(t.Context(), &v1alpha1.ExposedHost{}))
			awaitHost(t, c, "wildcard.age.techn.is", ready("hades"))
			for i := range names {
				awaitHost(t, c, older(i), all(ready("illmatic"), heldBy("illmatic")))
				awaitHost(t, c, younger(i), all(refused("UnderWildcard"), heldBy("")))
			}
		}
		stop()
		testkit.Must(t, c.DeleteAllOf(t.Context(), &v1alpha1.ExposedHost{}))
	}
}

// A member that may not publish a wildcard blocks no name under it, whatever its API
// server says about the age of its objects, and neither does one that lost the right.
func TestForeignWildcardBlocksNobody(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	g := openGate(t, bed.Cluster("illmatic"))
	g.aged.Store(true)
	kubeconfig, err := bed.Cluster("illmatic").Kubeconfig()
	testkit.Must(t, err)
	create(t, c, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "aged"}, Data: map[string][]byte{"kubeconfig": g.kubeconfig(t, kubeconfig)}})
	create(t, c, &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "illmatic"}, Spec: v1alpha1.MemberClusterSpec{
		Kubeconfig: &v1alpha1.KubeconfigRef{SecretName: "aged"}, AllowedDomains: []string{"evil.is"},
		Ingress: v1alpha1.IngressEndpoint{Addresses: []string{addressOf["illmatic"]}},
	}})
	addMember(t, c, "hades", nil)
	apply(t, "illmatic", wildcard("evil", "*.good.techn.is", exposed))
	awaitHost(t, c, "wildcard.good.techn.is", refused("AllowedDomains"))
	apply(t, "hades", exact("a.good.techn.is", exposed))
	routed(t, table, "a.good.techn.is", "hades")
	// Nor does one that was never sound.
	apply(t, "illmatic", wildcard("evil2", "*.unsound.techn.is", exposed, "usher.techn.is/allow-from: me"))
	allow := func(domain string) {
		mc := &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "illmatic"}}
		testkit.Must(t, c.Patch(t.Context(), mc, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"allowedDomains":[%q]}}`, domain))))
	}
	allow("techn.is")
	awaitHost(t, c, "wildcard.good.techn.is", all(ready("illmatic"), lists("a.good.techn.is hades:Admitted")))
	awaitHost(t, c, "wildcard.unsound.techn.is", refused("AnnotationInvalid"))
	apply(t, "hades", exact("a.unsound.techn.is", exposed))
	routed(t, table, "a.unsound.techn.is", "hades")
	// What it holds blocks, until it may not publish it any more.
	apply(t, "hades", exact("b.good.techn.is", exposed))
	awaitHost(t, c, "b.good.techn.is", refused("UnderWildcard"))
	awaitHost(t, c, "a.good.techn.is", ready("hades"))
	allow("evil.is")
	awaitHost(t, c, "b.good.techn.is", ready("hades"))
	allow("techn.is")
	awaitHost(t, c, "wildcard.good.techn.is", ready("illmatic"))
	awaitHost(t, c, "b.good.techn.is", all(ready("hades"), heldBy("hades")))
}

// The status of a wildcard lists some of many names under it, and follows them once a
// second. No write causes another one without end.
func TestManyNamesUnderAWildcard(t *testing.T) {
	const many = 300
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", nil)
	addMember(t, c, "illmatic", nil)
	apply(t, "hades", wildcard("wild", "*.crowd.techn.is", exposed))
	awaitHost(t, c, "wildcard.crowd.techn.is", ready("hades"))
	flood(t, "illmatic", "crowd", many, func(i int) map[string]any { return routes(fmt.Sprintf("Host(`n%03d.crowd.techn.is`)", i)) })
	whole := func(total, first int, reason string) func(eh *v1alpha1.ExposedHost) error {
		return func(eh *v1alpha1.ExposedHost) error {
			s := eh.Status
			if int(s.BelowTotal) != total || len(s.Below) != 10 || s.Below[0].Name != fmt.Sprintf("crowd-%05d", first) || s.Below[0].Host != fmt.Sprintf("n%03d.crowd.techn.is", first) || s.Below[0].Reason != reason {
				return fmt.Errorf("it lists %+v of %d", s.Below, s.BelowTotal)
			}
			return nil
		}
	}
	awaitHost(t, c, "wildcard.crowd.techn.is", whole(many, 0, "UnderWildcard"))
	w, began := countWrites(t), time.Now()
	apply(t, "hades", wildcard("wild", "*.crowd.techn.is", exposed, sharing))
	awaitHost(t, c, fmt.Sprintf("n%03d.crowd.techn.is", many-1), ready("illmatic"))
	awaitHost(t, c, "wildcard.crowd.techn.is", whole(many, 0, "Admitted"))
	testkit.Must(t, clientOf(t, "illmatic").Delete(t.Context(), ofSpec("crowd-00000", nil)))
	awaitHost(t, c, "wildcard.crowd.techn.is", whole(many-1, 1, "Admitted"))
	counts := map[string]int{} // ExposedHost → writes
	for _, written := range w.of("ExposedHost") {
		counts[strings.TrimSuffix(strings.Fields(written)[1], ":")]++
	}
	for name, n := range counts {
		most := 4 // spec and status, with one to spare; deleted
		if name == "wildcard.crowd.techn.is" {
			most += int(time.Since(began)/time.Second) + 1
		}
		if n > most {
			t.Errorf("%s was written %d times, want %d at most", name, n, most)
		}
	}
}
