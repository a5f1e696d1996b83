package traefik

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ContainousIngressRoute is an IngressRoute of the group traefik.containo.us.
//
// +kubebuilder:object:root=true
type ContainousIngressRoute struct {
	IngressRoute `json:",inline"`
}

// ContainousIngressRouteTCP is an IngressRouteTCP of the group traefik.containo.us.
//
// +kubebuilder:object:root=true
type ContainousIngressRouteTCP struct {
	IngressRouteTCP `json:",inline"`
}

// ContainousIngressRouteList is a list of ContainousIngressRoutes.
//
// +kubebuilder:object:root=true
type ContainousIngressRouteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ContainousIngressRoute `json:"items"`
}

// ContainousIngressRouteTCPList is a list of ContainousIngressRouteTCPs.
//
// +kubebuilder:object:root=true
type ContainousIngressRouteTCPList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ContainousIngressRouteTCP `json:"items"`
}
