package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// shares asks to share a host.
const shares = `usher.techn.is/share: "true"`

// servedBy checks that a host is accepted, ready, and has these backends, in this order.
func servedBy(clusters ...string) func(*v1alpha1.ExposedHost) error {
	return func(eh *v1alpha1.ExposedHost) error {
		var got []string
		for _, b := range eh.Spec.Backends {
			got = append(got, b.Cluster)
		}
		ready := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionReady)
		if !slices.Equal(got, clusters) || ready == nil || ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != eh.Generation {
			return fmt.Errorf("it is served by %v: %+v", got, eh.Status)
		}
		return nil
	}
}

// watchAccepted reports each state of a host, as the API server tells it, in which it is
// not accepted, until stop is called.
func watchAccepted(t *testing.T, c client.Client, name string) (stop func()) {
	t.Helper()
	watching, err := client.NewWithWatch(bed.Cluster("edge").Config(), client.Options{Scheme: c.Scheme()})
	testkit.Must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	watcher, err := watching.Watch(ctx, &v1alpha1.ExposedHostList{}, client.MatchingFields{"metadata.name": name})
	testkit.Must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for event := range watcher.ResultChan() {
			eh, is := event.Object.(*v1alpha1.ExposedHost)
			if is && (!meta.IsStatusConditionTrue(eh.Status.Conditions, v1alpha1.ConditionAccepted) || len(eh.Spec.Backends) == 0) {
				t.Errorf("%s was not served for a moment: %+v, %+v", name, eh.Spec, eh.Status.Conditions)
			}
		}
	}()
	return func() { cancel(); watcher.Stop(); <-done }
}

// awaitNote waits for an Event about a host whose note has a text.
func awaitNote(t *testing.T, c client.Client, host, why, text string) {
	t.Helper()
	testkit.Eventually(t, "an Event "+why+" on "+host, func() error {
		var list corev1.EventList
		if err := c.List(t.Context(), &list); err != nil {
			return err
		}
		var others []string
		for _, e := range list.Items {
			switch {
			case e.InvolvedObject.Name != host:
			case e.Reason == why && strings.Contains(e.Message, text):
				return nil
			default:
				others = append(others, e.Reason+": "+e.Message)
			}
		}
		return fmt.Errorf("the others are\n%s", strings.Join(others, "\n"))
	})
}

// shareHost makes hades hold a host that illmatic shares, and returns the object of both.
func shareHost(t *testing.T, c client.Client, host string) string {
	t.Helper()
	name := strings.ReplaceAll(host, ".", "-")
	object := ingressRoute(name, "Host(`"+host+"`)", exposed, shares)
	addMember(t, c, "hades", nil)
	addMember(t, c, "illmatic", nil)
	apply(t, "hades", object)
	awaitHost(t, c, host, servedBy("hades"))
	apply(t, "illmatic", object)
	eh := awaitHost(t, c, host, servedBy("hades", "illmatic"))
	if eh.Status.Summary.Cluster != "hades +1" || len(eh.Status.Sources) != 2 {
		t.Errorf("its status is %+v", eh.Status)
	}
	return object
}

// Two clusters that agree serve a host; one that takes its consent back is a rival.
func TestClustersShareAHost(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	const host, name = "share.techn.is", "share-techn-is"
	shareHost(t, c, host)
	awaitNote(t, c, host, reason.Joined, "cluster illmatic shares the host")
	testkit.Eventually(t, "a route to both", func() error {
		if route := table.Load().Lookup(host); !served(route) || len(route.Backends) != 2 || route.Strategy != routing.Failover {
			return fmt.Errorf("is %+v", route)
		}
		return nil
	})
	with := func(annotations ...string) string {
		return ingressRoute(name, "Host(`"+host+"`)", append(annotations, exposed)...)
	}
	apply(t, "hades", with(shares, `usher.techn.is/strategy: roundrobin`, `usher.techn.is/weight: "30"`))
	awaitHost(t, c, host, func(eh *v1alpha1.ExposedHost) error {
		if eh.Spec.Strategy != v1alpha1.StrategyRoundRobin || eh.Spec.Backends[0].Weight == nil || *eh.Spec.Backends[0].Weight != 30 {
			return fmt.Errorf("spec is %+v", eh.Spec)
		}
		if ready := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(ready.Message, "strategy RoundRobin") {
			return fmt.Errorf("Ready is %+v", ready)
		}
		return nil
	})
	apply(t, "illmatic", with())
	awaitHost(t, c, host, all(servedBy("hades"), rivals("illmatic:NotShared"), mentions("annotate every source of the host")))
	awaitNote(t, c, host, reason.Left, "cluster illmatic")
	awaitNote(t, c, host, reason.NotShared, "annotate every source")
	apply(t, "illmatic", with(shares, `usher.techn.is/weight: "0"`))
	awaitHost(t, c, host, servedBy("hades", "illmatic"))
	apply(t, "illmatic", with(shares, `usher.techn.is/weight: "101"`))
	awaitHost(t, c, host, all(servedBy("hades"), rivals("illmatic:AnnotationInvalid")))
	apply(t, "hades", with(shares, `usher.techn.is/weight: "0"`))
	refusedRoute(t, table, host, reason.NoWeight)
}

// A cluster that is not in sync after a restart keeps its backend, and a holder that leaves
// a shared host does not interrupt it.
func TestAHostSurvivesItsHolder(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	stop := startWithGrace(t, table, 3*time.Second)
	const host = "survive.techn.is"
	object := shareHost(t, c, host)
	stop()
	testkit.Must(t, bed.Cluster("illmatic").Pause())
	resume := func() { testkit.Must(t, bed.Cluster("illmatic").Resume()) }
	stop = startWithGrace(t, table, 3*time.Second)
	apply(t, "hades", ingressRoute("marker", "Host(`marker.techn.is`)", exposed))
	awaitHost(t, c, "marker.techn.is", ready("hades"))
	awaitHost(t, c, host, all(servedBy("hades", "illmatic"), heldBy("hades")))
	resume()
	apply(t, "illmatic", ingressRoute("marker2", "Host(`marker2.techn.is`)", exposed))
	awaitHost(t, c, "marker2.techn.is", ready("illmatic"))

	unwatch, unfollow := watchRoute(t, table, host, served), watchAccepted(t, c, host)
	remove(t, "hades", object)
	awaitHost(t, c, host, all(servedBy("illmatic"), heldBy("hades")))
	awaitHost(t, c, host, all(servedBy("illmatic"), heldBy("illmatic")))
	awaitNote(t, c, host, reason.HandedOver, "from cluster hades to illmatic")
	apply(t, "hades", object)
	awaitHost(t, c, host, servedBy("illmatic", "hades"))
	testkit.Must(t, c.Delete(t.Context(), &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "illmatic"}}))
	awaitHost(t, c, host, all(servedBy("hades"), heldBy("hades")))
	unwatch()
	unfollow()
	stop()
}

// movedHost is the host of TestMove.
const movedHost = "move.techn.is"

// move asks usher to give movedHost to a cluster, and waits for the answer.
func move(t *testing.T, c client.Client, to string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationMoveTo, to)
	testkit.Must(t, c.Patch(t.Context(), &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: movedHost}}, client.RawPatch("application/merge-patch+json", patch)))
	awaitHost(t, c, movedHost, func(eh *v1alpha1.ExposedHost) error {
		if to, asked := eh.Annotations[v1alpha1.AnnotationMoveTo]; asked {
			return fmt.Errorf("it is not moved to %s yet", to)
		}
		return nil
	})
}

// A person gives a host to a rival without a refused moment, and to nobody who may not have it.
func TestMove(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	startWithGrace(t, table, never)
	const host, name = movedHost, "move-techn-is"
	contested(t, c, host)
	unwatch, unfollow := watchRoute(t, table, host, served), watchAccepted(t, c, host)
	move(t, c, "illmatic")
	awaitHost(t, c, host, all(servedBy("illmatic"), heldBy("illmatic"), rivals("hades:HeldByAnother")))
	routed(t, table, host, "illmatic")
	awaitNote(t, c, host, reason.HandedOver, "from cluster hades to illmatic")
	move(t, c, "nowhere")
	awaitNote(t, c, host, reason.MoveRefused, `there is no MemberCluster "nowhere"`)
	apply(t, "hades", ingressRoute(name, "Host(`"+host+"`)", exposed, `usher.techn.is/allow-from: nonsense`))
	awaitHost(t, c, host, rivals("hades:AnnotationInvalid"))
	move(t, c, "hades")
	awaitNote(t, c, host, reason.MoveRefused, "nonsense")
	awaitHost(t, c, host, all(servedBy("illmatic"), heldBy("illmatic")))

	object := ingressRoute(name, "Host(`"+host+"`)", exposed, shares)
	apply(t, "hades", object)
	apply(t, "illmatic", object)
	awaitHost(t, c, host, servedBy("illmatic", "hades"))
	move(t, c, "hades")
	awaitHost(t, c, host, all(servedBy("hades", "illmatic"), heldBy("hades")))
	unwatch()
	unfollow()
}

// drain annotates a MemberCluster.
func drain(t *testing.T, cluster, value string) {
	t.Helper()
	_, err := bed.Cluster("edge").Kubectl(t.Context(), "annotate", "--overwrite", "membercluster", cluster, v1alpha1.AnnotationDrain+"="+value)
	testkit.Must(t, err)
}

// A drained cluster comes last, and the hosts that have no other are listed.
func TestDrain(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	const host = "drain.techn.is"
	shareHost(t, c, host)
	apply(t, "hades", ingressRoute("only", "Host(`only.techn.is`)", exposed))
	awaitHost(t, c, "only.techn.is", ready("hades"))
	drain(t, "hades", "true")
	routed(t, table, host, "illmatic")
	awaitHost(t, c, host, all(servedBy("hades", "illmatic"), readyMentions("no new connections go to cluster hades while another backend answers")))
	awaitHost(t, c, "only.techn.is", readyMentions("cluster hades is drained, but keeps the host"))
	routed(t, table, "only.techn.is", "hades")
	mc := awaitMember(t, c, "hades", v1alpha1.ConditionDraining, metav1.ConditionTrue, reason.Draining)
	testkit.Eventually(t, "the host without another backend", func() error {
		testkit.Must(t, c.Get(t.Context(), client.ObjectKeyFromObject(mc), mc))
		if said := meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionDraining).Message; !strings.Contains(said, "keep this one: 1: only.techn.is") {
			return fmt.Errorf("it says %s", said)
		}
		return nil
	})
	drain(t, "hades", "perhaps")
	awaitMember(t, c, "hades", v1alpha1.ConditionDraining, metav1.ConditionFalse, reason.AnnotationInvalid)
	routed(t, table, host, "hades")
	drain(t, "hades", "false")
	testkit.Eventually(t, "no condition", func() error {
		testkit.Must(t, c.Get(t.Context(), client.ObjectKeyFromObject(mc), mc))
		if is := meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionDraining); is != nil {
			return fmt.Errorf("it is %+v", is)
		}
		return nil
	})
}

// readyMentions checks that the message of a host's Ready condition holds a text.
func readyMentions(text string) func(*v1alpha1.ExposedHost) error {
	return func(eh *v1alpha1.ExposedHost) error {
		if c := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionReady); c == nil || !strings.Contains(c.Message, text) {
			return fmt.Errorf("it does not mention %q: %+v", text, c)
		}
		return nil
	}
}
