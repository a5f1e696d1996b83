package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// fieldOwner is the field manager of applied objects.
	fieldOwner = client.FieldOwner("testbed")
	// kindTimeout bounds the wait for a CustomResourceDefinition or its kind.
	kindTimeout  = 30 * time.Second
	kindInterval = 50 * time.Millisecond
)

// Apply applies manifests by server-side apply, in order. They are any number of YAML or JSON
// documents. Objects may follow the CRD of their kind, in the same or the next manifests.
func (c *Cluster) Apply(ctx context.Context, manifests string) error {
	return c.once(ctx, manifests, func() ([]*unstructured.Unstructured, error) {
		objects, err := decode([]byte(manifests))
		if err != nil {
			return nil, err
		}
		return objects, c.applyAll(ctx, objects)
	})
}

// Delete deletes the objects that manifests name, and waits for none of them. It ignores an object
// that does not exist, or whose kind does not.
func (c *Cluster) Delete(ctx context.Context, manifests string) error {
	objects, err := decode([]byte(manifests))
	if err != nil {
		return err
	}
	for _, object := range objects {
		err := c.client.Delete(ctx, object)
		if client.IgnoreNotFound(err) != nil && !meta.IsNoMatchError(err) {
			return fmt.Errorf("deleting %s %s of cluster %s: %w", object.GetKind(), object.GetName(), c.name, err)
		}
	}
	return nil
}

// ApplyFiles applies manifest files. Each pattern is one of filepath.Glob, and must match a file.
func (c *Cluster) ApplyFiles(ctx context.Context, patterns ...string) error {
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			return fmt.Errorf("no file matches %s: %w", pattern, errors.Join(err, os.ErrNotExist))
		}
		for _, file := range files {
			manifests, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if err := c.Apply(ctx, string(manifests)); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

// decode reads all documents of a manifest, except for empty ones.
func decode(manifests []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096); ; {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading manifest %d: %w", len(objects)+1, err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// applyAll applies objects, and returns when the kinds of all CRDs among them are served.
func (c *Cluster) applyAll(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, apply := range []func(context.Context, *unstructured.Unstructured) error{c.apply, c.awaitEstablished} {
		for _, object := range objects {
			if err := apply(ctx, object); err != nil {
				return fmt.Errorf("applying %s %s to cluster %s: %w", object.GetKind(), object.GetName(), c.name, err)
			}
		}
	}
	return nil
}

// apply applies an object. It waits for the object's kind, whose CRD may be new.
func (c *Cluster) apply(ctx context.Context, object *unstructured.Unstructured) error {
	return poll(ctx, func(ctx context.Context) error {
		return c.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), fieldOwner, client.ForceOwnership)
	}, meta.IsNoMatchError)
}

// awaitEstablished waits for the kind of a CRD; for other objects it returns at once.
func (c *Cluster) awaitEstablished(ctx context.Context, object *unstructured.Unstructured) error {
	if object.GetKind() != "CustomResourceDefinition" {
		return nil
	}
	return poll(ctx, func(ctx context.Context) error { return c.established(ctx, object) }, isNotEstablished)
}

var errNotEstablished = errors.New("the CRD is not established")

func isNotEstablished(err error) bool { return errors.Is(err, errNotEstablished) }

// established returns nil if the API server serves the kind of a CRD.
func (c *Cluster) established(ctx context.Context, definition *unstructured.Unstructured) error {
	if err := c.client.Get(ctx, client.ObjectKeyFromObject(definition), definition); err != nil {
		return err
	}
	// The conditions of a new CRD are null, which is no slice.
	conditions, _, _ := unstructured.NestedSlice(definition.Object, "status", "conditions")
	for _, condition := range conditions {
		if c, ok := condition.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
			return nil
		}
	}
	return errNotEstablished
}

// poll repeats try while its error is temporary, for at most kindTimeout.
func poll(ctx context.Context, try func(context.Context) error, temporary func(error) bool) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, kindInterval, kindTimeout, true, func(ctx context.Context) (bool, error) {
		if last = try(ctx); temporary(last) {
			return false, nil
		}
		return true, last
	})
	if wait.Interrupted(err) && last != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return err
}
