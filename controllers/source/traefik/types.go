package traefik

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// IngressRoute is a Traefik HTTP router.
//
// +kubebuilder:object:root=true
type IngressRoute struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec IngressRouteSpec `json:"spec"`
}

// IngressRouteSpec is the part of an IngressRoute that usher reads.
type IngressRouteSpec struct {
	// IngressClassName is read by Traefik since 3.7; before, only the annotation
	// kubernetes.io/ingress.class was.
	IngressClassName *string `json:"ingressClassName,omitempty"`
	// Routes each have a rule.
	Routes []Route `json:"routes,omitempty"`
	// ParentRefs are IngressRoutes whose rules a request must match first.
	ParentRefs []IngressRouteRef `json:"parentRefs,omitempty"`
	// EntryPoints are those that serve the routes; empty for Traefik's default ones.
	EntryPoints []string `json:"entryPoints,omitempty"`
	// TLS is set if the object has TLS settings of its own.
	TLS *TLS `json:"tls,omitempty"`
}

// TLS is the part of an IngressRoute's TLS section that usher reads.
type TLS struct {
	// Options are the TLS options of the routes; nil for Traefik's default ones.
	Options *TLSOptionRef `json:"options,omitempty"`
}

// TLSOptionRef names a TLSOption.
type TLSOptionRef struct {
	// Name of the TLSOption, or NAME@PROVIDER.
	Name string `json:"name"`
	// Namespace of the TLSOption; empty for that of the object that refers.
	Namespace string `json:"namespace,omitempty"`
}

// Route is one rule of an IngressRoute.
type Route struct {
	// Match is the rule.
	Match string `json:"match,omitempty"`
	// Kind is "Rule" or empty, which means the same.
	Kind string `json:"kind,omitempty"`
	// Syntax is the grammar of Match: "v2", "v3", or empty for Traefik's default.
	Syntax string `json:"syntax,omitempty"`
}

// IngressRouteRef names another IngressRoute.
type IngressRouteRef struct {
	// Name of the IngressRoute.
	Name string `json:"name"`
	// Namespace of the IngressRoute; empty for that of the object that refers.
	Namespace string `json:"namespace,omitempty"`
}

// IngressRouteTCP is a Traefik TCP router.
//
// +kubebuilder:object:root=true
type IngressRouteTCP struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec IngressRouteTCPSpec `json:"spec"`
}

// IngressRouteTCPSpec is the part of an IngressRouteTCP that usher reads.
type IngressRouteTCPSpec struct {
	// IngressClassName is read by Traefik since 3.7; before, only the annotation
	// kubernetes.io/ingress.class was.
	IngressClassName *string `json:"ingressClassName,omitempty"`
	// Routes each have a rule.
	Routes []RouteTCP `json:"routes,omitempty"`
	// TLS is set if the router takes TLS connections. Without it there is no SNI.
	TLS *TLSTCP `json:"tls,omitempty"`
	// EntryPoints are those that serve the routes; empty for Traefik's default ones.
	EntryPoints []string `json:"entryPoints,omitempty"`
}

// RouteTCP is one rule of an IngressRouteTCP.
type RouteTCP struct {
	// Match is the rule.
	Match string `json:"match,omitempty"`
	// Syntax is the grammar of Match: "v2", "v3", or empty for Traefik's default.
	Syntax string `json:"syntax,omitempty"`
}

// TLSTCP says how a TCP router takes TLS connections.
type TLSTCP struct {
	// Passthrough leaves TLS to the service.
	Passthrough bool `json:"passthrough,omitempty"`
	// Options are the TLS options of the routes; nil for Traefik's default ones.
	Options *TLSOptionRef `json:"options,omitempty"`
}

// IngressRouteList is a list of IngressRoutes.
//
// +kubebuilder:object:root=true
type IngressRouteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []IngressRoute `json:"items"`
}

// IngressRouteTCPList is a list of IngressRouteTCPs.
//
// +kubebuilder:object:root=true
type IngressRouteTCPList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []IngressRouteTCP `json:"items"`
}
