package apiserver

import (
	"context"
	"fmt"
	"maps"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
)

// eventTTL is how long an Event is kept, as in Kubernetes.
const eventTTL = time.Hour

// A resource describes how one of the core kinds is stored.
type resource struct {
	group      schema.GroupResource
	singular   string
	short      []string
	namespaced bool
	new, list  func() runtime.Object
	prepare    func(object, old runtime.Object) // old is nil for a new object
	validate   func(object, old runtime.Object) field.ErrorList
	fields     func(object runtime.Object) fields.Set // by which it may be selected, besides its metadata
	ttl        time.Duration
	columns    []metav1.TableColumnDefinition // besides the name
	cells      func(object runtime.Object) []any
}

var (
	namespaces = resource{
		group: corev1.Resource("namespaces"), singular: "namespace", short: []string{"ns"},
		new: func() runtime.Object { return &corev1.Namespace{} }, list: func() runtime.Object { return &corev1.NamespaceList{} },
		prepare: prepareNamespace,
		columns: []metav1.TableColumnDefinition{{Name: "Status", Type: "string"}, ageColumn},
		cells: func(object runtime.Object) []any {
			n := object.(*corev1.Namespace)
			return []any{string(n.Status.Phase), age(n.CreationTimestamp.Time)}
		},
	}
	secrets = resource{
		group: corev1.Resource("secrets"), singular: "secret", namespaced: true,
		new: func() runtime.Object { return &corev1.Secret{} }, list: func() runtime.Object { return &corev1.SecretList{} },
		prepare: prepareSecret, validate: validateSecret,
		fields: func(object runtime.Object) fields.Set {
			return fields.Set{"type": string(object.(*corev1.Secret).Type)}
		},
		columns: []metav1.TableColumnDefinition{{Name: "Type", Type: "string"}, {Name: "Data", Type: "integer"}, ageColumn},
		cells: func(object runtime.Object) []any {
			s := object.(*corev1.Secret)
			return []any{string(s.Type), int64(len(s.Data)), age(s.CreationTimestamp.Time)}
		},
	}
	events = resource{
		group: corev1.Resource("events"), singular: "event", short: []string{"ev"}, namespaced: true, ttl: eventTTL,
		new: func() runtime.Object { return &corev1.Event{} }, list: func() runtime.Object { return &corev1.EventList{} },
		validate: validateEvent, fields: eventFields,
		columns: []metav1.TableColumnDefinition{{Name: "Last Seen", Type: "string"}, {Name: "Type", Type: "string"}, {Name: "Reason", Type: "string"}, {Name: "Object", Type: "string"}, {Name: "Message", Type: "string"}},
		cells: func(object runtime.Object) []any {
			e := object.(*corev1.Event)
			return []any{age(lastSeen(e)), e.Type, e.Reason, e.InvolvedObject.Kind + "/" + e.InvolvedObject.Name, e.Message}
		},
	}
	leases = resource{
		group: coordinationv1.Resource("leases"), singular: "lease", namespaced: true,
		new: func() runtime.Object { return &coordinationv1.Lease{} }, list: func() runtime.Object { return &coordinationv1.LeaseList{} },
		columns: []metav1.TableColumnDefinition{{Name: "Holder", Type: "string"}, ageColumn},
		cells: func(object runtime.Object) []any {
			l := object.(*coordinationv1.Lease)
			holder := ""
			if l.Spec.HolderIdentity != nil {
				holder = *l.Spec.HolderIdentity
			}
			return []any{holder, age(l.CreationTimestamp.Time)}
		},
	}
)

// store returns the storage of a resource.
func (r resource) store(options generic.RESTOptionsGetter) (*store, error) {
	strategy := strategy{kinds, names.SimpleNameGenerator, r}
	s := &registry.Store{
		NewFunc: r.new, NewListFunc: r.list,
		PredicateFunc: func(l labels.Selector, f fields.Selector) storage.SelectionPredicate {
			return storage.SelectionPredicate{Label: l, Field: f, GetAttrs: r.attributes}
		},
		DefaultQualifiedResource: r.group, SingularQualifiedResource: schema.GroupResource{Group: r.group.Group, Resource: r.singular},
		CreateStrategy: strategy, UpdateStrategy: strategy, DeleteStrategy: strategy,
		TableConvertor: r,
	}
	if r.ttl > 0 {
		s.TTLFunc = func(runtime.Object, uint64, bool) (uint64, error) { return uint64(r.ttl.Seconds()), nil }
	}
	if err := s.CompleteWithOptions(&generic.StoreOptions{RESTOptions: options, AttrFunc: r.attributes}); err != nil {
		return nil, fmt.Errorf("store %s: %w", r.group, err)
	}
	return &store{s, r.short}, nil
}

// attributes returns the labels and fields by which an object may be selected.
func (r resource) attributes(object runtime.Object) (labels.Set, fields.Set, error) {
	o, err := meta.Accessor(object)
	if err != nil {
		return nil, nil, err
	}
	set := fields.Set{"metadata.name": o.GetName()}
	if r.namespaced {
		set["metadata.namespace"] = o.GetNamespace()
	}
	if r.fields != nil {
		maps.Copy(set, r.fields(object))
	}
	return o.GetLabels(), set, nil
}

// store is a registry's store with short names.
type store struct {
	*registry.Store
	short []string
}

// ShortNames implements rest.ShortNamesProvider.
func (s *store) ShortNames() []string { return s.short }

// kept is a store whose objects are not deleted: nothing would delete what is in a Namespace.
type kept struct{ all *store }

// New implements rest.Storage.
func (k kept) New() runtime.Object { return k.all.New() }

// Destroy implements rest.Storage.
func (k kept) Destroy() { k.all.Destroy() }

// NewList implements rest.Lister.
func (k kept) NewList() runtime.Object { return k.all.NewList() }

// NamespaceScoped implements rest.Scoper.
func (k kept) NamespaceScoped() bool { return k.all.NamespaceScoped() }

// GetSingularName implements rest.SingularNameProvider.
func (k kept) GetSingularName() string { return k.all.GetSingularName() }

// ShortNames implements rest.ShortNamesProvider.
func (k kept) ShortNames() []string { return k.all.ShortNames() }

// ConvertToTable implements rest.TableConvertor.
func (k kept) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	return k.all.ConvertToTable(ctx, object, options)
}

// Get implements rest.Getter.
func (k kept) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return k.all.Get(ctx, name, o)
}

// List implements rest.Lister.
func (k kept) List(ctx context.Context, o *internalversion.ListOptions) (runtime.Object, error) {
	return k.all.List(ctx, o)
}

// Watch implements rest.Watcher.
func (k kept) Watch(ctx context.Context, o *internalversion.ListOptions) (watch.Interface, error) {
	return k.all.Watch(ctx, o)
}

// Create implements an interface of package rest.
func (k kept) Create(ctx context.Context, object runtime.Object, check rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	return k.all.Create(ctx, object, check, o)
}

// Update implements rest.Updater.
func (k kept) Update(ctx context.Context, name string, object rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, force bool, o *metav1.UpdateOptions) (runtime.Object, bool, error) {
	return k.all.Update(ctx, name, object, create, update, force, o)
}

// A strategy says how objects are created and changed.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	resource
}

// NamespaceScoped implements the strategies of rest.
func (s strategy) NamespaceScoped() bool { return s.namespaced }

// PrepareForCreate implements rest.RESTCreateStrategy.
func (s strategy) PrepareForCreate(_ context.Context, object runtime.Object) {
	if s.prepare != nil {
		s.prepare(object, nil)
	}
}

// PrepareForUpdate implements rest.RESTUpdateStrategy.
func (s strategy) PrepareForUpdate(_ context.Context, object, old runtime.Object) {
	if s.prepare != nil {
		s.prepare(object, old)
	}
}

// Validate implements rest.RESTCreateStrategy.
func (s strategy) Validate(_ context.Context, object runtime.Object) field.ErrorList {
	return s.check(object, nil)
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s strategy) ValidateUpdate(_ context.Context, object, old runtime.Object) field.ErrorList {
	return s.check(object, old)
}

// check validates the metadata and what the resource says.
func (s strategy) check(object, old runtime.Object) field.ErrorList {
	o, err := meta.Accessor(object)
	if err != nil {
		return field.ErrorList{field.InternalError(field.NewPath("metadata"), err)}
	}
	name := validation.NameIsDNSSubdomain
	if s.group == namespaces.group {
		name = validation.NameIsDNSLabel
	}
	errs := validation.ValidateObjectMetaAccessor(o, s.namespaced, name, field.NewPath("metadata"))
	if old != nil {
		previous, err := meta.Accessor(old)
		if err != nil {
			return field.ErrorList{field.InternalError(field.NewPath("metadata"), err)}
		}
		errs = append(errs, validation.ValidateObjectMetaAccessorUpdate(o, previous, field.NewPath("metadata"))...)
	}
	if s.validate != nil {
		errs = append(errs, s.validate(object, old)...)
	}
	return errs
}

// Canonicalize implements the strategies of rest.
func (strategy) Canonicalize(runtime.Object) {}

// AllowCreateOnUpdate implements rest.RESTUpdateStrategy: a Lease and an Event may be put.
func (s strategy) AllowCreateOnUpdate(context.Context) bool {
	return s.group == leases.group || s.group == events.group
}

// AllowUnconditionalUpdate implements rest.RESTUpdateStrategy.
func (s strategy) AllowUnconditionalUpdate(context.Context) bool { return s.group != leases.group }

// WarningsOnCreate implements rest.RESTCreateStrategy.
func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string { return nil }

// WarningsOnUpdate implements rest.RESTUpdateStrategy.
func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func prepareNamespace(object, _ runtime.Object) {
	n := object.(*corev1.Namespace)
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
	n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
}

func prepareSecret(object, old runtime.Object) {
	s := object.(*corev1.Secret)
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for key, value := range s.StringData {
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
		if old != nil {
			s.Type = old.(*corev1.Secret).Type
		}
	}
}

func validateSecret(object, old runtime.Object) field.ErrorList {
	s := object.(*corev1.Secret)
	var errs field.ErrorList
	size := 0
	for key, value := range s.Data {
		for _, message := range utilvalidation.IsConfigMapKey(key) {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(key), key, message))
		}
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(field.NewPath("data"), "", corev1.MaxSecretSize))
	}
	if old == nil {
		return errs
	}
	before := old.(*corev1.Secret)
	errs = append(errs, validation.ValidateImmutableField(s.Type, before.Type, field.NewPath("type"))...)
	if before.Immutable != nil && *before.Immutable && (s.Immutable == nil || !*s.Immutable || !equality.Semantic.DeepEqual(s.Data, before.Data)) {
		errs = append(errs, field.Forbidden(field.NewPath("data"), "the Secret is immutable"))
	}
	return errs
}

// validateEvent requires the namespace of the object that it is about, as Kubernetes does.
func validateEvent(object, _ runtime.Object) field.ErrorList {
	e := object.(*corev1.Event)
	if about := e.InvolvedObject.Namespace; about != e.Namespace && (about != "" || e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem) {
		return field.ErrorList{field.Invalid(field.NewPath("involvedObject", "namespace"), about, "is not the namespace of the Event")}
	}
	return nil
}

func eventFields(object runtime.Object) fields.Set {
	e := object.(*corev1.Event)
	controller := e.ReportingController
	if controller == "" {
		controller = e.Source.Component
	}
	return fields.Set{
		"involvedObject.kind": e.InvolvedObject.Kind, "involvedObject.namespace": e.InvolvedObject.Namespace, "involvedObject.name": e.InvolvedObject.Name,
		"involvedObject.uid": string(e.InvolvedObject.UID), "involvedObject.apiVersion": e.InvolvedObject.APIVersion,
		"reason": e.Reason, "type": e.Type, "reportingComponent": controller,
	}
}

// lastSeen returns when an Event happened last.
func lastSeen(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}
