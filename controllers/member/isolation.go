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
// object that is not annotated, or was not; either state may be nil.
func (s *session) markedOtherwise(k kind, before, after client.Object) []string {
	if !s.isolated() {
		return nil
	}
	if in := s.context(); before != nil && after != nil && k.tls(before, in) == k.tls(after, in) {
		return nil
	}
	hosts := slices.Concat(namesOf(k, before).Hosts, namesOf(k, after).Hosts)
	touched := slices.Clone(hosts)
	for _, host := range hosts {
		for _, id := range s.names.naming(host) {
			touched = append(touched, s.routerHosts(id, host)...)
		}
	}
	return touched
}

// routerHosts returns the hosts of the routers of an object that name a host, without
// those of other routers.
func (s *session) routerHosts(id sourceID, host string) []string {
	switch route := s.get(sources[id.kind], id.Namespace, id.Name).(type) {
	case *traefik.IngressRoute:
		return source.RouterHosts(route, host)
	case *traefik.ContainousIngressRoute:
		return source.RouterHosts(&route.IngressRoute, host)
	}
	return nil
}

// isolation adds to what is beside a host the objects that undo its isolation.
func (s *session) isolation(b *Beside, host string) {
	if !s.isolated() {
		return
	}
	in := s.context()
	b.Unmarked = !slices.ContainsFunc(s.names.naming(host), func(id sourceID) bool {
		o := s.get(sources[id.kind], id.Namespace, id.Name)
		return o != nil && sources[id.kind].tls(o, in).Isolated()
	})
	own := s.readings.oldestWithOptions(host)
	if own == nil {
		return
	}
	check := func(name string) {
		for _, id := range s.names.naming(name) {
			o := s.get(sources[id.kind], id.Namespace, id.Name)
			if o != nil && !source.Solver(o) && !s.shadowed(id) && !sources[id.kind].tls(o, in).Keeps(own.options) {
				b.Unisolated = append(b.Unisolated, id.ref(in.Cluster))
			}
		}
	}
	check(host)
	for _, id := range s.names.naming(host) {
		for _, other := range s.routerHosts(id, host) {
			if other != host {
				check(other)
			}
		}
	}
	b.Unisolated = tidy(b.Unisolated)
	b.Sharing = s.readings.sharing(own, host, in.Cluster)
}
