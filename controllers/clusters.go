package controllers

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
)

// allClusters returns all MemberClusters, including those that are being deleted. They
// are shared with the cache and must not be changed.
func allClusters(ctx context.Context, reader client.Reader) ([]v1alpha1.MemberCluster, error) {
	var list v1alpha1.MemberClusterList
	if err := reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list MemberClusters: %w", err)
	}
	return list.Items, nil
}

// listClusters returns the MemberClusters that are not being deleted: name → cluster.
// They are shared with the cache and must not be changed.
func listClusters(ctx context.Context, reader client.Reader) (map[string]*v1alpha1.MemberCluster, error) {
	all, err := allClusters(ctx, reader)
	if err != nil {
		return nil, err
	}
	clusters := make(map[string]*v1alpha1.MemberCluster, len(all))
	for i := range all {
		if all[i].DeletionTimestamp.IsZero() {
			clusters[all[i].Name] = &all[i]
		}
	}
	return clusters, nil
}
