package manifest

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"github.com/jovalle/usher/api/v1alpha1"
)

const (
	kindExposedHost   = "ExposedHost"
	kindMemberCluster = "MemberCluster"
)

// An object is an ExposedHost or a MemberCluster.
type object interface {
	metav1.Object
	runtime.Object
}

// A key names an object.
type key struct{ kind, name string }

func (k key) String() string { return k.kind + " " + k.name }

// objects are the content of a file, or of several.
type objects struct {
	hosts    []v1alpha1.ExposedHost
	clusters []v1alpha1.MemberCluster
}

func (o *objects) add(added object) {
	switch added := added.(type) {
	case *v1alpha1.ExposedHost:
		o.hosts = append(o.hosts, *added)
	case *v1alpha1.MemberCluster:
		o.clusters = append(o.clusters, *added)
	}
}

// keys yields the name of each object.
func (o *objects) keys(yield func(key) bool) {
	for i := range o.hosts {
		if !yield(key{kindExposedHost, o.hosts[i].Name}) {
			return
		}
	}
	for i := range o.clusters {
		if !yield(key{kindMemberCluster, o.clusters[i].Name}) {
			return
		}
	}
}

// A judge fills in an object's defaults and says what is wrong with it.
type judge func(ctx context.Context, kind string, content map[string]any) error

// trust is the judge of objects that were judged before.
func trust(context.Context, string, map[string]any) error { return nil }

// object reads a document, which is JSON. The key is what the document says of
// itself, for error messages too.
func (d document) object(ctx context.Context, judge judge) (object, key, error) {
	var content map[string]any
	strict, err := kjson.UnmarshalStrict(d.text, &content)
	if err = errors.Join(append(strict, err)...); err != nil {
		return nil, key{}, fmt.Errorf("%v: %w", d, err)
	}
	name := nameOf(content)
	typed, err := newObject(content)
	if err == nil {
		err = judge(ctx, name.kind, content)
	}
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(content, typed, true)
	}
	if err != nil {
		return nil, name, fmt.Errorf("%v (%v): %w", d, name, err)
	}
	return typed, name, nil
}

// nameOf reads what it can of the key of an object that may be anything.
func nameOf(content map[string]any) key {
	kind, _ := content["kind"].(string)
	metadata, _ := content["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	return key{kind, name}
}

// newObject returns an empty object of the content's kind.
func newObject(content map[string]any) (object, error) {
	if content["apiVersion"] == v1alpha1.GroupVersion.String() {
		switch content["kind"] {
		case kindExposedHost:
			return &v1alpha1.ExposedHost{}, nil
		case kindMemberCluster:
			return &v1alpha1.MemberCluster{}, nil
		}
	}
	return nil, fmt.Errorf("apiVersion %q, kind %q is not read here: keep only %s and %s of %s in these files",
		content["apiVersion"], content["kind"], kindExposedHost, kindMemberCluster, v1alpha1.GroupVersion)
}

// validate is the judge of what a person wrote.
func validate(ctx context.Context, kind string, content map[string]any) error {
	compiled := exposedHostRules
	if kind == kindMemberCluster {
		compiled = memberClusterRules
	}
	rules, err := compiled()
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range rules.apply(ctx, content) {
		errs = append(errs, errors.New(describe(e)))
	}
	return utilerrors.NewAggregate(errs)
}

// describe leaves out the field where the object as a whole is wrong.
func describe(e *field.Error) string {
	if e.Field == "" || e.Field == "<nil>" {
		return e.Detail
	}
	return e.Error()
}
