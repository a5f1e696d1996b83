package member

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
)

// Beside is what a cluster's Traefik serves next to a published host, although no
// object asks usher to publish it.
type Beside struct {
	// Unannotated are the objects that serve the host without a claim on it: they name
	// the host, or they are children of an IngressRoute that names it. It also has the
	// objects without the annotation that name a wildcard over the host. Sorted.
	Unannotated []v1alpha1.SourceRef
	// Names are the first labels of the host names directly under a wildcard host, from
	// annotated and other objects. Sorted.
	Names []string
	// Private are those of Names that no annotated object publishes. It is nil if there
	// are more Names than a wildcard can except.
	Private []string
	// Unclaimed are those of Names that annotated objects publish but cannot claim:
	// their rules are refused, or they are beyond Limits. It is nil if there are more
	// Names than a wildcard can except.
	Unclaimed []string
	// Capped says that some object names hosts beyond Limits.
	Capped bool
	// Unlisted are the objects that do not claim the wildcard and may serve names under
	// it that they do not list. Sorted.
	Unlisted []v1alpha1.SourceRef
	// Unisolated are the objects for which Traefik does not use the isolating TLS
	// options of the host; sorted. With one of them it uses its default options for all.
	Unisolated []v1alpha1.SourceRef
	// Unchecked means that too many objects name the host, or share a router with it, to
	// check its TLS options.
	Unchecked bool
	// Unmarked means that the cluster has spec.isolation, and that no object which names
	// the host has its TLS options.
	Unmarked bool
	// Sharing are older objects with the host's TLS options, one for each allow-from list.
	Sharing []source.Sharing
}

// Beside returns what a member serves beside a host that the given sources claim. It
// returns false until the member has been in sync.
func (s *Set) Beside(name, host string, claiming []v1alpha1.SourceRef) (Beside, bool) {
	m := s.member(name)
	if m == nil {
		return Beside{}, false
	}
	session := m.session()
	if session == nil {
		return Beside{}, false
	}
	claims := make(map[v1alpha1.SourceRef]bool, len(claiming)) // source → true
	for _, ref := range claiming {
		claims[ref] = true
	}
	b := session.names.beside(name, host, claims, session.readings.claimed)
	b.Capped = session.readings.capped()
	session.isolation(&b, host)
	return b, true
}

func (n *names) beside(cluster, host string, claims map[v1alpha1.SourceRef]bool, claimed func(host string) bool) Beside {
	n.mu.RLock()
	defer n.mu.RUnlock()
	_, parent, _ := strings.Cut(host, ".")
	var b Beside
	for i := range n.byKind {
		of, ref := &n.byKind[i], v1alpha1.SourceRef{Cluster: cluster, Kind: sources[i].gvk.Kind}
		for o := range of.at(host) {
			if len(of.children[nameOf(o)]) == 0 { // a parent does not serve the host, its children do
				b.Unannotated = appendUnless(b.Unannotated, claims, ref, nameOf(o))
			}
			for child := range of.below(nameOf(o)) {
				b.Unannotated = appendUnless(b.Unannotated, claims, ref, nameOf(child))
			}
		}
		if strings.HasPrefix(host, "*.") {
			for name := range of.open {
				b.Unlisted = appendUnless(b.Unlisted, claims, ref, name)
			}
			continue
		}
		for o := range of.at("*." + parent) {
			if !source.Exposed(o.Annotations) {
				b.Unannotated = appendUnless(b.Unannotated, claims, ref, nameOf(o))
			}
		}
	}
	b.Unannotated, b.Unlisted = tidy(b.Unannotated), tidy(b.Unlisted)
	if strings.HasPrefix(host, "*.") {
		n.labels(&b, parent, claimed)
	}
	return b
}

// appendUnless appends an object of ref's cluster and kind, unless it is in claims.
func appendUnless(refs []v1alpha1.SourceRef, claims map[v1alpha1.SourceRef]bool, ref v1alpha1.SourceRef, name types.NamespacedName) []v1alpha1.SourceRef {
	if ref.Namespace, ref.Name = name.Namespace, name.Name; claims[ref] {
		return refs
	}
	return append(refs, ref)
}

// at yields the objects that name a host.
func (n *kindNames) at(host string) iter.Seq[*metav1.ObjectMeta] {
	return func(yield func(*metav1.ObjectMeta) bool) {
		first := n.first(host)
		if first == nil || !yield(first) {
			return
		}
		for _, o := range n.more[host] {
			if !yield(o) {
				return
			}
		}
	}
}

// labels sets Names, Private and Unclaimed to the labels under a wildcard's parent domain.
func (n *names) labels(b *Beside, parent string, claimed func(host string) bool) {
	under := map[string]bool{} // label → whether an annotated object publishes the name
	for i := range n.byKind {
		of := &n.byKind[i]
		for label := range of.under[parent] {
			if isLabel(label) {
				under[label] = under[label] || len(under) <= v1alpha1.MaxExcept && of.publishes(joined(label, parent))
			}
		}
	}
	b.Names = slices.Sorted(maps.Keys(under))
	if len(b.Names) > v1alpha1.MaxExcept {
		return
	}
	for _, label := range b.Names {
		switch {
		case !under[label]:
			b.Private = append(b.Private, label)
		case !claimed(joined(label, parent)):
			b.Unclaimed = append(b.Unclaimed, label)
		}
	}
}

// publishes reports whether an annotated object publishes a host.
func (n *kindNames) publishes(host string) bool {
	for o := range n.at(host) {
		if source.Publishes(o.Annotations, host) {
			return true
		}
	}
	return false
}

// isLabel reports whether label can be the first label of a name that a client requests.
func isLabel(label string) bool {
	const bytes = "abcdefghijklmnopqrstuvwxyz0123456789-_"
	return label != "" && len(label) <= 63 && strings.Trim(label, bytes) == ""
}

// tidy sorts objects and removes duplicates: one object may be in both of Traefik's
// API groups.
func tidy(refs []v1alpha1.SourceRef) []v1alpha1.SourceRef {
	slices.SortFunc(refs, func(a, b v1alpha1.SourceRef) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(refs)
}
