package controllers

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
)

// otherWriter returns the field manager, other than usher, that wrote an ExposedHost's
// spec; "" if there is none. kubectl apply also leaves an annotation, even if it changed
// nothing.
func otherWriter(eh *v1alpha1.ExposedHost) string {
	if eh == nil {
		return ""
	}
	for _, entry := range eh.ManagedFields {
		if entry.Manager != v1alpha1.FieldManager && writesSpec(entry) {
			return entry.Manager
		}
	}
	if _, applied := eh.Annotations[corev1.LastAppliedConfigAnnotation]; applied {
		return "kubectl apply"
	}
	return ""
}

// writesSpec reports whether a writer owns spec, or a field of it.
func writesSpec(entry metav1.ManagedFieldsEntry) bool {
	if entry.Subresource != "" || entry.FieldsV1 == nil {
		return false
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields); err != nil {
		return true // not known: do not overwrite it
	}
	_, spec := fields["f:spec"]
	return spec
}

// otherWriters returns the entries that otherWriter reads.
func otherWriters(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	return slices.DeleteFunc(slices.Clone(entries), func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == v1alpha1.FieldManager || !writesSpec(entry)
	})
}
