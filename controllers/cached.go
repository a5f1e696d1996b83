package controllers

import (
	"maps"
	"unique"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
)

// cached prepares an object of the edge cluster for the cache; there may
// be tens of thousands: it drops who manages which field, but for who besides usher
// wrote an ExposedHost's spec, and keeps once what many ExposedHosts say alike.
func cached(o any) (any, error) {
	object, ok := o.(client.Object)
	if !ok {
		return o, nil // a tombstone, whose object was prepared before
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

// managed are the labels of usher's own ExposedHosts. Nobody edits what is in the cache.
var managed = map[string]string{v1alpha1.LabelManaged: "true"}

// share makes an ExposedHost refer to strings that others refer to as well.
func share(eh *v1alpha1.ExposedHost) {
	if eh.Spec.Host == eh.Name {
		eh.Spec.Host = eh.Name
	}
	if maps.Equal(eh.Labels, managed) {
		eh.Labels = managed
	}
	alike := []*string{&eh.Spec.Holder}
	for i := range eh.Spec.Backends {
		alike = append(alike, &eh.Spec.Backends[i].Cluster)
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
