package controllers_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
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
				o := &unstructured.Unstructured{Object: map[string]any{"spec": spec(i)}}
				o.SetAPIVersion("traefik.io/v1alpha1")
				o.SetKind("IngressRoute")
				o.SetNamespace("default")
				o.SetName(fmt.Sprintf("%s-%05d", name, i))
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
	if seconds, told := int(time.Since(began)/time.Second), w.of("MemberCluster"); len(told) > seconds+besides {
		t.Errorf("%d hosts cost %d writes in %d s: %q", many, len(told), seconds, told)
	}
}
