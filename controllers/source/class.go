package source

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// classAnnotation named an object's ingress class before there was a field for it.
const classAnnotation = "kubernetes.io/ingress.class"

// classOf returns an object's ingress class: its field, or else the annotation,
// or else "".
func classOf(object metav1.Object, field *string) string {
	if field != nil {
		return *field
	}
	return object.GetAnnotations()[classAnnotation]
}
