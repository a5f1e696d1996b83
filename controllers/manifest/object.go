package manifest

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/routetable"
)

const (
	kindExposedHost   = "ExposedHost"
	kindMemberCluster = "MemberCluster"
	kindNetworkList   = "NetworkList"
)

// An object is an ExposedHost, a MemberCluster or a NetworkList.
type object interface {
	metav1.Object
	runtime.Object
}

// A key identifies an object.
type key struct{ kind, name string }

func (k key) String() string { return k.kind + " " + k.name }

// objects are the content of one or more files.
type objects struct {
	hosts    []v1alpha1.ExposedHost
	clusters []v1alpha1.MemberCluster
	networks []v1alpha1.NetworkList

	hostAt, clusterAt, networkAt []position // of each in its file

	mistaken []string // spec.host of ExposedHosts with mistakes, which are not in hosts
}

func (o *objects) add(added object, at position) {
	switch added := added.(type) {
	case *v1alpha1.ExposedHost:
		o.hosts, o.hostAt = append(o.hosts, *added), append(o.hostAt, at)
	case *v1alpha1.MemberCluster:
		o.clusters, o.clusterAt = append(o.clusters, *added), append(o.clusterAt, at)
	case *v1alpha1.NetworkList:
		o.networks, o.networkAt = append(o.networks, *added), append(o.networkAt, at)
	}
}

// served returns the objects without their positions.
func (o *objects) served() routetable.Objects {
	return routetable.Objects{Hosts: o.hosts, Clusters: o.clusters, Networks: o.networks}
}

// keys yields the key of each object of a file, and its position.
func (o *objects) keys(yield func(key, position) bool) {
	for i := range o.hosts {
		if !yield(key{kindExposedHost, o.hosts[i].Name}, o.hostAt[i]) {
			return
		}
	}
	for i := range o.clusters {
		if !yield(key{kindMemberCluster, o.clusters[i].Name}, o.clusterAt[i]) {
			return
		}
	}
	for i := range o.networks {
		if !yield(key{kindNetworkList, o.networks[i].Name}, o.networkAt[i]) {
			return
		}
	}
}

// addTo adds the keys of all objects to owned. If one of them is owned already, it
// returns that key and adds none.
func (o *objects) addTo(owned map[key]bool) (k key, duplicate bool) {
	for k := range o.keys {
		if owned[k] {
			return k, true
		}
	}
	for k := range o.keys {
		owned[k] = true
	}
	return key{}, false
}

// A validator sets an object's defaults and returns its mistakes.
type validator func(ctx context.Context, kind string, content map[string]any) field.ErrorList

// noValidation accepts objects that were validated before.
func noValidation(context.Context, string, map[string]any) field.ErrorList { return nil }

// object decodes a document, which must be JSON. It returns the key of the document
// even if the document has mistakes.
func (d document) object(ctx context.Context, validate validator) (object, key, []mistake) {
	var content map[string]any
	strict, err := kjson.UnmarshalStrict(d.text, &content)
	if wrong := strictMistakes(d.position, strict, err); len(wrong) > 0 {
		return nil, key{}, wrong
	}
	name := nameOf(content)
	typed, wrong := newObject(content)
	if wrong != nil {
		return nil, name, []mistake{mistakeOf(d.position, wrong)}
	}
	var mistakes []mistake
	for _, e := range validate(ctx, name.kind, content) {
		mistakes = append(mistakes, mistakeOf(d.position, e))
	}
	if len(mistakes) > 0 {
		return nil, name, mistakes
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(content, typed, true); err != nil {
		return nil, name, d.undecoded(err)
	}
	return typed, name, nil
}

// nameOf returns the key of an object that is not validated yet: what is missing is empty.
func nameOf(content map[string]any) key {
	kind, _ := content["kind"].(string)
	metadata, _ := content["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	return key{kind, name}
}

// newObject returns an empty object of the content's kind.
func newObject(content map[string]any) (object, *field.Error) {
	var empty object
	switch content["kind"] {
	case kindExposedHost:
		empty = &v1alpha1.ExposedHost{}
	case kindMemberCluster:
		empty = &v1alpha1.MemberCluster{}
	case kindNetworkList:
		empty = &v1alpha1.NetworkList{}
	default:
		return nil, unsupported("kind", content, kindExposedHost, kindMemberCluster, kindNetworkList)
	}
	if content["apiVersion"] != v1alpha1.GroupVersion.String() {
		return nil, unsupported("apiVersion", content, v1alpha1.GroupVersion.String())
	}
	return empty, nil
}

// unsupported returns the error of a field that has none of the known values.
func unsupported(name string, content map[string]any, known ...string) *field.Error {
	path := field.NewPath(name)
	detail := fmt.Sprintf("is not read here: keep only %s, %s and %s of %s in these files.", kindExposedHost, kindMemberCluster, kindNetworkList, v1alpha1.GroupVersion)
	if content[name] == nil {
		return field.Required(path, detail)
	}
	value, _ := content[name].(string)
	return field.Invalid(path, content[name], detail+message.DidYouMean(value, known))
}

// validate is the validator of manifests.
func validate(ctx context.Context, kind string, content map[string]any) field.ErrorList {
	rules, err := rulesOf[kind]()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return append(rules.apply(ctx, content), checkDrain(kind, content)...)
}

// checkDrain returns the mistake of an annotation that drains a cluster, which the schema
// does not know.
func checkDrain(kind string, content map[string]any) field.ErrorList {
	metadata, _ := content["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	value, given := annotations[v1alpha1.AnnotationDrain]
	if kind != kindMemberCluster || !given || value == "true" || value == "false" {
		return nil
	}
	path := field.NewPath("metadata", "annotations").Key(v1alpha1.AnnotationDrain)
	return field.ErrorList{field.Invalid(path, value, "is neither \"true\" nor \"false\"")}
}
