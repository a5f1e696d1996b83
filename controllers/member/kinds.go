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

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/gatewayapi"
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
	// polled means that the objects come from Traefik's API and not from Kubernetes.
	polled bool
	// added means that accounts of earlier versions of usher may not read the kind: a
	// member is in sync without it as long as access to it is denied.
	added bool
}

// gatewayGroup is the Gateway API's group and version.
var gatewayGroup = schema.GroupVersion(gatewayv1.GroupVersion)

// sources are the kinds whose objects claim hosts.
var sources = []kind{
	sourceKind(networkingv1.SchemeGroupVersion.WithKind(source.KindIngress), &networkingv1.Ingress{}, source.FromIngress, source.NamesOfIngress, source.TLSOfIngress),
	sourceKind(traefik.GroupVersion.WithKind(source.KindIngressRoute), &traefik.IngressRoute{}, source.FromIngressRoute, source.NamesOfIngressRoute, source.TLSOfIngressRoute),
	sourceKind(traefik.GroupVersion.WithKind(source.KindIngressRouteTCP), &traefik.IngressRouteTCP{}, source.FromIngressRouteTCP, source.NamesOfIngressRouteTCP, source.TLSOfIngressRouteTCP),
	embedding(traefik.ContainousGroupVersion.WithKind(source.KindIngressRoute), &traefik.ContainousIngressRoute{},
		func(o *traefik.ContainousIngressRoute) *traefik.IngressRoute { return &o.IngressRoute },
		source.FromIngressRoute, source.NamesOfIngressRoute, source.TLSOfIngressRoute),
	embedding(traefik.ContainousGroupVersion.WithKind(source.KindIngressRouteTCP), &traefik.ContainousIngressRouteTCP{},
		func(o *traefik.ContainousIngressRouteTCP) *traefik.IngressRouteTCP { return &o.IngressRouteTCP },
		source.FromIngressRouteTCP, source.NamesOfIngressRouteTCP, source.TLSOfIngressRouteTCP),
	sourceKind(gatewayGroup.WithKind(source.KindHTTPRoute), &gatewayv1.HTTPRoute{}, source.FromHTTPRoute, source.NamesOfHTTPRoute, source.TLSOfHTTPRoute),
	added(sourceKind(gatewayGroup.WithKind(source.KindGRPCRoute), &gatewayv1.GRPCRoute{}, source.FromGRPCRoute, source.NamesOfGRPCRoute, source.TLSOfGRPCRoute)),
	// The versions of one kind, the one to read first.
	sourceKind(gatewayGroup.WithKind(source.KindTLSRoute), &gatewayv1.TLSRoute{}, source.FromTLSRoute, source.NamesOfTLSRoute, source.TLSOfTLSRoute),
	embedding(gatewayapi.V1alpha3.WithKind(source.KindTLSRoute), &gatewayapi.TLSRouteV1alpha3{},
		func(o *gatewayapi.TLSRouteV1alpha3) *gatewayv1.TLSRoute { return &o.TLSRoute },
		source.FromTLSRoute, source.NamesOfTLSRoute, source.TLSOfTLSRoute),
	embedding(gatewayapi.V1alpha2.WithKind(source.KindTLSRoute), &gatewayapi.TLSRouteV1alpha2{},
		func(o *gatewayapi.TLSRouteV1alpha2) *gatewayv1.TLSRoute { return &o.TLSRoute },
		source.FromTLSRoute, source.NamesOfTLSRoute, source.TLSOfTLSRoute),
	polled(sourceKind(routerKind, &traefik.Router{}, source.FromRouter, source.NamesOfRouter, source.TLSOfRouter)),
	polled(sourceKind(routerTCPKind, &traefik.RouterTCP{}, source.FromRouterTCP, source.NamesOfRouterTCP, source.TLSOfRouterTCP)),
}

// The kinds of Traefik's API. It has no API groups: the name is usher's own.
var (
	routerKind    = schema.GroupVersionKind{Group: "api.traefik.io", Kind: v1alpha1.KindTraefikRouter}
	routerTCPKind = schema.GroupVersionKind{Group: "api.traefik.io", Kind: v1alpha1.KindTraefikRouterTCP}
)

// gatewayRouteKinds are the sources that refer to Gateways.
var gatewayRouteKinds = func() []int {
	var routes []int
	for i, k := range sources {
		if k.gvk.Group == gatewayv1.GroupName {
			routes = append(routes, i)
		}
	}
	return routes
}()

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

// kindWith returns the kind of kinds with a group, version and name.
func kindWith(gvk schema.GroupVersionKind) (kind, bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.gvk == gvk })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}

// The kinds that sources refer to, and Service, which has a member's ingress addresses.
var (
	ingressClassKind = kind{gvk: networkingv1.SchemeGroupVersion.WithKind("IngressClass"), scope: meta.RESTScopeRoot, object: &networkingv1.IngressClass{}}
	gatewayKind      = kind{gvk: gatewayGroup.WithKind("Gateway"), scope: meta.RESTScopeNamespace, object: &gatewayv1.Gateway{}}
	listenerSetKind  = kind{gvk: gatewayGroup.WithKind(source.KindListenerSet), scope: meta.RESTScopeNamespace, object: &gatewayv1.ListenerSet{}, added: true}
	xListenerSetKind = kind{gvk: gatewayapi.Experimental.WithKind(source.KindXListenerSet), scope: meta.RESTScopeNamespace, object: &gatewayapi.XListenerSet{}, added: true}
	namespaceKind    = kind{gvk: corev1.SchemeGroupVersion.WithKind("Namespace"), scope: meta.RESTScopeRoot, object: &corev1.Namespace{}}
	serviceKind      = kind{gvk: corev1.SchemeGroupVersion.WithKind("Service"), scope: meta.RESTScopeNamespace, object: &corev1.Service{}}
)

// The role usher-member allows to watch. The credentials of a member have no other role.
//
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingresses;ingressclasses,verbs=get;list;watch,roleName=usher-member
// +kubebuilder:rbac:groups=traefik.io;traefik.containo.us,resources=ingressroutes;ingressroutetcps,verbs=get;list;watch,roleName=usher-member
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=httproutes;grpcroutes;tlsroutes;gateways;listenersets,verbs=get;list;watch,roleName=usher-member
// +kubebuilder:rbac:groups=gateway.networking.x-k8s.io,resources=xlistenersets,verbs=get;list;watch,roleName=usher-member
// +kubebuilder:rbac:groups="",resources=namespaces;services,verbs=get;list;watch,roleName=usher-member

// kinds are all kinds that a session may watch.
var kinds = append(slices.Clip(sources), ingressClassKind, gatewayKind, listenerSetKind, xListenerSetKind, namespaceKind, serviceKind)

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

// embedding describes a kind whose Go type embeds that of another kind of source, which
// inner returns.
func embedding[T client.Object, I any](gvk schema.GroupVersionKind, object T, inner func(T) I, claims func(I, source.Context) source.Result, names func(I) source.Names, tls func(I, source.Context) source.TLSMark) kind {
	return sourceKind(gvk, object,
		func(o T, in source.Context) source.Result { return claims(inner(o), in) },
		func(o T) source.Names { return names(inner(o)) },
		func(o T, in source.Context) source.TLSMark { return tls(inner(o), in) })
}

// added marks a kind that earlier versions of usher did not read.
func added(k kind) kind {
	k.added = true
	return k
}

// polled marks a kind of Traefik's API.
func polled(k kind) kind {
	k.polled = true
	return k
}

// otherVersion reports whether two kinds are versions of one: they have the same objects.
func (k kind) otherVersion(o kind) bool {
	return k.gvk.GroupKind() == o.gvk.GroupKind() && k.gvk.Version != o.gvk.Version
}

// scheme has the types of all kinds.
var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, networkingv1.AddToScheme, traefik.AddToScheme, gatewayv1.Install, gatewayapi.AddToScheme} {
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
		if !k.polled {
			m.Add(k.gvk, k.scope)
		}
	}
	// Add would guess "gatewaies" as the plural of Gateway.
	gateway := gatewayKind.gvk.GroupVersion()
	m.AddSpecific(gatewayKind.gvk, gateway.WithResource("gateways"), gateway.WithResource("gateway"), gatewayKind.scope)
	return m
}()
