package controllers

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
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

func toUnstructured(o any) (map[string]any, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("convert %T: %w", o, err)
	}
	return fields, nil
}

func fromUnstructured(u *unstructured.Unstructured) (*v1alpha1.ExposedHost, error) {
	var eh v1alpha1.ExposedHost
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &eh); err != nil {
		return nil, fmt.Errorf("convert ExposedHost %s: %w", u.GetName(), err)
	}
	return &eh, nil
}
