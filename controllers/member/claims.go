package member

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// indexClaims indexes sources by what they claim: a host, or one of the keys below.
const indexClaims = "claims"

// Keys of the index that are no host names.
const (
	keyExposed = "exposed!" // every annotated object
	keyRefers  = "refers!"  // an annotated object that other objects may give hosts which it does not name
)

// indexKeys returns the keys under which an object of kind k is found. They
// rest on the object alone, so that no change elsewhere makes them wrong.
func indexKeys(k kind) client.IndexerFunc {
	return func(o client.Object) []string {
		if !source.Exposed(o.GetAnnotations()) {
			return nil
		}
		keys := []string{keyExposed}
		if refers(o) {
			return append(keys, keyRefers)
		}
		return append(keys, hostsOf(k.claims(o, source.Context{}))...)
	}
}

// refers reports whether an object may claim hosts that only the objects it refers
// to tell. All such objects are asked about every host: there must be few.
func refers(o client.Object) bool {
	switch t := o.(type) {
	case *gatewayv1.HTTPRoute:
		return leavesOpen(t.Spec.Hostnames)
	case *gatewayv1.TLSRoute:
		return leavesOpen(t.Spec.Hostnames)
	case *traefik.IngressRoute:
		return len(t.Spec.ParentRefs) > 0
	case *traefik.ContainousIngressRoute:
		return len(t.Spec.ParentRefs) > 0
	}
	return false
}

// leavesOpen reports whether a route takes hosts from its Gateway's listeners: all
// of theirs, or what one has of a wildcard.
func leavesOpen(hostnames []gatewayv1.Hostname) bool {
	return len(hostnames) == 0 || slices.ContainsFunc(hostnames, func(h gatewayv1.Hostname) bool { return strings.HasPrefix(string(h), "*") })
}

func hostsOf(r source.Result) []string {
	hosts := make([]string, len(r.Claims))
	for i, claim := range r.Claims {
		hosts[i] = claim.Host
	}
	return hosts
}

// claims returns the claims on a host, of the cluster as its cache knows it.
func (s *session) claims(host string, in source.Context) []source.Claim {
	var claims []source.Claim
	for _, key := range []string{host, keyRefers} {
		s.each(key, in, func(r source.Result) {
			for _, claim := range r.Claims {
				if claim.Host == host {
					claims = append(claims, claim)
				}
			}
		})
	}
	return claims
}

// hosts returns every host that the cluster's sources claim, each once.
func (s *session) hosts(in source.Context) []string {
	var hosts []string
	s.each(keyExposed, in, func(r source.Result) { hosts = append(hosts, hostsOf(r)...) })
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// refusals returns what the sources are refused that names no host, those of the
// newest sources first.
func (s *session) refusals(in source.Context) []v1alpha1.SourceRefusal {
	var refused []refusedSource
	s.eachObject(keyExposed, func(k kind, o client.Object) {
		for _, refusal := range k.claims(o, in).Refusals {
			refused = append(refused, refusedSource{o.GetCreationTimestamp().Time, v1alpha1.SourceRefusal{
				Kind: k.gvk.Kind, Namespace: o.GetNamespace(), Name: o.GetName(),
				Reason: refusal.Reason, Message: refusal.Message,
			}})
		}
	})
	slices.SortStableFunc(refused, refusedSource.compare) // a cache lists in no order
	refusals := make([]v1alpha1.SourceRefusal, len(refused))
	for i, r := range refused {
		refusals[i] = r.refusal
	}
	return refusals
}

// refusedSource is a refusal, and when its source was made.
type refusedSource struct {
	created time.Time
	refusal v1alpha1.SourceRefusal
}

// compare orders refusals: the newest source first, and then by name.
func (r refusedSource) compare(o refusedSource) int {
	return cmp.Or(
		o.created.Compare(r.created),
		cmp.Compare(r.refusal.Kind, o.refusal.Kind),
		cmp.Compare(r.refusal.Namespace, o.refusal.Namespace),
		cmp.Compare(r.refusal.Name, o.refusal.Name),
	)
}

// each calls yield with what every source under an index key claims.
func (s *session) each(key string, in source.Context, yield func(source.Result)) {
	s.eachObject(key, func(k kind, o client.Object) { yield(k.claims(o, in)) })
}

// eachObject calls yield with every source under an index key. Where both of
// Traefik's API groups hold an object, traefik.io's counts.
func (s *session) eachObject(key string, yield func(kind, client.Object)) {
	for _, k := range sources {
		if !s.reads(k) {
			continue
		}
		for _, o := range s.list(k, key) {
			if !s.eclipsed(k, o) {
				yield(k, o)
			}
		}
	}
}

// ended is a context that is done. A read from a cache with it waits for nothing:
// a kind that a person may not list is never read, and must not hold a reconciler.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// list returns the cached objects of a kind under an index key. They are shared: read only.
func (s *session) list(k kind, key string) []client.Object {
	list := k.list()
	err := s.cluster.GetCache().List(ended, list, client.MatchingFields{indexClaims: key}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil // the kind was unwatched a moment ago: its objects are gone
	}
	var objects []client.Object
	_ = meta.EachListItem(list, func(o runtime.Object) error { // fails only on what is no list
		objects = append(objects, o.(client.Object))
		return nil
	})
	return objects
}

// eclipsed reports whether a source of the old group has a twin in the new one.
func (s *session) eclipsed(k kind, o client.Object) bool {
	twin, ok := kindOf(traefik.GroupVersion.WithKind(k.gvk.Kind))
	return ok && k.gvk.GroupVersion() == traefik.ContainousGroupVersion && s.get(twin, o.GetNamespace(), o.GetName()) != nil
}

// affected returns the sources whose claims a change of objects may change: they
// themselves, and of the new group's, their twins in the old one.
func (s *session) affected(k kind, objects []client.Object, yield func(kind, client.Object)) {
	twins, ok := kindOf(traefik.ContainousGroupVersion.WithKind(k.gvk.Kind))
	for _, o := range objects {
		yield(k, o)
		if !ok || k.gvk.GroupVersion() != traefik.GroupVersion {
			continue
		}
		if twin := s.get(twins, o.GetNamespace(), o.GetName()); twin != nil {
			yield(twins, twin)
		}
	}
}

// parents reports whether objects of the kind are what others refer to.
func (s *session) parents(k kind) bool {
	return k.gvk == ingressRouteKind.gvk && slices.ContainsFunc(sources, func(child kind) bool {
		return child.gvk.Kind == source.KindIngressRoute && s.reads(child) && len(s.list(child, keyRefers)) > 0
	})
}

// get returns a cached object, or nil.
func (s *session) get(k kind, namespace, name string) client.Object {
	if !s.reads(k) {
		return nil
	}
	object := k.object.DeepCopyObject().(client.Object)
	if s.cluster.GetCache().Get(ended, client.ObjectKey{Namespace: namespace, Name: name}, object) != nil {
		return nil
	}
	return object
}

// context answers from the cache what sources refer to.
func (s *session) context(cluster string, ingressClasses []string) source.Context {
	return source.Context{
		Cluster:             cluster,
		IngressClasses:      ingressClasses,
		DefaultIngressClass: s.defaultIngressClass(),
		IngressRoute: func(namespace, name string) *traefik.IngressRoute {
			o, _ := s.get(ingressRouteKind, namespace, name).(*traefik.IngressRoute)
			return o
		},
		Gateway: func(namespace, name string) *gatewayv1.Gateway {
			o, _ := s.get(gatewayKind, namespace, name).(*gatewayv1.Gateway)
			return o
		},
		NamespaceLabels: func(name string) map[string]string {
			if o := s.get(namespaceKind, "", name); o != nil {
				return o.GetLabels()
			}
			return nil
		},
	}
}

// defaultIngressClass returns the name of the class that is marked as the
// default; of several, as Kubernetes' admission does, the newest.
func (s *session) defaultIngressClass() string {
	if !s.reads(ingressClassKind) {
		return ""
	}
	var classes networkingv1.IngressClassList
	if s.cluster.GetCache().List(ended, &classes, client.UnsafeDisableDeepCopy) != nil {
		return ""
	}
	var newest networkingv1.IngressClass
	for _, class := range classes.Items {
		if class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != "true" {
			continue
		}
		age := newest.CreationTimestamp.Compare(class.CreationTimestamp.Time)
		if newest.Name == "" || age < 0 || age == 0 && class.Name < newest.Name {
			newest = class
		}
	}
	return newest.Name
}

// addresses returns the watched Service's load-balancer addresses.
func (s *session) addresses() []string {
	service, ok := s.get(serviceKind, s.config.Service.Namespace, s.config.Service.Name).(*corev1.Service)
	if !ok {
		return nil
	}
	return source.LoadBalancerAddresses(service)
}

// object returns what an informer's event carries.
func object(event any) client.Object {
	if unknown, ok := event.(toolscache.DeletedFinalStateUnknown); ok {
		event = unknown.Obj
	}
	o, _ := event.(client.Object)
	return o
}
