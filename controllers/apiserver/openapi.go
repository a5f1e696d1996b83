package apiserver

import (
	"maps"
	"reflect"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	generated "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// definitions returns the schemas of all kinds, for kubectl explain and for server-side
// apply. Kubernetes' generated schemas of the core kinds are in no module that can be
// imported, so they are read from the Go types: their tags, and their documentation.
func definitions(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	all := maps.Clone(generated.GetOpenAPIDefinitions(ref))
	for _, kind := range []any{
		corev1.Namespace{}, corev1.NamespaceList{}, corev1.Secret{}, corev1.SecretList{}, corev1.Event{}, corev1.EventList{},
		eventsv1.Event{}, eventsv1.EventList{}, coordinationv1.Lease{}, coordinationv1.LeaseList{},
	} {
		define(reflect.TypeOf(kind), ref, all)
	}
	return all
}

// named is a type that has a schema of its own.
type named interface{ OpenAPIModelName() string }

// define adds the schemas of a struct and of those that it refers to.
func define(t reflect.Type, ref common.ReferenceCallback, all map[string]common.OpenAPIDefinition) {
	name := reflect.Zero(t).Interface().(named).OpenAPIModelName()
	if _, known := all[name]; known {
		return
	}
	texts := map[string]string{}
	if documented, ok := reflect.TypeAssert[interface{ SwaggerDoc() map[string]string }](reflect.Zero(t)); ok {
		texts = documented.SwaggerDoc()
	}
	schema := spec.Schema{SchemaProps: spec.SchemaProps{Description: texts[""], Type: []string{"object"}, Properties: map[string]spec.Schema{}}}
	all[name] = common.OpenAPIDefinition{} // ends the recursion
	d := definer{ref: ref, all: all}
	d.fields(t, texts, &schema)
	all[name] = common.OpenAPIDefinition{Schema: schema, Dependencies: d.dependencies}
}

type definer struct {
	ref          common.ReferenceCallback
	all          map[string]common.OpenAPIDefinition
	dependencies []string
}

// fields adds the properties of a struct to its schema.
func (d *definer) fields(t reflect.Type, texts map[string]string, schema *spec.Schema) {
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" && field.Anonymous {
			d.fields(field.Type, metaTexts(field.Type), schema)
			continue
		}
		property := d.schema(field.Type)
		property.Description = texts[name]
		if strategy := field.Tag.Get("patchStrategy"); strategy != "" {
			property.AddExtension("x-kubernetes-patch-strategy", strategy)
		}
		if key := field.Tag.Get("patchMergeKey"); key != "" {
			property.AddExtension("x-kubernetes-patch-merge-key", key)
			property.AddExtension("x-kubernetes-list-type", "map")
			property.AddExtension("x-kubernetes-list-map-keys", []any{key})
		}
		schema.Properties[name] = property
		if name == "items" {
			schema.Required = append(schema.Required, name)
		}
	}
}

// metaTexts returns the documentation of an embedded struct.
func metaTexts(t reflect.Type) map[string]string {
	if documented, ok := reflect.TypeAssert[interface{ SwaggerDoc() map[string]string }](reflect.Zero(t)); ok {
		return documented.SwaggerDoc()
	}
	return nil
}

// schema returns the schema of a field's type.
func (d *definer) schema(t reflect.Type) spec.Schema {
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.Struct:
		define(t, d.ref, d.all)
		name := reflect.Zero(t).Interface().(named).OpenAPIModelName()
		d.dependencies = append(d.dependencies, name)
		return spec.Schema{SchemaProps: spec.SchemaProps{Default: map[string]any{}, AllOf: []spec.Schema{{SchemaProps: spec.SchemaProps{Ref: d.ref(name)}}}}}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return *spec.StrFmtProperty("byte")
		}
		element := d.schema(t.Elem())
		return *spec.ArrayProperty(&element)
	case reflect.Map:
		element := d.schema(t.Elem())
		return *spec.MapProperty(&element)
	case reflect.Bool:
		return *spec.BoolProperty()
	case reflect.Int32:
		return *spec.Int32Property()
	case reflect.Int64:
		return *spec.Int64Property()
	}
	return *spec.StringProperty()
}
