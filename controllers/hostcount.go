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
	"github.com/jovalle/usher/controllers/routetable"
)

// keptHosts is how many hosts a condition lists.
const keptHosts = 10

// servedHosts are the accepted hosts that a member serves.
type servedHosts struct {
	total int32
	// only are the first of those that have no backend but drained ones; onlyTotal is their
	// number. They are counted for drained members alone.
	only      []string
	onlyTotal int
}

// countHosts counts the accepted hosts that a member serves.
func countHosts(ctx context.Context, reader client.Reader, member string) (servedHosts, error) {
	var list v1alpha1.ExposedHostList
	if err := reader.List(ctx, &list, client.MatchingFields{indexCluster: member}, client.UnsafeDisableDeepCopy); err != nil {
		return servedHosts{}, fmt.Errorf("list the ExposedHosts of cluster %s: %w", member, err)
	}
	clusters, err := listClusters(ctx, reader)
	if err != nil {
		return servedHosts{}, err
	}
	drains, _ := routetable.Drains(clusters[member])
	var served servedHosts
	hosts := 0
	for i := range list.Items {
		eh := &list.Items[i]
		if !slices.Contains(servedBy(eh), member) {
			continue
		}
		if hosts++; drains && !routetable.HasUndrained(eh.Spec.Backends, clusters) {
			served.onlyTotal++
			served.only = append(served.only, eh.Spec.Host)
		}
	}
	slices.Sort(served.only)
	served.only = served.only[:min(len(served.only), keptHosts)]
	served.total = total(hosts)
	return served, nil
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

// recount enqueues the members of an ExposedHost if those that serve it change. It
// does so after countEvery, and the queue has a member once: many changes in that time
// cause one count for each member, not one for each change.
func recount() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	changed := func(q queue, was, is []string) {
		if slices.Equal(was, is) {
			return
		}
		for _, member := range slices.Concat(was, is) { // to one that stays, others may come and go
			q.AddAfter(requestFor(member), countEvery)
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
