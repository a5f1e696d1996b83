package controllers

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/jovalle/usher/api/v1alpha1"
)

// countHosts returns how many accepted hosts a member serves.
func countHosts(ctx context.Context, reader client.Reader, member string) (int32, error) {
	var list v1alpha1.ExposedHostList
	if err := reader.List(ctx, &list, client.MatchingFields{indexCluster: member}, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list the ExposedHosts of cluster %s: %w", member, err)
	}
	hosts := 0
	for i := range list.Items {
		if slices.Contains(servedBy(&list.Items[i]), member) {
			hosts++
		}
	}
	return total(hosts), nil
}

// servedBy returns the members that serve an ExposedHost, if it is accepted.
func servedBy(o client.Object) []string {
	if !isAccepted(o) {
		return nil
	}
	var members []string
	for _, b := range o.(*v1alpha1.ExposedHost).Spec.Backends {
		if b.Cluster != "" {
			members = append(members, b.Cluster)
		}
	}
	return members
}

// recount enqueues the members whose number of hosts changes with an ExposedHost. It
// does so after countEvery, and the queue has a member once: many changes in that time
// cause one count for each member, not one for each change.
func recount() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	changed := func(q queue, was, is []string) {
		for _, member := range slices.Concat(was, is) {
			if slices.Contains(was, member) != slices.Contains(is, member) {
				q.AddAfter(requestFor(member), countEvery)
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { changed(q, nil, servedBy(e.Object)) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			changed(q, servedBy(e.ObjectOld), servedBy(e.ObjectNew))
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { changed(q, servedBy(e.Object), nil) },
	}
}
