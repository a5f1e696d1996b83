package member

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// claims returns the claims on a host, as the sources were last read.
func (s *session) claims(host string) []source.Claim { return s.readings.on(host, s.kindsRead()) }

// hosts returns every host that the cluster's sources claim, each once.
func (s *session) hosts() []string { return s.readings.claimedHosts(s.kindsRead()) }

// refusals returns the latest refusals of sources that do not concern a single host.
func (s *session) refusals() []v1alpha1.SourceRefusal {
	return s.readings.refusals(keptRefusals, s.kindsRead())
}

// kindsRead returns a function that reports whether all objects of a kind of source
// have been read. Until then a claim that restricts another may be missing, so that no
// claim of the kind counts.
func (s *session) kindsRead() func(kind int) bool {
	read := make([]bool, len(sources))
	for i, k := range sources {
		// Two versions of a kind are watched while one replaces the other.
		read[i] = s.reads(k) && !slices.ContainsFunc(sources[:i], func(o kind) bool { return o.otherVersion(k) && s.reads(o) })
	}
	return func(kind int) bool { return read[kind] }
}

// get returns a cached object, or nil. The object is shared and must not be changed.
func (s *session) get(k kind, namespace, name string) client.Object {
	store := s.store(k)
	if store == nil {
		return nil
	}
	o, _, _ := store.GetByKey(cache.NewObjectName(namespace, name).String()) // a store in memory does not fail
	found, _ := o.(client.Object)
	return found
}

// context returns what a source's claims depend on: the rules of the MemberCluster, and
// the cached objects that sources refer to.
func (s *session) context() source.Context {
	rules, traefiks := s.listener.rules(), s.traefik()
	https, http := s.entryPoints()
	return source.Context{
		Cluster:             s.config.Name,
		IngressClasses:      rules.IngressClasses,
		Isolation:           rules.Isolation,
		HTTPSEntryPoints:    https,
		HTTPEntryPoints:     http,
		Ports:               s.tlsPorts(),
		DefaultIngressClass: s.defaultIngressClass(),
		Providers:           rules.Providers,
		MaxHosts:            s.readings.limits.SourceHosts,
		RuleSyntax:          traefiks.ruleSyntax(),
		WithoutWildcards:    traefiks.withoutWildcards(),
		WildcardsKnown:      traefiks.Version != "" && traefiks.withoutWildcards() == "",
		TraefikClass: func(name string) bool {
			class, _ := s.get(ingressClassKind, "", name).(*networkingv1.IngressClass)
			return class != nil && class.Spec.Controller == source.TraefikController
		},
		IngressRoute: func(namespace, name string) *traefik.IngressRoute {
			o, _ := s.get(ingressRouteKind, namespace, name).(*traefik.IngressRoute)
			return o
		},
		Gateway: func(namespace, name string) *gatewayv1.Gateway {
			o, _ := s.get(gatewayKind, namespace, name).(*gatewayv1.Gateway)
			return o
		},
		ListenerSet: s.listenerSet,
		Gateways:    s.gateways.get,
		OwnGateways: rules.Gateways,
		NamespaceLabels: func(name string) map[string]string {
			if o := s.get(namespaceKind, "", name); o != nil {
				return o.GetLabels()
			}
			return nil
		},
	}
}

// defaultIngressClass returns the name of the default IngressClass. If several are
// marked as the default, it is the newest one, as in Kubernetes' own admission.
func (s *session) defaultIngressClass() string {
	store := s.store(ingressClassKind)
	if store == nil {
		return ""
	}
	var newest *networkingv1.IngressClass
	for _, o := range store.List() {
		class := o.(*networkingv1.IngressClass)
		if class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != "true" {
			continue
		}
		if newest == nil || class.CreationTimestamp.After(newest.CreationTimestamp.Time) ||
			class.CreationTimestamp.Equal(&newest.CreationTimestamp) && class.Name < newest.Name {
			newest = class
		}
	}
	if newest == nil {
		return ""
	}
	return newest.Name
}

// addresses returns the watched Service's load-balancer addresses.
func (s *session) addresses() []string {
	if service := s.service(); service != nil {
		return source.LoadBalancerAddresses(service)
	}
	return nil
}

// object returns the object of an informer's event, or nil.
func object(event any) client.Object {
	if unknown, ok := event.(cache.DeletedFinalStateUnknown); ok {
		event = unknown.Obj
	}
	o, _ := event.(client.Object)
	return o
}
