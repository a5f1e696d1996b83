package controllers

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
)

// listClusters returns all MemberClusters: name → cluster. They are shared with
// the cache: read only.
func listClusters(ctx context.Context, reader client.Reader) (map[string]*v1alpha1.MemberCluster, error) {
	var list v1alpha1.MemberClusterList
	if err := reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list MemberClusters: %w", err)
	}
	clusters := make(map[string]*v1alpha1.MemberCluster, len(list.Items))
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp.IsZero() {
			clusters[list.Items[i].Name] = &list.Items[i]
		}
	}
	return clusters, nil
}
