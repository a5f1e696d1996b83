package controllers

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/proxy/routing"
)

// RouteReconciler feeds the routing table. It runs on every replica, leader or
// not, and reads nothing but ExposedHosts and MemberClusters. All events have
// one key, so that any number of them that come at once make one new table.
type RouteReconciler struct {
	Client client.Reader
	Table  *routing.Live
	// Stored, if set, is called with what each new table was built from.
	Stored func([]v1alpha1.ExposedHost, []v1alpha1.MemberCluster)
}

// +kubebuilder:rbac:groups=usher.techn.is,resources=exposedhosts;memberclusters,verbs=get;list;watch,roleName=usher-proxy

// Reconcile builds the table anew and swaps it in.
func (r *RouteReconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var hosts v1alpha1.ExposedHostList
	if err := r.Client.List(ctx, &hosts, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, fmt.Errorf("list ExposedHosts: %w", err)
	}
	var clusters v1alpha1.MemberClusterList
	if err := r.Client.List(ctx, &clusters, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, fmt.Errorf("list MemberClusters: %w", err)
	}
	table, problems := routetable.Build(hosts.Items, clusters.Items)
	for _, problem := range problems {
		log.FromContext(ctx).Error(problem, "Left a host out of the routing table")
	}
	r.Table.Store(table)
	log.FromContext(ctx).V(1).Info("Stored a new routing table", "hosts", table.Len())
	if r.Stored != nil {
		r.Stored(hosts.Items, clusters.Items)
	}
	return reconcile.Result{}, nil
}
