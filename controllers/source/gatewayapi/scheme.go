package gatewayapi

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// The groups and versions of the kinds.
var (
	V1alpha2     = schema.GroupVersion{Group: gatewayv1.GroupName, Version: "v1alpha2"}
	V1alpha3     = schema.GroupVersion{Group: gatewayv1.GroupName, Version: "v1alpha3"}
	Experimental = schema.GroupVersion{Group: "gateway.networking.x-k8s.io", Version: "v1alpha1"}
)

// AddToScheme registers the kinds.
func AddToScheme(scheme *runtime.Scheme) error {
	for _, of := range []struct {
		kind         schema.GroupVersionKind
		object, list runtime.Object
	}{
		{V1alpha2.WithKind("TLSRoute"), &TLSRouteV1alpha2{}, &TLSRouteV1alpha2List{}},
		{V1alpha3.WithKind("TLSRoute"), &TLSRouteV1alpha3{}, &TLSRouteV1alpha3List{}},
		{Experimental.WithKind("XListenerSet"), &XListenerSet{}, &XListenerSetList{}},
	} {
		scheme.AddKnownTypeWithName(of.kind, of.object)
		scheme.AddKnownTypeWithName(of.kind.GroupVersion().WithKind(of.kind.Kind+"List"), of.list)
		metav1.AddToGroupVersion(scheme, of.kind.GroupVersion())
	}
	return nil
}
