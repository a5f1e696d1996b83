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

// names are the hosts that the objects of a cluster name, with or without the
// annotation: all that its Traefik serves. Most objects are not annotated, so that each
// must take little memory: the hosts of an object are not stored with it, but read from
// the object again when it is removed.
type names struct {
	mu     sync.RWMutex
	byKind []kindNames // in the order of sources
}

// kindNames are the hosts that the objects of one kind name.
type kindNames struct {
	under map[string]map[string]*metav1.ObjectMeta // parent domain → first label → an object that names the host
	more  map[string][]*metav1.ObjectMeta          // host → the other objects that name it
	open  map[types.NamespacedName]bool            // objects that may serve hosts that they do not name → true

	children map[types.NamespacedName][]child // IngressRoute → its children

	hosts int // number of hosts; one that two objects name counts twice
}

// child is an IngressRoute that refers to another as its parent. open says whether it
// may serve hosts that it does not name.
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
		under: map[string]map[string]*metav1.ObjectMeta{}, more: map[string][]*metav1.ObjectMeta{}, open: map[types.NamespacedName]bool{},
		children: map[types.NamespacedName][]child{},
	}
}

// perName is the memory for one host that an object names, in bytes.
const perName = 200

// size estimates the memory that the names take, in bytes.
func (n *names) size() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	hosts := 0
	for i := range n.byKind {
		hosts += n.byKind[i].hosts
	}
	return perName * hosts
}

// of returns the names of a kind.
func (n *names) of(k kind) *kindNames {
	return &n.byKind[kindIndex(k.gvk)]
}

// forget removes all objects of a kind.
func (n *names) forget(k kind) {
	n.mu.Lock()
	defer n.mu.Unlock()
	*n.of(k) = newKindNames()
}

// replace replaces a version of an object of kind k with the next one. Either may be
// nil. It returns the names of both versions; nothing if the change affects no host.
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

// namesOf returns the names of an object, which may be nil.
func namesOf(k kind, o client.Object) source.Names {
	if o == nil {
		return source.Names{}
	}
	return k.names(o)
}

// metaOf returns a cached object's metadata. A pointer to it takes half the memory of
// an interface value.
func metaOf(o client.Object) *metav1.ObjectMeta {
	return o.(metav1.ObjectMetaAccessor).GetObjectMeta().(*metav1.ObjectMeta) // of all kinds in sources
}

func nameOf(o *metav1.ObjectMeta) types.NamespacedName {
	return types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
}

func (n *kindNames) add(is source.Names, o *metav1.ObjectMeta) {
	n.hosts += len(is.Hosts)
	if is.Anywhere() {
		n.open[nameOf(o)] = true
	}
	for _, parent := range is.Within {
		n.children[parent] = append(n.children[parent], child{o, is.Open})
	}
	for _, host := range is.Hosts {
		label, parent, _ := strings.Cut(host, ".")
		labels := n.under[parent]
		if labels == nil {
			labels = map[string]*metav1.ObjectMeta{}
			n.under[strings.Clone(parent)] = labels
		}
		if labels[label] == nil {
			labels[label] = o
		} else {
			n.more[host] = append(n.more[host], o)
		}
	}
}

func (n *kindNames) remove(was source.Names, o *metav1.ObjectMeta) {
	n.hosts -= len(was.Hosts)
	if was.Anywhere() {
		delete(n.open, nameOf(o))
	}
	for _, parent := range was.Within {
		left := slices.DeleteFunc(n.children[parent], func(c child) bool { return nameOf(c.o) == nameOf(o) })
		if n.children[parent] = left; len(left) == 0 {
			delete(n.children, parent)
		}
	}
	for _, host := range was.Hosts {
		n.drop(host, nameOf(o))
	}
}

// drop removes an object from those that name a host.
func (n *kindNames) drop(host string, gone types.NamespacedName) {
	others := slices.DeleteFunc(n.more[host], func(o *metav1.ObjectMeta) bool { return nameOf(o) == gone })
	label, parent, _ := strings.Cut(host, ".")
	if first := n.first(host); first != nil && nameOf(first) == gone {
		labels := n.under[parent]
		delete(labels, label)
		if last := len(others) - 1; last >= 0 {
			labels[strings.Clone(label)] = others[last] // the label may share memory with the removed object
			others = slices.Delete(others, last, last+1)
		}
		if len(labels) == 0 {
			delete(n.under, parent)
		}
	}
	delete(n.more, host)
	if len(others) > 0 {
		n.more[strings.Clone(host)] = others
	}
}

// touched returns the hosts whose decision depends on an object with the given names:
//   - the hosts that it names, and the wildcards over them;
//   - if it names a wildcard, the names under that wildcard;
//   - if it may serve any host, all wildcards;
//   - if it has parents, the hosts that they name.
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
	n.mu.RLock()
	defer n.mu.RUnlock()
	for i := range n.byKind {
		of := &n.byKind[i]
		for parent := range parents {
			for label := range of.under[parent] {
				touched = append(touched, label+"."+parent)
			}
		}
		if by.Open {
			touched = append(touched, of.wildcards()...)
		}
		if len(by.Within) > 0 {
			touched = append(touched, of.namedBy(of.above(by.Within))...)
		}
	}
	return touched
}

// naming returns the objects that name a host.
func (n *names) naming(host string) []sourceID {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var ids []sourceID
	for i := range n.byKind {
		for o := range n.byKind[i].at(host) {
			ids = append(ids, sourceID{i, nameOf(o)})
		}
	}
	return ids
}

// some returns no more than most of the hosts that objects name, chosen at random: the order of
// a map is.
func (n *names) some(most int) []string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var some []string
	for i := range n.byKind {
		for parent, labels := range n.byKind[i].under {
			for label := range labels {
				if len(some) == most {
					return some
				}
				some = append(some, joined(label, parent))
			}
		}
	}
	return some
}

// wildcards returns the wildcard hosts that objects name.
func (n *kindNames) wildcards() []string {
	var named []string
	for parent, labels := range n.under {
		if labels["*"] != nil {
			named = append(named, "*."+parent)
		}
	}
	return named
}

// maxDepth limits how many levels of parents are followed. Parents may form a cycle.
const maxDepth = 8

// above returns IngressRoutes and all of their ancestors: name → true.
func (n *kindNames) above(routes []types.NamespacedName) map[types.NamespacedName]bool {
	above := map[types.NamespacedName]bool{}
	for _, name := range routes {
		above[name] = true
	}
	for range maxDepth {
		before := len(above)
		for parent, children := range n.children {
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

// namedBy returns the hosts that at least one of the objects names.
func (n *kindNames) namedBy(objects map[types.NamespacedName]bool) []string {
	var hosts []string
	for parent, labels := range n.under {
		for label := range labels {
			host := joined(label, parent)
			for o := range n.at(host) {
				if objects[nameOf(o)] {
					hosts = append(hosts, host)
					break
				}
			}
		}
	}
	return hosts
}

// first returns an object that names a host, or nil.
func (n *kindNames) first(host string) *metav1.ObjectMeta {
	label, parent, _ := strings.Cut(host, ".")
	return n.under[parent][label]
}

// joined returns the host with a first label and a parent domain.
func joined(label, parent string) string {
	if parent == "" {
		return label
	}
	return label + "." + parent
}

// within returns the descendants of an IngressRoute: its children, and theirs.
func (n *names) within(route types.NamespacedName) []sourceID {
	n.mu.RLock()
	defer n.mu.RUnlock()
	var found []sourceID
	seen := map[sourceID]bool{}
	level := []types.NamespacedName{route}
	for len(level) > 0 {
		var next []types.NamespacedName
		for _, parent := range level {
			for kind := range n.byKind {
				for _, c := range n.byKind[kind].children[parent] {
					id := sourceID{kind, nameOf(c.o)}
					if seen[id] {
						continue
					}
					seen[id], found = true, append(found, id)
					if sources[kind].gvk == ingressRouteKind.gvk { // only this kind has children
						next = append(next, id.NamespacedName)
					}
				}
			}
		}
		level = next
	}
	return found
}

// below yields the descendants of an IngressRoute that may serve any of its hosts: they
// have no children themselves and do not limit their hosts.
func (n *kindNames) below(route types.NamespacedName) iter.Seq[*metav1.ObjectMeta] {
	return func(yield func(*metav1.ObjectMeta) bool) {
		level, seen := []types.NamespacedName{route}, map[types.NamespacedName]bool{}
		for len(level) > 0 {
			var next []types.NamespacedName
			for _, parent := range level {
				for _, c := range n.children[parent] {
					name := nameOf(c.o)
					if seen[name] {
						continue
					}
					seen[name], next = true, append(next, name)
					if c.open && len(n.children[name]) == 0 && !yield(c.o) {
						return
					}
				}
			}
			level = next
		}
	}
}
