package gatewayapi

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// TLSRouteV1alpha2 is a TLSRoute as the experimental channel has it since 0.3.
//
// +kubebuilder:object:root=true
type TLSRouteV1alpha2 struct {
	gatewayv1.TLSRoute `json:",inline"`
}

// TLSRouteV1alpha2List is a list of TLSRoutes.
//
// +kubebuilder:object:root=true
type TLSRouteV1alpha2List struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TLSRouteV1alpha2 `json:"items"`
}

// TLSRouteV1alpha3 is a TLSRoute as the experimental channel has it since 1.4.
//
// +kubebuilder:object:root=true
type TLSRouteV1alpha3 struct {
	gatewayv1.TLSRoute `json:",inline"`
}

// TLSRouteV1alpha3List is a list of TLSRoutes.
//
// +kubebuilder:object:root=true
type TLSRouteV1alpha3List struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TLSRouteV1alpha3 `json:"items"`
}

// XListenerSet is the ListenerSet of the experimental channel of 1.3 and 1.4. Since 1.5
// it is the ListenerSet of version v1, in the group of the other kinds.
//
// +kubebuilder:object:root=true
type XListenerSet struct {
	gatewayv1.ListenerSet `json:",inline"`
}

// XListenerSetList is a list of XListenerSets.
//
// +kubebuilder:object:root=true
type XListenerSetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []XListenerSet `json:"items"`
}
