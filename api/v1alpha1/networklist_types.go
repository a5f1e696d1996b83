package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// NetworkList is a named list of clients' networks. The allow-from annotation of a source
// and spec.allowFrom of an ExposedHost refer to it as @NAME, so that one change of the
// list changes the clients of all of these hosts.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=nl,categories=usher
// +kubebuilder:printcolumn:name=Networks,type=string,JSONPath=`.spec.networks`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')",message="metadata.name must be a DNS label: up to 63 lower-case letters, digits and hyphens"
type NetworkList struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec has the networks.
	Spec NetworkListSpec `json:"spec"`
}

// NetworkListList is a list of NetworkLists.
//
// +kubebuilder:object:root=true
type NetworkListList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NetworkList `json:"items"`
}

// NetworkListSpec has the networks of a list.
type NetworkListSpec struct {
	// Networks are the CIDRs of the clients, such as 192.168.0.0/16 or 2001:db8::/32. A
	// list cannot be empty: to refuse all clients, delete it.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="not a CIDR: write an address and a prefix length, such as 192.168.0.0/16"
	Networks []string `json:"networks"`
}
