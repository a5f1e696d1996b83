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
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/member"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// flood makes many IngressRoutes of a member at once, and deletes them with the test.
func flood(t *testing.T, cluster, name string, n int, spec func(i int) map[string]any) {
	t.Helper()
	c := clientOf(t, cluster)
	mark := client.MatchingLabels{"flood": name}
	t.Cleanup(func() {
		all := &unstructured.Unstructured{}
		all.SetAPIVersion("traefik.io/v1alpha1")
		all.SetKind("IngressRoute")
		if err := c.DeleteAllOf(context.Background(), all, client.InNamespace("default"), mark); err != nil {
			t.Error(err)
		}
	})
	next := make(chan int)
	var writing sync.WaitGroup
	for range 8 {
		writing.Go(func() {
			for i := range next {
				o := ofSpec(fmt.Sprintf("%s-%05d", name, i), spec(i))
				o.SetLabels(mark)
				o.SetAnnotations(map[string]string{v1alpha1.AnnotationExpose: "true"})
				if err := c.Create(t.Context(), o); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	writing.Wait()
}

// ofSpec is an IngressRoute.
func ofSpec(name string, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetAPIVersion("traefik.io/v1alpha1")
	o.SetKind("IngressRoute")
	o.SetNamespace("default")
	o.SetName(name)
	return o
}

// routes is the spec of an IngressRoute with one rule.
func routes(rule string) map[string]any {
	return map[string]any{"routes": []any{map[string]any{"match": rule, "kind": "Rule"}}}
}

// However many objects ask for a host, its owner's status is written: it lists a
// handful, the first of each cluster among them, and how many there are.
func TestManyRivalsLeaveTheStatusWritable(t *testing.T) {
	const many = 1500
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("owner", "Host(`wanted.techn.is`)", exposed))
	routed(t, table, "wanted.techn.is", "hades")
	addMember(t, c, "illmatic", nil)
	flood(t, "illmatic", "rival", many, func(int) map[string]any { return routes("Host(`wanted.techn.is`)") })
	flood(t, "hades", "sibling", 20, func(int) map[string]any { return routes("Host(`wanted.techn.is`) && Path(`/x`)") })
	awaitHost(t, c, "wanted.techn.is", func(eh *v1alpha1.ExposedHost) error {
		s := eh.Status
		if s.RivalsTotal != many || s.SourcesTotal != 21 || len(s.Rivals) != 10 || len(s.Sources) != 10 ||
			s.Summary.Rivals != fmt.Sprintf("illmatic:IngressRoute/default/%s +%d", s.Rivals[0].Name, many-1) {
			return fmt.Errorf("%d of %d rivals, %d of %d sources: %+v", len(s.Rivals), s.RivalsTotal, len(s.Sources), s.SourcesTotal, s.Summary)
		}
		return ready("hades")(eh)
	})
}

// manyRoutes is the spec of an IngressRoute with a route for each 100 of so many hosts.
func manyRoutes(n int, domain string) map[string]any {
	var all []any
	for i := 0; i < n; i += 100 {
		all = append(all, routes(hostsRule(i, i+100, domain))["routes"].([]any)...)
	}
	return map[string]any{"routes": all}
}

// hostsRule is a rule of many hosts.
func hostsRule(from, to int, domain string) string {
	hosts := make([]string, 0, to-from)
	for i := from; i < to; i++ {
		hosts = append(hosts, fmt.Sprintf("Host(`n%05d.%s`)", i, domain))
	}
	return strings.Join(hosts, " || ")
}

// One object of thousands of hosts is published up to the limit, says so, and delays
// no other member: to decide about each of its hosts once read it again as a whole,
// for a minute.
func TestLargeObjectDelaysNoOtherMember(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	addMember(t, c, "illmatic", nil)
	awaitMember(t, c, "illmatic", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	limit := member.DefaultLimits.SourceHosts
	flood(t, "illmatic", "large", 1, func(int) map[string]any { return manyRoutes(2000, "large.techn.is") })
	publishedQuickly(t, table, 20)
	routed(t, table, fmt.Sprintf("n%05d.large.techn.is", limit-1), "illmatic")
	routed(t, table, fmt.Sprintf("n%05d.large.techn.is", limit), "")
	awaitRefusal(t, c, "illmatic", "TooManyHosts", "it claims 2000 hosts, and usher publishes at most 500 of one object")
	var hosts v1alpha1.ExposedHostList
	testkit.Must(t, c.List(t.Context(), &hosts))
	if n := len(hosts.Items); n > limit+20 {
		t.Errorf("there are %d ExposedHosts", n)
	}
}

// Of the objects of a member the oldest are published up to the limit. What is beyond
// it no wildcard opens, and it is published when there is room.
func TestMemberIsPublishedUpToItsLimit(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	t.Cleanup(startControllers(t, table, controllers.Limits(member.Limits{SourceHosts: 4, MemberHosts: 7})))
	addMember(t, c, "hades", nil)
	apply(t, "hades", wildcard("old", "*.limit.techn.is", exposed, `usher.techn.is/wildcard: all`))
	apply(t, "hades", ingressRoute("first", hostsRule(0, 6, "limit.techn.is"), exposed))
	routed(t, table, "n00003.limit.techn.is", "hades")
	routed(t, table, "any.limit.techn.is", "hades")
	routed(t, table, "n00004.limit.techn.is", "")
	time.Sleep(1100 * time.Millisecond) // creationTimestamps are whole seconds
	apply(t, "hades", ingressRoute("second", hostsRule(10, 13, "limit.techn.is"), exposed))
	awaitRefusal(t, c, "hades", "TooManyHosts", "IngressRoute default/second: the objects of the cluster claim more than 7 hosts together")
	for _, host := range []string{"n00010", "n00012", "n00005"} {
		routed(t, table, host+".limit.techn.is", "")
	}
	awaitGone(t, c, "n00010.limit.techn.is")
	remove(t, "hades", ingressRoute("first", hostsRule(0, 6, "limit.techn.is"), exposed))
	routed(t, table, "n00010.limit.techn.is", "hades")
	awaitHost(t, c, "n00012.limit.techn.is", ready("hades"))
	routed(t, table, "n00004.limit.techn.is", "hades") // nobody else's: the wildcard's
}

// awaitRefusal waits until a MemberCluster reports a refusal.
func awaitRefusal(t *testing.T, c client.Client, cluster, reason, said string) {
	t.Helper()
	testkit.Eventually(t, "a refusal of "+cluster, func() error {
		var mc v1alpha1.MemberCluster
		if err := c.Get(t.Context(), client.ObjectKey{Name: cluster}, &mc); err != nil {
			return err
		}
		for _, refusal := range mc.Status.Refusals {
			if refusal.Reason == reason && strings.Contains(refusal.Message, said) {
				return nil
			}
		}
		return fmt.Errorf("there are only %+v", mc.Status.Refusals)
	})
}

// A parent of many hosts is read once for each child, and delays no other member.
func TestManyChildrenDelayNoOtherMember(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	addMember(t, c, "illmatic", nil)
	awaitMember(t, c, "illmatic", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	create(t, clientOf(t, "illmatic"), ofSpec("parent", manyRoutes(4000, "children.techn.is")))
	flood(t, "illmatic", "child", 150, func(i int) map[string]any {
		spec := routes("PathPrefix(`/`)")
		spec["parentRefs"] = []any{map[string]any{"name": "parent"}}
		return spec
	})
	publishedQuickly(t, table, 10)
	routed(t, table, "n00000.children.techn.is", "illmatic")
}

// publishedQuickly publishes hosts of hades one after another, and logs how long that
// took: what others cost it. The bound is one that no load of the machine explains.
func publishedQuickly(t *testing.T, table *routing.Live, n int) {
	t.Helper()
	const bound = 20 * time.Second
	var took []time.Duration
	for i := range n {
		host := fmt.Sprintf("quick%d.techn.is", i)
		began := time.Now()
		flood(t, "hades", fmt.Sprint("quick", i), 1, func(int) map[string]any { return routes("Host(`" + host + "`)") })
		routed(t, table, host, "hades")
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("a new host of the other member took %v in the median, %v at most", took[len(took)/2], took[len(took)-1])
	if last := took[len(took)-1]; last > bound {
		t.Errorf("a new host of the other member took %v", last)
	}
}

// While hosts come and go by hundreds, their number is written about once a second.
func TestFloodOfHostsIsCountedOnceASecond(t *testing.T) {
	const many = 300
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", nil)
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	w, began := countWrites(t), time.Now()
	flood(t, "hades", "counted", many, func(i int) map[string]any { return routes(fmt.Sprintf("Host(`counted%d.techn.is`)", i)) })
	awaitCount(t, c, "hades", many)
	const besides = 2 // of what else may have changed
	if seconds, written := int(time.Since(began)/time.Second), w.of("MemberCluster"); len(written) > seconds+besides {
		t.Errorf("%d hosts cost %d writes in %d s: %q", many, len(written), seconds, written)
	}
}
