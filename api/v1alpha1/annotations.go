package v1alpha1

// Annotations that a source in a member cluster carries.
const (
	// AnnotationExpose publishes the object's hosts when its value is exactly
	// "true". Anything else, and its absence, is no.
	AnnotationExpose = "usher.techn.is/expose"

	// AnnotationHosts is a comma-separated list of hosts: publish only these. It
	// is needed where the object's rule does not name its hosts.
	AnnotationHosts = "usher.techn.is/hosts"

	// AnnotationPlainHTTP says what port 80 does for the object's hosts:
	// "redirect", "forward" or "deny".
	AnnotationPlainHTTP = "usher.techn.is/plain-http"

	// AnnotationAllowFrom is a comma-separated list of CIDRs: who may connect.
	AnnotationAllowFrom = "usher.techn.is/allow-from"

	// AnnotationWildcard says, with the value "all", that a wildcard of the object
	// publishes every name under it, those too that other objects of its cluster
	// name and that nobody annotated. Without it, those are refused.
	AnnotationWildcard = "usher.techn.is/wildcard"
)

// LabelManaged marks, with the value "true", the ExposedHosts that usher makes
// and owns. One without it is a person's, and usher never rewrites it.
const LabelManaged = "usher.techn.is/managed"

// FieldManager is the name under which usher writes ExposedHosts and reports Events.
const FieldManager = "usher"
