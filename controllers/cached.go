package controllers

import (
	"maps"
	"unique"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
)

// cached prepares an object of the edge cluster for the cache. There may be tens of
// thousands, so that it saves memory: it drops the managed fields, except those of
// other writers of an ExposedHost's spec, and shares strings that many ExposedHosts have.
func cached(o any) (any, error) {
	object, ok := o.(client.Object)
	if !ok {
		return o, nil // a tombstone: its object was prepared before
	}
	eh, ok := object.(*v1alpha1.ExposedHost)
	if !ok {
		object.SetManagedFields(nil)
		return object, nil
	}
	eh.ManagedFields = otherWriters(eh.ManagedFields)
	share(eh)
	return object, nil
}

// managed are the labels of usher's own ExposedHosts. All cached objects share the map,
// which nothing changes.
var managed = map[string]string{v1alpha1.LabelManaged: "true"}

// share replaces strings of an ExposedHost by equal ones that other objects use.
func share(eh *v1alpha1.ExposedHost) {
	if eh.Spec.Host == eh.Name {
		eh.Spec.Host = eh.Name
	}
	if maps.Equal(eh.Labels, managed) {
		eh.Labels = managed
	}
	alike := []*string{&eh.Spec.Holder, (*string)(&eh.Spec.Strategy)}
	for i := range eh.Spec.Backends {
		alike = append(alike, &eh.Spec.Backends[i].Cluster, &eh.Spec.Backends[i].Gateway)
	}
	for i := range eh.Status.Conditions {
		c := &eh.Status.Conditions[i]
		alike = append(alike, &c.Type, &c.Reason, &c.Message)
	}
	for i := range eh.Status.Sources {
		s := &eh.Status.Sources[i]
		alike = append(alike, &s.Cluster, &s.Kind, &s.Namespace)
	}
	for i := range eh.Status.Backends {
		alike = append(alike, &eh.Status.Backends[i])
	}
	alike = append(alike, &eh.Status.Summary.Cluster, &eh.Status.Summary.Backend)
	for _, s := range alike {
		*s = unique.Make(*s).Value()
	}
}
