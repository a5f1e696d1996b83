package member

import (
	"iter"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/gatewayapi"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// Naming is an object that names a host, with or without the annotation.
type Naming struct {
	Source v1alpha1.SourceRef
	// Group is the API group of the object.
	Group string
	// Names is the host as the object names it: the host, or a wildcard over it. It is
	// empty for an object that may serve any host.
	Names string
	// Through is the IngressRoute that names the host, if the object is a descendant of it.
	Through types.NamespacedName
	// Rule is the field of the object that names the host, with its value; empty if it is
	// not known.
	Rule string
	// Expose is the value of the annotation, and Publishes says that the object asks usher
	// to publish Names.
	Expose    string
	Publishes bool
	// Refusal is why usher publishes no host of the object, or not all of them, if it is not
	// about a single host.
	Refusal *source.Refusal
}

// Naming returns at most max objects of a member that name a host, exactly or by a
// wildcard, or that may serve any host; and how many more there are. The exact ones come
// first. It returns none until the member was in sync.
func (s *Set) Naming(name, host string, most int) (all []Naming, more int) {
	m := s.member(name)
	if m == nil {
		return nil, 0
	}
	session := m.session()
	if session == nil {
		return nil, 0
	}
	found, more := session.names.named(host, most)
	for _, f := range found {
		all = append(all, session.naming(f))
	}
	return all, more
}

// named is an object of the index that names a host.
type named struct {
	id      sourceID
	host    string // as the object names it; empty for any
	through types.NamespacedName
}

// named returns at most max objects that name a host, and how many more there are.
func (n *names) named(host string, most int) (found []named, more int) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	add := func(f named) {
		if len(found) < most {
			found = append(found, f)
		} else {
			more++
		}
	}
	for spelling := range spellings(host) {
		for i := range n.byKind {
			of := &n.byKind[i]
			for o := range of.at(spelling) {
				if !shadowedBy(n.byKind[:i], i, spelling, o) {
					add(named{sourceID{i, nameOf(o)}, spelling, types.NamespacedName{}})
				}
				for child := range of.below(nameOf(o)) {
					add(named{sourceID{i, nameOf(child)}, spelling, nameOf(o)})
				}
			}
		}
	}
	for i := range n.byKind {
		for name := range n.byKind[i].open {
			add(named{sourceID{i, name}, "", types.NamespacedName{}})
		}
	}
	return found, more
}

// shadowedBy reports whether another version of a kind has the same object: two versions
// are watched while one replaces the other.
func shadowedBy(before []kindNames, kind int, host string, o *metav1.ObjectMeta) bool {
	for i := range before {
		if !sources[i].otherVersion(sources[kind]) {
			continue
		}
		for other := range before[i].at(host) {
			if nameOf(other) == nameOf(o) {
				return true
			}
		}
	}
	return false
}

// spellings yields the host and the wildcards over it, the closest first.
func spellings(host string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(host) {
			return
		}
		rest := strings.TrimPrefix(host, "*.")
		if rest != host {
			_, rest, _ = strings.Cut(rest, ".")
		} else {
			_, rest, _ = strings.Cut(host, ".")
		}
		for rest != "" && yield("*."+rest) {
			_, rest, _ = strings.Cut(rest, ".")
		}
	}
}

// naming returns what is known of an object of the index.
func (s *session) naming(f named) Naming {
	k := sources[f.id.kind]
	n := Naming{
		Source: v1alpha1.SourceRef{Cluster: s.config.Name, Kind: k.gvk.Kind, Namespace: f.id.Namespace, Name: f.id.Name},
		Group:  k.gvk.Group, Names: f.host, Through: f.through,
	}
	o := s.get(k, f.id.Namespace, f.id.Name)
	if o == nil {
		return n // deleted since
	}
	n.Refusal = s.readings.refusalOf(f.id)
	n.Expose = o.GetAnnotations()[v1alpha1.AnnotationExpose]
	if f.host == "" || f.through != (types.NamespacedName{}) {
		n.Publishes = source.Exposed(o.GetAnnotations())
		return n
	}
	n.Publishes = source.Publishes(o.GetAnnotations(), f.host)
	n.Rule = ruleOf(o, f.host)
	return n
}

// ruleOf returns the field of an object that names a host.
func ruleOf(object client.Object, host string) string {
	switch o := object.(type) {
	case *networkingv1.Ingress:
		return source.RuleOfIngress(o, host)
	case *traefik.IngressRoute:
		return source.RuleOfIngressRoute(o, host)
	case *traefik.ContainousIngressRoute:
		return source.RuleOfIngressRoute(&o.IngressRoute, host)
	case *traefik.IngressRouteTCP:
		return source.RuleOfIngressRouteTCP(o, host)
	case *traefik.ContainousIngressRouteTCP:
		return source.RuleOfIngressRouteTCP(&o.IngressRouteTCP, host)
	case *traefik.Router:
		return source.RuleOfRouter(o.Spec.Routes[0].Match)
	case *traefik.RouterTCP:
		return source.RuleOfRouter(o.Spec.Routes[0].Match)
	case *gatewayv1.HTTPRoute:
		return source.RuleOfHostnames(o.Spec.Hostnames, host)
	case *gatewayv1.GRPCRoute:
		return source.RuleOfHostnames(o.Spec.Hostnames, host)
	case *gatewayv1.TLSRoute:
		return source.RuleOfHostnames(o.Spec.Hostnames, host)
	case *gatewayapi.TLSRouteV1alpha2:
		return source.RuleOfHostnames(o.Spec.Hostnames, host)
	case *gatewayapi.TLSRouteV1alpha3:
		return source.RuleOfHostnames(o.Spec.Hostnames, host)
	}
	return ""
}

// Leads reports whether this process keeps the members connected.
func (s *Set) Leads() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ctx != nil && s.ctx.Err() == nil
}
