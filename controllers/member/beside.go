package member

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
)

// Beside is what a cluster serves on the same Traefik as a host, and nobody asked to
// publish.
type Beside struct {
	// Silent are the objects that name the host and do not claim it, and those,
	// not annotated, that name a wildcard over it; sorted.
	Silent []v1alpha1.SourceRef
	// Names are the first labels of the names directly under the host, which is a
	// wildcard, of objects annotated or not; sorted, where they are not too many.
	Names []string
	// Private are those of Names that no annotated object publishes. It is nil where
	// Names are too many.
	Private []string
	// Open are the objects that may serve names under the wildcard which they do
	// not name, and that do not claim it; sorted.
	Open []v1alpha1.SourceRef
}

// Beside returns what a member serves beside a host, given the sources that claim
// it; false before the member was in sync.
func (s *Set) Beside(name, host string, claiming []v1alpha1.SourceRef) (Beside, bool) {
	m := s.member(name)
	if m == nil {
		return Beside{}, false
	}
	session, _ := m.reader()
	if session == nil {
		return Beside{}, false
	}
	claims := make(map[v1alpha1.SourceRef]bool, len(claiming)) // source → true
	for _, ref := range claiming {
		claims[ref] = true
	}
	return session.names.beside(name, host, claims), true
}

func (n *names) beside(cluster, host string, claims map[v1alpha1.SourceRef]bool) Beside {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var b Beside
	for _, o := range n.at(host) {
		b.addSilent(refOf(cluster, keyOf(o)), claims)
	}
	parent, wildcard := strings.CutPrefix(host, "*.")
	if !wildcard {
		_, above, _ := strings.Cut(host, ".")
		for _, o := range n.at("*." + above) {
			if !source.Exposed(o.GetAnnotations()) {
				b.addSilent(refOf(cluster, keyOf(o)), claims)
			}
		}
		b.Silent = tidy(b.Silent)
		return b
	}
	b.Silent = tidy(b.Silent)
	b.Names, b.Private = n.labels(parent)
	for key := range n.open {
		if ref := refOf(cluster, key); !claims[ref] {
			b.Open = append(b.Open, ref)
		}
	}
	b.Open = tidy(b.Open)
	return b
}

func (b *Beside) addSilent(ref v1alpha1.SourceRef, claims map[v1alpha1.SourceRef]bool) {
	if !claims[ref] {
		b.Silent = append(b.Silent, ref)
	}
}

// labels returns the first labels of the names under a wildcard's parent, and those
// that nobody publishes.
func (n *names) labels(parent string) (all, private []string) {
	below := n.below(parent)
	for _, host := range below {
		if label, _, _ := strings.Cut(host, "."); isLabel(label) {
			all = append(all, label)
		}
	}
	if len(all) > v1alpha1.MaxExcept {
		return all, nil
	}
	slices.Sort(all)
	for _, label := range all {
		host := label + "." + parent
		published := func(o client.Object) bool { return source.Publishes(o.GetAnnotations(), host) }
		if !slices.ContainsFunc(n.at(host), published) {
			private = append(private, label)
		}
	}
	return all, private
}

// isLabel reports whether a client can ask for a name that begins so.
func isLabel(label string) bool {
	const bytes = "abcdefghijklmnopqrstuvwxyz0123456789-_"
	return label != "" && len(label) <= 63 && strings.Trim(label, bytes) == ""
}

func refOf(cluster string, key objectKey) v1alpha1.SourceRef {
	i := slices.IndexFunc(sources, func(k kind) bool { return reflect.TypeOf(k.object) == key.kind })
	return v1alpha1.SourceRef{Cluster: cluster, Kind: sources[i].gvk.Kind, Namespace: key.namespace, Name: key.name}
}

// tidy sorts objects, each once: both of Traefik's API groups may hold one.
func tidy(refs []v1alpha1.SourceRef) []v1alpha1.SourceRef {
	slices.SortFunc(refs, func(a, b v1alpha1.SourceRef) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(refs)
}
