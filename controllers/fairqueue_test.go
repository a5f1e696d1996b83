package controllers

import (
	"fmt"
	"slices"
	"testing"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// However many requests one member causes, those of others come in turn with them.
func TestFairQueueTakesTurns(t *testing.T) {
	order := newFairQueue()
	queue := order.newQueue("", workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	for i := range 1000 {
		order.add(queue, "illmatic", requestFor(fmt.Sprint("i", i)))
	}
	order.add(queue, "hades", requestFor("h0"), requestFor("h1"), requestFor("i500"))
	queue.Add(requestFor("again"))
	var got []string
	for range 8 {
		request, _ := queue.Get()
		got = append(got, request.Name)
		queue.Done(request)
	}
	if want := []string{"i0", "h0", "again", "i1", "h1", "i2", "i500", "i3"}; !slices.Equal(got, want) {
		t.Errorf("it gives %q, want %q", got, want)
	}
	seen := map[string]bool{}
	for queue.Len() > 0 {
		request, _ := queue.Get()
		if seen[request.Name] || slices.Contains(got, request.Name) {
			t.Fatalf("it gives %s twice", request.Name)
		}
		seen[request.Name] = true
		queue.Done(request)
	}
	if len(seen)+len(got) != 1003 {
		t.Errorf("it gives %d requests, want 1003", len(seen)+len(got))
	}
	if len(order.marked)+len(order.queued)+len(order.shares)+len(order.turns) > 0 {
		t.Errorf("when it is empty there is left %+v", order)
	}
}

// A request that is added while it is worked on comes once more, in the turn of the
// share that added it.
func TestFairQueueKeepsWhatIsAddedMeanwhile(t *testing.T) {
	order := newFairQueue()
	queue := order.newQueue("", workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	order.add(queue, "illmatic", requestFor("a"), requestFor("b"), requestFor("c"))
	first, _ := queue.Get()
	order.add(queue, "hades", first)
	queue.Done(first)
	var got []string
	for range 3 {
		request, _ := queue.Get()
		got = append(got, request.Name)
		queue.Done(request)
	}
	if want := []string{"b", "a", "c"}; first.Name != "a" || !slices.Equal(got, want) || queue.Len() > 0 {
		t.Errorf("after %s it gives %q, want %q", first.Name, got, want)
	}
}
