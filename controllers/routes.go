package controllers

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/allowfrom"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/proxy/routing"
)

// everyHost is the key that rebuilds the whole table. No object can have this name.
const everyHost = "*"

// RouteReconciler updates the routing table for one ExposedHost at a time, so that the
// cost of a change does not depend on the number of hosts. It runs on every replica,
// leader or not, and reads only ExposedHosts, MemberClusters and NetworkLists.
type RouteReconciler struct {
	Client client.Reader
	// Table is replaced at each change. Only the reconciler may replace it.
	Table *routing.Live
	// Stored, if not nil, is called after the table was first built and after each change.
	Stored func()

	lists *networkLists

	built    bool            // the table has been built from all objects of the edge cluster
	networks allowfrom.Lists // the table was built with them
}

// SetupDataPlane registers the reconciler that updates the routing table. Every replica
// runs it.
func SetupDataPlane(mgr manager.Manager, reconciler *RouteReconciler) error {
	everything := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{requestFor(everyHost)}
	})
	reconciler.lists = newNetworkLists(mgr, "route", func(_ context.Context, queue hostQueue, _ string, _ listChange) {
		queue.Add(requestFor(everyHost))
	})
	everywhere := options()
	everywhere.NeedLeaderElection = new(bool)
	err := builder.ControllerManagedBy(mgr).Named("route").
		For(&v1alpha1.ExposedHost{}, builder.WithPredicates(routesOtherwise)).
		Watches(&v1alpha1.MemberCluster{}, everything, builder.WithPredicates(predicate.Funcs{UpdateFunc: servesOtherwise})).
		WatchesRawSource(reconciler.lists).
		WithOptions(everywhere).
		WatchesRawSource((&trigger{}).source(func() map[string][]string { return map[string][]string{"": {everyHost}} })). // an empty cluster makes an empty table
		Complete(reconciler)
	if err != nil {
		return fmt.Errorf("set up routes: %w", err)
	}
	return nil
}

// routesOtherwise passes the changes of ExposedHosts that affect the routing table, or the
// object that it names as the source of a host.
// Refused hosts are in the table too.
var routesOtherwise = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := acceptedOf(e.ObjectOld), acceptedOf(e.ObjectNew)
		return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
			before.Status != after.Status || before.Reason != after.Reason ||
			before.ObservedGeneration != after.ObservedGeneration || firstSource(e.ObjectOld) != firstSource(e.ObjectNew)
	},
}

// firstSource returns the first source of an ExposedHost; the zero value if it has none.
func firstSource(o client.Object) v1alpha1.SourceRef {
	if sources := o.(*v1alpha1.ExposedHost).Status.Sources; len(sources) > 0 {
		return sources[0]
	}
	return v1alpha1.SourceRef{}
}

// +kubebuilder:rbac:groups=usher.techn.is,resources=exposedhosts;memberclusters;networklists,verbs=get;list;watch,roleName=usher-proxy

// Reconcile updates the route of one host, or all routes. It must not run concurrently.
func (r *RouteReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	before := r.Table.Load()
	bring := r.build
	if r.built && req.Name != everyHost {
		bring = func(ctx context.Context) (*routing.Table, []error, error) { return r.follow(ctx, before, req.Name) }
	}
	after, problems, err := bring(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	for _, problem := range problems {
		log.FromContext(ctx).Error(problem, "Left a host out of the routing table")
	}
	r.built = true
	if after != before {
		r.Table.Store(after)
		if r.Stored != nil {
			r.Stored()
		}
	}
	return reconcile.Result{}, nil
}

// build returns a table of all objects of the edge cluster.
func (r *RouteReconciler) build(ctx context.Context) (*routing.Table, []error, error) {
	all, err := r.Served(ctx)
	if err != nil {
		return nil, nil, err
	}
	all.Before = r.Table.Load()
	table, problems := routetable.Build(all)
	r.networks, _ = allowfrom.Read(all.Networks) // Build returns its errors
	return table, problems, nil
}

// follow returns the table with the current route of one ExposedHost.
func (r *RouteReconciler) follow(ctx context.Context, table *routing.Table, name string) (*routing.Table, []error, error) {
	var eh v1alpha1.ExposedHost
	if err := r.Client.Get(ctx, client.ObjectKey{Name: name}, &eh, client.UnsafeDisableDeepCopy); err != nil {
		if client.IgnoreNotFound(err) != nil {
			return nil, nil, fmt.Errorf("get ExposedHost %s: %w", name, err)
		}
		return table.Without(v1alpha1.HostOfName(name)), nil, nil
	}
	clusters, err := allClusters(ctx, r.Client)
	if err != nil {
		return nil, nil, err
	}
	table, problem := routetable.Update(table, &eh, clusters, r.networks)
	if problem != nil {
		return table, []error{problem}, nil
	}
	return table, nil, nil
}

// Served returns all objects that the table is built from. They are shared with the cache
// and must not be changed.
func (r *RouteReconciler) Served(ctx context.Context) (routetable.Objects, error) {
	var hosts v1alpha1.ExposedHostList
	if err := r.Client.List(ctx, &hosts, client.UnsafeDisableDeepCopy); err != nil {
		return routetable.Objects{}, fmt.Errorf("list ExposedHosts: %w", err)
	}
	clusters, err := allClusters(ctx, r.Client)
	if err != nil {
		return routetable.Objects{}, err
	}
	lists, _, err := r.lists.read(ctx)
	return routetable.Objects{Hosts: hosts.Items, Clusters: clusters, Networks: lists}, err
}
