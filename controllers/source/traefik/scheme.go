package traefik

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The API groups that serve Traefik's kinds.
var (
	// GroupVersion is served since Traefik 2.10.
	GroupVersion = schema.GroupVersion{Group: "traefik.io", Version: "v1alpha1"}
	// ContainousGroupVersion was removed in Traefik 3.
	ContainousGroupVersion = schema.GroupVersion{Group: "traefik.containo.us", Version: "v1alpha1"}
)

// AddToScheme registers the kinds of both groups.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&IngressRoute{}, &IngressRouteList{},
		&IngressRouteTCP{}, &IngressRouteTCPList{},
	)
	for kind, object := range map[string]runtime.Object{
		"IngressRoute":        &ContainousIngressRoute{},
		"IngressRouteList":    &ContainousIngressRouteList{},
		"IngressRouteTCP":     &ContainousIngressRouteTCP{},
		"IngressRouteTCPList": &ContainousIngressRouteTCPList{},
	} {
		scheme.AddKnownTypeWithName(ContainousGroupVersion.WithKind(kind), object)
	}
	metav1.AddToGroupVersion(scheme, GroupVersion)
	metav1.AddToGroupVersion(scheme, ContainousGroupVersion)
	return nil
}
