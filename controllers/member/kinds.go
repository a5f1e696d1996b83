package member

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// kind is a kind of object that a session watches: a source, or a kind that sources
// refer to.
type kind struct {
	gvk    schema.GroupVersionKind
	scope  meta.RESTScope
	object client.Object
	// claims returns the claims of an object. It is nil for a kind that is not a source.
	claims func(client.Object, source.Context) source.Result
	// names and tls return the hosts that an object names, and its TLS options. They
	// are nil if claims is.
	names func(client.Object) source.Names
	tls   func(client.Object, source.Context) source.TLSMark
}

// gatewayGroup is the Gateway API's group and version.
var gatewayGroup = schema.GroupVersion(gatewayv1.GroupVersion)

// sources are the kinds whose objects claim hosts.
var sources = []kind{
	sourceKind(networkingv1.SchemeGroupVersion.WithKind(source.KindIngress), &networkingv1.Ingress{}, source.FromIngress, source.NamesOfIngress, source.TLSOfIngress),
	sourceKind(traefik.GroupVersion.WithKind(source.KindIngressRoute), &traefik.IngressRoute{}, source.FromIngressRoute, source.NamesOfIngressRoute, source.TLSOfIngressRoute),
	sourceKind(traefik.GroupVersion.WithKind(source.KindIngressRouteTCP), &traefik.IngressRouteTCP{}, source.FromIngressRouteTCP, source.NamesOfIngressRouteTCP, source.TLSOfIngressRouteTCP),
	sourceKind(traefik.ContainousGroupVersion.WithKind(source.KindIngressRoute), &traefik.ContainousIngressRoute{},
		func(o *traefik.ContainousIngressRoute, in source.Context) source.Result {
			return source.FromIngressRoute(&o.IngressRoute, in)
		},
		func(o *traefik.ContainousIngressRoute) source.Names {
			return source.NamesOfIngressRoute(&o.IngressRoute)
		},
		func(o *traefik.ContainousIngressRoute, in source.Context) source.TLSMark {
			return source.TLSOfIngressRoute(&o.IngressRoute, in)
		}),
	sourceKind(traefik.ContainousGroupVersion.WithKind(source.KindIngressRouteTCP), &traefik.ContainousIngressRouteTCP{},
		func(o *traefik.ContainousIngressRouteTCP, in source.Context) source.Result {
			return source.FromIngressRouteTCP(&o.IngressRouteTCP, in)
		},
		func(o *traefik.ContainousIngressRouteTCP) source.Names {
			return source.NamesOfIngressRouteTCP(&o.IngressRouteTCP)
		},
		func(o *traefik.ContainousIngressRouteTCP, in source.Context) source.TLSMark {
			return source.TLSOfIngressRouteTCP(&o.IngressRouteTCP, in)
		}),
	sourceKind(gatewayGroup.WithKind(source.KindHTTPRoute), &gatewayv1.HTTPRoute{}, source.FromHTTPRoute, source.NamesOfHTTPRoute, source.TLSOfHTTPRoute),
	sourceKind(gatewayGroup.WithKind(source.KindTLSRoute), &gatewayv1.TLSRoute{}, source.FromTLSRoute, source.NamesOfTLSRoute, source.TLSOfTLSRoute),
}

// ingressRouteKind is the kind of source that other IngressRoutes may name as parent.
var ingressRouteKind, _ = kindOf(traefik.GroupVersion.WithKind(source.KindIngressRoute))

// kindOf returns a kind of source; false if gvk is not one.
func kindOf(gvk schema.GroupVersionKind) (kind, bool) {
	i := kindIndex(gvk)
	if i < 0 {
		return kind{}, false
	}
	return sources[i], true
}

// kindIndex returns the index of a kind in sources; -1 if it is not a source.
func kindIndex(gvk schema.GroupVersionKind) int {
	return slices.IndexFunc(sources, func(k kind) bool { return k.gvk == gvk })
}

// The kinds that sources refer to, and Service, which has a member's ingress addresses.
var (
	ingressClassKind = kind{gvk: networkingv1.SchemeGroupVersion.WithKind("IngressClass"), scope: meta.RESTScopeRoot, object: &networkingv1.IngressClass{}}
	gatewayKind      = kind{gvk: gatewayGroup.WithKind("Gateway"), scope: meta.RESTScopeNamespace, object: &gatewayv1.Gateway{}}
	namespaceKind    = kind{gvk: corev1.SchemeGroupVersion.WithKind("Namespace"), scope: meta.RESTScopeRoot, object: &corev1.Namespace{}}
	serviceKind      = kind{gvk: corev1.SchemeGroupVersion.WithKind("Service"), scope: meta.RESTScopeNamespace, object: &corev1.Service{}}
)

// The role usher-member allows to watch. The credentials of a member have no other role.
//
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingresses;ingressclasses,verbs=get;list;watch,roleName=usher-member
// +kubebuilder:rbac:groups=traefik.io;traefik.containo.us,resources=ingressroutes;ingressroutetcps,verbs=get;list;watch,roleName=usher-member
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=httproutes;tlsroutes;gateways,verbs=get;list;watch,roleName=usher-member
// +kubebuilder:rbac:groups="",resources=namespaces;services,verbs=get;list;watch,roleName=usher-member

// kinds are all kinds that a session may watch.
var kinds = append(slices.Clip(sources), ingressClassKind, gatewayKind, namespaceKind, serviceKind)

// sourceKind describes a namespaced kind whose objects claim hosts.
func sourceKind[T client.Object](gvk schema.GroupVersionKind, object T, claims func(T, source.Context) source.Result, names func(T) source.Names, tls func(T, source.Context) source.TLSMark) kind {
	return kind{gvk: gvk, scope: meta.RESTScopeNamespace, object: object,
		claims: func(o client.Object, in source.Context) source.Result { return claims(o.(T), in) },
		names: func(o client.Object) source.Names {
			if source.Solver(o) {
				return source.Names{}
			}
			return names(o.(T))
		},
		tls: func(o client.Object, in source.Context) source.TLSMark { return tls(o.(T), in) }}
}

// scheme has the types of all kinds.
var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, networkingv1.AddToScheme, traefik.AddToScheme, gatewayv1.Install} {
		if err := add(s); err != nil {
			panic(err) // two types under one name: a mistake in this file
		}
	}
	return s
}()

// mapper maps every kind without discovery: a cluster may serve only some of them.
var mapper = func() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	for _, k := range kinds {
		m.Add(k.gvk, k.scope)
	}
	// Add would guess "gatewaies" as the plural of Gateway.
	gateway := gatewayKind.gvk.GroupVersion()
	m.AddSpecific(gatewayKind.gvk, gateway.WithResource("gateways"), gateway.WithResource("gateway"), gatewayKind.scope)
	return m
}()
