package member

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/controllers/source"
)

// names is what the objects of a cluster name, annotated or not: what its Traefik
// serves beside that which is published. Most objects are not annotated, so that it
// must take little memory: what an object named is read of it again when it goes.
type names struct {
	mu     sync.RWMutex
	byKind []kindNames // in the order of sources
}

// kindNames is what the objects of one kind name.
type kindNames struct {
	one  map[string]*metav1.ObjectMeta   // host → an object that names it
	more map[string][]*metav1.ObjectMeta // host → the others, where several do
	open map[types.NamespacedName]bool   // objects that may serve hosts which they do not name → true

	within map[types.NamespacedName][]child // IngressRoute → those within it
}

// child is an IngressRoute within others, and whether it may serve hosts that it
// does not name.
type child struct {
	o    *metav1.ObjectMeta
	open bool
}

func newNames() *names {
	n := &names{byKind: make([]kindNames, len(sources))}
	for i := range n.byKind {
		n.byKind[i] = newKindNames()
	}
	return n
}

func newKindNames() kindNames {
	return kindNames{
		one: map[string]*metav1.ObjectMeta{}, more: map[string][]*metav1.ObjectMeta{}, open: map[types.NamespacedName]bool{},
		within: map[types.NamespacedName][]child{},
	}
}

// of returns what is kept of a kind.
func (n *names) of(k kind) *kindNames {
	return &n.byKind[slices.IndexFunc(sources, func(other kind) bool { return other.gvk == k.gvk })]
}

// forget drops all objects of a kind.
func (n *names) forget(k kind) {
	n.mu.Lock()
	defer n.mu.Unlock()
	*n.of(k) = newKindNames()
}

// replace puts an object of kind k in the place of its former state; either may be
// nil. It returns what both name, with nothing where that makes no difference to
// any host.
func (n *names) replace(k kind, before, after client.Object) source.Names {
	was, is := namesOf(k, before), namesOf(k, after)
	n.mu.Lock()
	defer n.mu.Unlock()
	of := n.of(k)
	if before != nil {
		of.remove(was, metaOf(before))
	}
	if after != nil {
		of.add(is, metaOf(after))
	}
	if before != nil && after != nil && was.Open == is.Open &&
		slices.Equal(was.Hosts, is.Hosts) && slices.Equal(was.Within, is.Within) &&
		maps.Equal(before.GetAnnotations(), after.GetAnnotations()) {
		return source.Names{}
	}
	return source.Names{
		Hosts: slices.Concat(was.Hosts, is.Hosts), Open: was.Anywhere() || is.Anywhere(),
		Within: slices.Concat(was.Within, is.Within),
	}
}

// namesOf returns what an object names, which may be nil.
func namesOf(k kind, o client.Object) source.Names {
	if o == nil {
		return source.Names{}
	}
	return k.names(o)
}

// metaOf returns a cached object's metadata: a pointer half as large as that of an
// object of any kind.
func metaOf(o client.Object) *metav1.ObjectMeta {
	return o.(metav1.ObjectMetaAccessor).GetObjectMeta().(*metav1.ObjectMeta) // of all kinds in sources
}

func nameOf(o *metav1.ObjectMeta) types.NamespacedName {
	return types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
}

func (n *kindNames) add(is source.Names, o *metav1.ObjectMeta) {
	if is.Anywhere() {
		n.open[nameOf(o)] = true
	}
	for _, parent := range is.Within {
		n.within[parent] = append(n.within[parent], child{o, is.Open})
	}
	for _, host := range is.Hosts {
		if n.one[host] == nil {
			n.one[host] = o
		} else {
			n.more[host] = append(n.more[host], o)
		}
	}
}

func (n *kindNames) remove(was source.Names, o *metav1.ObjectMeta) {
	if was.Anywhere() {
		delete(n.open, nameOf(o))
	}
	for _, parent := range was.Within {
		left := slices.DeleteFunc(n.within[parent], func(c child) bool { return nameOf(c.o) == nameOf(o) })
		if n.within[parent] = left; len(left) == 0 {
			delete(n.within, parent)
		}
	}
	for _, host := range was.Hosts {
		n.drop(host, nameOf(o))
	}
}

// drop forgets that an object names a host.
func (n *kindNames) drop(host string, gone types.NamespacedName) {
	others := slices.DeleteFunc(n.more[host], func(o *metav1.ObjectMeta) bool { return nameOf(o) == gone })
	if first := n.one[host]; first != nil && nameOf(first) == gone {
		delete(n.one, host)
		if last := len(others) - 1; last >= 0 {
			n.one[strings.Clone(host)] = others[last] // the host may be a part of the object that goes
			others = slices.Delete(others, last, last+1)
		}
	}
	delete(n.more, host)
	if len(others) > 0 {
		n.more[strings.Clone(host)] = others
	}
}

// touched returns the hosts beside which an object is that names these: they
// themselves and the wildcards over them; of a wildcard, the names under it too, and
// of an object that may serve any host, all wildcards, or of one within others, all
// that they name. It looks at all names at most once.
func (n *names) touched(by source.Names) []string {
	touched := slices.Clone(by.Hosts)
	parents := map[string]bool{} // of the wildcards among the hosts → true
	for _, host := range by.Hosts {
		label, parent, _ := strings.Cut(host, ".")
		if label == "*" {
			parents[parent] = true
		} else if parent != "" {
			touched = append(touched, "*."+parent)
		}
	}
	if len(parents) == 0 && !by.Open && len(by.Within) == 0 {
		return touched
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	for i := range n.byKind {
		of := &n.byKind[i]
		above := of.above(by.Within)
		for host := range of.one {
			if label, parent, _ := strings.Cut(host, "."); parents[parent] || by.Open && label == "*" || of.namedBy(host, above) {
				touched = append(touched, host)
			}
		}
	}
	return touched
}

// maxDepth is how far parents are followed, which may go in a circle.
const maxDepth = 8

// above returns some IngressRoutes, and those within whose hosts they are: name → true.
func (n *kindNames) above(routes []types.NamespacedName) map[types.NamespacedName]bool {
	above := map[types.NamespacedName]bool{}
	for _, name := range routes {
		above[name] = true
	}
	for range maxDepth {
		before := len(above)
		for parent, children := range n.within {
			if slices.ContainsFunc(children, func(c child) bool { return above[nameOf(c.o)] }) {
				above[parent] = true
			}
		}
		if len(above) == before {
			break
		}
	}
	return above
}

// namedBy reports whether one of some objects names a host.
func (n *kindNames) namedBy(host string, objects map[types.NamespacedName]bool) bool {
	if len(objects) == 0 {
		return false
	}
	for o := range n.at(host) {
		if objects[nameOf(o)] {
			return true
		}
	}
	return false
}

// below yields the objects that may serve any host of an IngressRoute's: of its
// children and theirs, those that have none themselves, and name no hosts.
func (n *kindNames) below(route types.NamespacedName) iter.Seq[*metav1.ObjectMeta] {
	return func(yield func(*metav1.ObjectMeta) bool) {
		level, seen := []types.NamespacedName{route}, map[types.NamespacedName]bool{}
		for len(level) > 0 {
			var next []types.NamespacedName
			for _, parent := range level {
				for _, c := range n.within[parent] {
					name := nameOf(c.o)
					if seen[name] {
						continue
					}
					seen[name], next = true, append(next, name)
					if c.open && len(n.within[name]) == 0 && !yield(c.o) {
						return
					}
				}
			}
			level = next
		}
	}
}
