package controllers

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// trigger adds requests to a controller's queue that do not come from a watch of the edge
// cluster. It never blocks. Requests that are added before the controller starts are
// lost: at its start the controller reconciles all names that started returns.
type trigger struct {
	fair *fairQueue // the order of the queue; nil for the order of arrival

	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[reconcile.Request] // nil until the controller starts
}

// source returns a source that connects the trigger to the controller's queue. It adds
// the names that started returns, by share.
func (t *trigger) source(started func() map[string][]string) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		t.mu.Lock()
		t.queue = queue
		t.mu.Unlock()
		for share, names := range started() {
			t.add(share, names)
		}
		return nil
	})
}

// add enqueues cluster-scoped objects by name, as requests of a share of the queue.
func (t *trigger) add(share string, names []string) {
	t.mu.Lock()
	queue := t.queue
	t.mu.Unlock()
	if queue == nil {
		return
	}
	if t.fair != nil {
		t.fair.add(queue, share, requestsFor(names)...)
		return
	}
	for _, name := range names {
		queue.Add(requestFor(name))
	}
}

func requestFor(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
}
