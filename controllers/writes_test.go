package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// writes counts, by kind, the changes that the edge's API server reports until the
// test ends.
type writes struct {
	mu     sync.Mutex
	counts map[string][]string // kind → what was changed
}

// countWrites begins to count. What was written before is not counted.
func countWrites(t *testing.T) *writes {
	t.Helper()
	c, err := client.NewWithWatch(bed.Cluster("edge").Config(), client.Options{Scheme: clientOf(t, "edge").Scheme()})
	testkit.Must(t, err)
	w := &writes{counts: map[string][]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	t.Cleanup(func() { cancel(); watching.Wait() })
	for kind, list := range map[string]client.ObjectList{"ExposedHost": &v1alpha1.ExposedHostList{}, "MemberCluster": &v1alpha1.MemberClusterList{}} {
		testkit.Must(t, c.List(ctx, list))
		changes, err := c.Watch(ctx, list, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}})
		testkit.Must(t, err)
		watching.Go(func() {
			defer changes.Stop()
			for e := range changes.ResultChan() {
				w.note(kind, e)
			}
		})
	}
	return w
}

func (w *writes) note(kind string, e watch.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	written := string(e.Type)
	switch o := e.Object.(type) {
	case *v1alpha1.ExposedHost:
		written = fmt.Sprintf("%s %s: %+v", e.Type, o.Name, o.Status.Conditions)
	case *v1alpha1.MemberCluster:
		written = fmt.Sprintf("%s %s: %d hosts, %+v", e.Type, o.Name, o.Status.Hosts, o.Status.Conditions)
	}
	w.counts[kind] = append(w.counts[kind], written)
}

// of returns what was written of a kind.
func (w *writes) of(kind string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.counts[kind])
}

// A restart where nothing has changed writes no host's status; of a member it writes
// when it was read.
func TestRestartWritesNothing(t *testing.T) {
	const hosts = 40
	c := edge(t)
	stop := startControllers(t, &routing.Live{})
	t.Cleanup(func() { stop() })
	addMember(t, c, "hades", nil)
	for i := range hosts {
		apply(t, "hades", ingressRoute(fmt.Sprint("restart", i), fmt.Sprintf("Host(`restart%d.techn.is`)", i), exposed))
	}
	awaitHost(t, c, fmt.Sprintf("restart%d.techn.is", hosts-1), ready("hades"))
	addMember(t, c, "illmatic", nil)
	apply(t, "illmatic", ingressRoute("restart", "Host(`restart0.techn.is`)", exposed))
	apply(t, "illmatic", ingressRoute("nameless", "PathPrefix(`/`)", exposed))
	awaitHost(t, c, "restart0.techn.is", func(eh *v1alpha1.ExposedHost) error {
		if len(eh.Status.Rivals) != 1 {
			return fmt.Errorf("rivals are %v", eh.Status.Rivals)
		}
		return nil
	})
	awaitRefusals(t, c, "illmatic", 1)
	awaitCount(t, c, "hades", hosts)

	for range 2 {
		stop()
		w := countWrites(t)
		stop = startControllers(t, &routing.Live{})
		// A change that comes last is decided last, once its member has been read.
		for name, count := range map[string]int32{"hades": hosts, "illmatic": 0} {
			last := name + "-last.techn.is"
			apply(t, name, ingressRoute("restart-last", "Host(`"+last+"`)", exposed))
			awaitHost(t, c, last, ready(name))
			awaitCount(t, c, name, count+1)
			remove(t, name, ingressRoute("restart-last", "Host(`"+last+"`)", exposed))
			awaitGone(t, c, last)
			awaitCount(t, c, name, count)
		}
		for _, written := range w.of("ExposedHost") {
			if !strings.Contains(written, "-last.techn.is: ") {
				t.Errorf("the restart wrote %s", written)
			}
		}
		if written := w.of("MemberCluster"); len(written) > 6 { // each: read, and two counts
			t.Errorf("the restart wrote the members %d times: %q", len(written), written)
		}
	}
}

func awaitRefusals(t *testing.T, c client.Client, name string, n int) {
	t.Helper()
	testkit.Eventually(t, "refusals", func() error {
		var mc v1alpha1.MemberCluster
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, &mc); err != nil {
			return err
		}
		if len(mc.Status.Refusals) != n {
			return fmt.Errorf("are %v", mc.Status.Refusals)
		}
		return nil
	})
}

func awaitCount(t *testing.T, c client.Client, name string, n int32) {
	t.Helper()
	testkit.Eventually(t, "the count of hosts", func() error {
		var mc v1alpha1.MemberCluster
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, &mc); err != nil {
			return err
		}
		if mc.Status.Hosts != n {
			return fmt.Errorf("is %d", mc.Status.Hosts)
		}
		return nil
	})
}

// A member that resets each connection costs a write or two, not one an attempt.
func TestResettingMemberCostsFewWrites(t *testing.T) {
	c := edge(t)
	startUsher(t)
	kubeconfig, err := bed.Cluster("hades").Kubeconfig()
	testkit.Must(t, err)
	g := openGate(t, bed.Cluster("hades"))
	addMemberBy(t, c, "hades", g.kubeconfig(t, kubeconfig))
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	w := countWrites(t)
	g.reset(true)
	g.cut()
	awaitMember(t, c, "hades", v1alpha1.ConditionConnected, metav1.ConditionFalse, "Unreachable")
	testkit.Consistently(t, 45*time.Second, "few writes", func() error {
		if written := w.of("MemberCluster"); len(written) > 2 {
			return fmt.Errorf("it cost %d: %q", len(written), written)
		}
		return nil
	})
	g.reset(false)
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}
