package controllers

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// trigger lets what is no watch of the edge cluster add to a controller's
// queue, without ever blocking. What is added before the controller starts is
// lost: the controller then begins with all that started names.
type trigger struct {
	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[reconcile.Request] // nil until the controller starts
}

// source hands the controller's queue to the trigger, and adds the names that started returns.
func (t *trigger) source(started func() []string) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		t.mu.Lock()
		t.queue = queue
		t.mu.Unlock()
		t.add(started())
		return nil
	})
}

// add enqueues cluster-scoped objects by name.
func (t *trigger) add(names []string) {
	t.mu.Lock()
	queue := t.queue
	t.mu.Unlock()
	if queue == nil {
		return
	}
	for _, name := range names {
		queue.Add(requestFor(name))
	}
}

func requestFor(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
}
