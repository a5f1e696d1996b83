package testbed

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// definitionKind is the kind of CustomResourceDefinitions.
var definitionKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// definition is a version of a CRD's spec in a cluster.
type definition struct {
	name       string
	uid        types.UID
	generation int64
}

// once calls install, and returns the error. Key names what install applies: it does nothing if it
// was applied before, only CRDs are in it, and none of them has changed since. Reading and applying
// large CRDs takes a second with the race detector, and most tests begin with it.
func (c *Cluster) once(ctx context.Context, key string, install func() ([]*unstructured.Unstructured, error)) error {
	c.mu.Lock()
	before := c.installed[key]
	c.mu.Unlock()
	if len(before) > 0 {
		now, err := c.definitions(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(before, func(d definition) bool { return !slices.Contains(now, d) }) {
			return nil
		}
	}
	objects, err := install()
	if err != nil || slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool { return o.GroupVersionKind() != definitionKind }) {
		return err
	}
	now, err := c.definitions(ctx)
	if err != nil {
		return err
	}
	now = slices.DeleteFunc(now, func(d definition) bool {
		return !slices.ContainsFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetName() == d.name })
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.installed[key] = now
	return nil
}

// definitions returns the CRDs of the cluster that are not being deleted.
func (c *Cluster) definitions(ctx context.Context) ([]definition, error) {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(definitionKind)
	if err := c.client.List(ctx, &list); err != nil {
		return nil, err
	}
	var all []definition
	for _, item := range list.Items {
		if item.DeletionTimestamp.IsZero() {
			all = append(all, definition{item.Name, item.UID, item.Generation})
		}
	}
	return all, nil
}
