package member

import (
	"maps"
	"slices"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// marks are the objects without the annotation that use the TLS options of published
// routes: clients of a published host reach them.
type marks struct {
	mu       sync.Mutex
	elements map[sourceID]bool
}

func newMarks() *marks { return &marks{elements: map[sourceID]bool{}} }

// put records whether an object is one of them, and returns whether that is news.
func (m *marks) put(id sourceID, marked bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.elements[id] == marked {
		return false
	}
	if marked {
		m.elements[id] = true
	} else {
		delete(m.elements, id)
	}
	return true
}

// forget drops the objects of a kind.
func (m *marks) forget(kind int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.elements, func(id sourceID, _ bool) bool { return id.kind == kind })
}

// list returns the objects, sorted.
func (m *marks) list(cluster string) []v1alpha1.SourceRef {
	m.mu.Lock()
	defer m.mu.Unlock()
	refs := make([]v1alpha1.SourceRef, 0, len(m.elements))
	for id := range m.elements {
		refs = append(refs, id.ref(cluster))
	}
	return tidy(refs)
}

// ref names a source of a cluster.
func (id sourceID) ref(cluster string) v1alpha1.SourceRef {
	return v1alpha1.SourceRef{Cluster: cluster, Kind: sources[id.kind].gvk.Kind, Namespace: id.Namespace, Name: id.Name}
}

// isolated reports whether the MemberCluster has spec.isolation.
func (s *session) isolated() bool { return s.listener.rules().Isolation != nil }

// mark notes whether an object, which may be nil, uses the TLS options of published
// routes without the annotation.
func (s *session) mark(id sourceID, o client.Object) {
	marked := false
	if s.isolated() && o != nil && !source.Exposed(o.GetAnnotations()) && !source.Solver(o) && !s.shadowed(id) {
		marked = sources[id.kind].tls(o, s.context()).Options != ""
	}
	if s.marks.put(id, marked) {
		s.listener.stateChanged(s)
	}
}

// markedOtherwise returns the hosts whose isolation changes with the TLS options of an
// object; either state may be nil. It returns false if these are too many to find.
func (s *session) markedOtherwise(k kind, before, after client.Object) (hosts []string, ok bool) {
	if !s.isolated() {
		return nil, true
	}
	if in := s.context(); before != nil && after != nil && k.tls(before, in) == k.tls(after, in) {
		return nil, true
	}
	work := newIsolationWork()
	for _, host := range slices.Concat(namesOf(k, before).Hosts, namesOf(k, after).Hosts) {
		hosts = append(hosts, host)
		for _, id := range s.names.naming(host) {
			others, ok := s.routerHosts(id, host, work)
			if !ok {
				return nil, false
			}
			hosts = append(hosts, others...)
		}
	}
	return hosts, true
}

// isolationWork bounds the objects and rules that are read to check the isolation of one
// host, or to find the hosts that one change touches: many objects may name a host, and
// share routers with many others.
type isolationWork struct {
	objects int // that may still be read
	rules   int // bytes of rules that may still be read
}

func newIsolationWork() *isolationWork { return &isolationWork{objects: 1000, rules: 1 << 20} }

// routerHosts returns the hosts of the routers of an object that name a host, without
// those of other routers. It returns false if that is too much work.
func (s *session) routerHosts(id sourceID, host string, work *isolationWork) (hosts []string, ok bool) {
	if work.objects--; work.objects < 0 {
		return nil, false
	}
	switch route := s.get(sources[id.kind], id.Namespace, id.Name).(type) {
	case *traefik.IngressRoute:
		return source.RouterHosts(route, host, &work.rules)
	case *traefik.ContainousIngressRoute:
		return source.RouterHosts(&route.IngressRoute, host, &work.rules)
	case *traefik.Router:
		return source.RouterHosts(&route.IngressRoute, host, &work.rules)
	}
	return nil, true
}

// isolation adds to what is beside a host the objects that undo its isolation.
func (s *session) isolation(b *Beside, host string) {
	if !s.isolated() {
		return
	}
	in, naming := s.context(), s.names.naming(host)
	b.Unmarked = !slices.ContainsFunc(naming, func(id sourceID) bool {
		o := s.get(sources[id.kind], id.Namespace, id.Name)
		return o != nil && sources[id.kind].tls(o, in).Isolated()
	})
	own := s.readings.oldestWithOptions(host)
	if own == nil {
		return
	}
	work := newIsolationWork()
	check := func(ids []sourceID) bool {
		for _, id := range ids {
			if work.objects--; work.objects < 0 {
				return false
			}
			o := s.get(sources[id.kind], id.Namespace, id.Name)
			if o != nil && !source.Solver(o) && !s.shadowed(id) && !sources[id.kind].tls(o, in).Keeps(own.options) {
				b.Unisolated = append(b.Unisolated, id.ref(in.Cluster))
			}
		}
		return true
	}
	b.Unchecked = !check(naming)
	for _, id := range naming {
		others, ok := s.routerHosts(id, host, work)
		for _, other := range others {
			ok = ok && (other == host || check(s.names.naming(other)))
		}
		if !ok {
			b.Unchecked = true
			break
		}
	}
	b.Unisolated = tidy(b.Unisolated)
	b.Sharing = s.readings.sharing(own, host, in.Cluster)
}
