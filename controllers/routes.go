package controllers

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/jovalle/usher/api/v1alpha1"
)

// RouteReconciler feeds the routing table. It runs on every replica, leader or
// not, and reads nothing but ExposedHosts and MemberClusters. All events have
// one key, so that any number of them that come at once make one new table.
type RouteReconciler struct {
	Client client.Reader
	// Fill is called with all that the table is built from; they are shared with
	// the cache: read only.
	Fill func([]v1alpha1.ExposedHost, []v1alpha1.MemberCluster)

	rested time.Time // when the table may be filled again
}

// +kubebuilder:rbac:groups=usher.techn.is,resources=exposedhosts;memberclusters,verbs=get;list;watch,roleName=usher-proxy

// Reconcile reads everything anew. Then it rests for as long as that took, so that
// a burst of changes leaves time for those who make them.
func (r *RouteReconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	began := time.Now()
	if rest := r.rested.Sub(began); rest > 0 {
		return reconcile.Result{RequeueAfter: rest}, nil
	}
	var hosts v1alpha1.ExposedHostList
	if err := r.Client.List(ctx, &hosts, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, fmt.Errorf("list ExposedHosts: %w", err)
	}
	var clusters v1alpha1.MemberClusterList
	if err := r.Client.List(ctx, &clusters, client.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, fmt.Errorf("list MemberClusters: %w", err)
	}
	r.Fill(hosts.Items, clusters.Items)
	r.rested = time.Now().Add(time.Since(began))
	return reconcile.Result{}, nil
}
