package controllers

import (
	"context"
	"slices"
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/jovalle/usher/api/v1alpha1"
)

// hostCount counts the accepted hosts that each member serves, change by change:
// to list them would cost each change as much as there are hosts.
type hostCount struct {
	mu     sync.Mutex
	served map[string][]string // ExposedHost → the members that it is counted for
	hosts  map[string]int32    // member → hosts
}

func newHostCount() *hostCount {
	return &hostCount{served: map[string][]string{}, hosts: map[string]int32{}}
}

// of returns how many hosts a member serves.
func (c *hostCount) of(member string) int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hosts[member]
}

// note counts an ExposedHost for the members that serve it now, none where it is
// gone, and returns the members whose count that changes.
func (c *hostCount) note(name string, members []string) (changed []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.served[name]
	for _, member := range before {
		if !slices.Contains(members, member) {
			c.hosts[member]--
			changed = append(changed, member)
		}
	}
	for _, member := range members {
		if !slices.Contains(before, member) {
			c.hosts[member]++
			changed = append(changed, member)
		}
	}
	if c.served[name] = members; len(members) == 0 {
		delete(c.served, name)
	}
	return changed
}

// handler counts ExposedHosts, and has a member's count reported at most every countEvery.
func (c *hostCount) handler() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	note := func(q queue, name string, members []string) {
		for _, member := range c.note(name, members) {
			q.AddAfter(requestFor(member), countEvery)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { note(q, e.Object.GetName(), servedBy(e.Object)) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			note(q, e.ObjectNew.GetName(), servedBy(e.ObjectNew))
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { note(q, e.Object.GetName(), nil) },
	}
}

// servedBy returns the members that serve an accepted ExposedHost, each once.
func servedBy(o client.Object) []string {
	if !isAccepted(o) {
		return nil
	}
	var members []string
	for _, b := range o.(*v1alpha1.ExposedHost).Spec.Backends {
		if b.Cluster != "" && !slices.Contains(members, b.Cluster) {
			members = append(members, b.Cluster)
		}
	}
	return members
}
