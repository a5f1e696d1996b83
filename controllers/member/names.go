package member

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/controllers/source"
)

// names is what the objects of a cluster name, annotated or not: what its Traefik
// serves beside that which is published. It takes some 60 bytes a host besides the
// object that names it, so that an object is kept here and its names are not: they
// are read of it again when it goes.
type names struct {
	mu   sync.RWMutex
	one  map[string]client.Object   // host → an object that names it
	more map[string][]client.Object // host → the others, where several do
	open map[objectKey]bool         // objects that may serve hosts which they do not name
}

// objectKey tells an object from all others of a cluster.
type objectKey struct {
	kind            reflect.Type
	namespace, name string
}

func keyOf(o client.Object) objectKey {
	return objectKey{reflect.TypeOf(o), o.GetNamespace(), o.GetName()}
}

func newNames() *names {
	return &names{one: map[string]client.Object{}, more: map[string][]client.Object{}, open: map[objectKey]bool{}}
}

// replace puts an object of kind k in the place of its former state; either may be
// nil. It returns what both name, with nothing where that makes no difference to
// any host.
func (n *names) replace(k kind, before, after client.Object) source.Names {
	was, is := namesOf(k, before), namesOf(k, after)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.remove(was, before)
	n.add(is, after)
	if before != nil && after != nil && was.Open == is.Open && slices.Equal(was.Hosts, is.Hosts) &&
		maps.Equal(before.GetAnnotations(), after.GetAnnotations()) {
		return source.Names{}
	}
	return source.Names{Hosts: slices.Concat(was.Hosts, is.Hosts), Open: was.Open || is.Open}
}

// namesOf returns what an object names, which may be nil.
func namesOf(k kind, o client.Object) source.Names {
	if o == nil {
		return source.Names{}
	}
	return k.names(o)
}

// touched returns the hosts beside which an object is that names these: they
// themselves and the wildcards over them; of a wildcard, the names under it too, and
// of an object that may serve any host, all wildcards. It looks at all names at most
// once.
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
	if len(parents) == 0 && !by.Open {
		return touched
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	for host := range n.one {
		if label, parent, _ := strings.Cut(host, "."); parents[parent] || by.Open && label == "*" {
			touched = append(touched, host)
		}
	}
	return touched
}

func (n *names) add(is source.Names, o client.Object) {
	if is.Open {
		n.open[keyOf(o)] = true
	}
	for _, host := range is.Hosts {
		if n.one[host] == nil {
			n.one[host] = o
		} else {
			n.more[host] = append(n.more[host], o)
		}
	}
}

func (n *names) remove(was source.Names, o client.Object) {
	if o == nil {
		return
	}
	key := keyOf(o)
	if was.Open {
		delete(n.open, key)
	}
	for _, host := range was.Hosts {
		n.drop(host, func(other client.Object) bool { return keyOf(other) == key })
	}
}

// drop forgets some of the objects that name a host.
func (n *names) drop(host string, gone func(client.Object) bool) {
	others := slices.DeleteFunc(n.more[host], gone)
	if first := n.one[host]; first != nil && gone(first) {
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

// at returns the objects that name a host, in a slice of the caller's own.
func (n *names) at(host string) []client.Object {
	first := n.one[host]
	if first == nil {
		return nil
	}
	return append([]client.Object{first}, n.more[host]...)
}

// below returns the names directly under a wildcard's parent.
func (n *names) below(parent string) []string {
	var hosts []string
	for host := range n.one {
		if label, of, found := strings.Cut(host, "."); found && of == parent && label != "*" {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// forget drops all objects of a kind.
func (n *names) forget(k kind) {
	gone := reflect.TypeOf(k.object)
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.open, func(key objectKey, _ bool) bool { return key.kind == gone })
	for host := range n.one {
		n.drop(host, func(o client.Object) bool { return reflect.TypeOf(o) == gone })
	}
}
