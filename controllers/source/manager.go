package source

import (
	"encoding/json"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/message"
)

// maxManager is the maximum length of a field manager's name, in bytes: that of
// ManagedFieldsEntry.Manager in Kubernetes.
const maxManager = 128

// Manager returns the name of the field manager that set the annotation of an object; "" if
// it is not known. Of several it is the one that wrote last. It is printable.
func Manager(object metav1.Object) string {
	var latest *metav1.ManagedFieldsEntry
	entries := object.GetManagedFields()
	for i := range entries {
		e := &entries[i]
		if setsAnnotation(e) && (latest == nil || latest.Time.Before(e.Time)) {
			latest = e
		}
	}
	if latest == nil || len(latest.Manager) > maxManager {
		return ""
	}
	return strings.Clone(message.Bound(latest.Manager)) // the entry may be a part of a large document
}

// setsAnnotation reports whether an entry has set the annotation that exposes an object.
func setsAnnotation(e *metav1.ManagedFieldsEntry) bool {
	if e.FieldsV1 == nil {
		return false
	}
	var fields struct {
		Metadata struct {
			Annotations map[string]json.RawMessage `json:"f:annotations"`
		} `json:"f:metadata"`
	}
	_ = json.Unmarshal(e.FieldsV1.GetRawBytes(), &fields) // otherwise it has set nothing
	_, sets := fields.Metadata.Annotations["f:"+v1alpha1.AnnotationExpose]
	return sets
}

// annotated are the fields of an entry that sets the annotation only.
var annotated = []byte(`{"f:metadata":{"f:annotations":{"f:` + v1alpha1.AnnotationExpose + `":{}}}}`)

// KeepManager removes all managed fields of an object, except who set its annotation.
func KeepManager(object metav1.Object) {
	manager := ""
	if Exposed(object.GetAnnotations()) {
		manager = Manager(object)
	}
	object.SetManagedFields(nil)
	if manager != "" {
		fields := &metav1.FieldsV1{}
		fields.SetRawBytes(annotated)
		object.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: manager, FieldsV1: fields}})
	}
}
