package member

import (
	"slices"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// changesInARow is how many changed objects are read before one unchanged object is
// read again. It prevents that one kind of work starves the other.
const changesInARow = 8

// reader reads a session's sources in one goroutine: a source is read once for each
// version of itself and of the objects that it refers to. A member with large rules
// delays only itself.
type reader struct {
	session *session
	wake    chan struct{} // has one element while there may be work

	mu      sync.Mutex
	changes map[sourceID]*change // objects that have changed since they were last read
	order   []sourceID           // of changes, the oldest change first
	inARow  int                  // changes that were read since the last element of again
	stale   map[sourceID]bool    // unchanged objects to read again, since they depend on others → true
	again   []sourceID           // of stale, the oldest first
	added   int                  // how many were ever added to again
	reread  int                  // how many were ever taken from again
	whole   map[int]bool         // kinds of which all annotated objects are to be read again → true
	gone    map[int]bool         // kinds that the cluster no longer serves → true
	unread  map[int]int          // kind → changes from its first list that have not been read
}

// change is the change of an object since it was last read.
type change struct {
	before, after client.Object // before is nil for a new object, after for a deleted one
	first         int           // how many of the changes came from the kind's first list
}

func newReader(s *session) *reader {
	return &reader{
		session: s, wake: make(chan struct{}, 1), changes: map[sourceID]*change{}, stale: map[sourceID]bool{},
		whole: map[int]bool{}, gone: map[int]bool{}, unread: map[int]int{},
	}
}

// run reads until ended is closed.
func (r *reader) run(ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case <-r.wake:
		}
		for r.step() {
			select {
			case <-ended:
				return
			default:
			}
		}
	}
}

// step does the next piece of work, and reports whether there was one.
func (r *reader) step() bool {
	r.mu.Lock()
	if kind, ok := takeAny(r.gone); ok {
		r.mu.Unlock()
		r.session.forget(kind)
		return true
	}
	if kind, ok := takeAny(r.whole); ok {
		r.mu.Unlock()
		r.readAgain(r.session.readings.ids(kind))
		return true
	}
	if len(r.again) > 0 && (len(r.order) == 0 || r.inARow >= changesInARow) {
		id := r.again[0]
		r.again, r.inARow = r.again[1:], 0
		stale := r.stale[id] // false if it was read since, because it changed itself
		delete(r.stale, id)
		r.mu.Unlock()
		if stale {
			r.session.reread(id)
		}
		r.mu.Lock()
		r.reread++
		r.mu.Unlock()
		return true
	}
	if len(r.order) == 0 {
		r.order, r.again = nil, nil // frees the arrays, which may be large
		r.mu.Unlock()
		return false
	}
	id := r.order[0]
	c := r.changes[id]
	r.order = r.order[1:]
	r.inARow++
	delete(r.stale, id)
	delete(r.changes, id)
	r.mu.Unlock()
	if c == nil {
		return true // forget has removed its kind
	}
	r.session.readChange(id, c)
	r.mu.Lock()
	r.unread[id.kind] -= c.first
	r.mu.Unlock()
	return true
}

// takeAny takes one element of a set.
func takeAny(set map[int]bool) (int, bool) {
	for element := range set {
		delete(set, element)
		return element, true
	}
	return 0, false
}

// changed queues a changed object. first says whether the change comes from the first
// list of its kind.
func (r *reader) changed(id sourceID, before, after client.Object, first bool) {
	r.mu.Lock()
	c := r.changes[id]
	if c == nil {
		c = &change{before: before}
		r.changes[id] = c
		r.order = append(r.order, id)
	}
	c.after = after
	if first {
		c.first++
		r.unread[id.kind]++
	}
	r.mu.Unlock()
	r.signal()
}

// readAgain queues objects that have not changed themselves, but depend on a change.
func (r *reader) readAgain(ids []sourceID) {
	r.mu.Lock()
	for _, id := range ids {
		if !r.stale[id] {
			r.stale[id] = true
			r.again = append(r.again, id)
			r.added++
		}
	}
	r.mu.Unlock()
	r.signal()
}

// readKindsAgain queues all annotated objects of some kinds.
func (r *reader) readKindsAgain(kinds ...int) {
	r.mu.Lock()
	for _, kind := range kinds {
		r.whole[kind] = true
	}
	r.mu.Unlock()
	r.signal()
}

// forget queues the removal of all that was read of a kind, and drops its queued changes.
func (r *reader) forget(kind int) {
	r.mu.Lock()
	for id, c := range r.changes {
		if id.kind == kind {
			r.unread[kind] -= c.first // one that is being read now is subtracted by step
			delete(r.changes, id)
		}
	}
	r.gone[kind] = true
	r.mu.Unlock()
	r.signal()
}

// hasRead reports whether all objects of a kind's first list have been read.
func (r *reader) hasRead(kind int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unread[kind] == 0
}

// backlog returns how many objects were ever queued to be read again, and how many of
// them have been read. ok is false while whole kinds are queued: their objects are not
// counted yet.
func (r *reader) backlog() (added, read int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.added, r.reread, len(r.whole) == 0
}

func (r *reader) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// readChange reads an object that has changed, and reports the hosts that it affects.
func (s *session) readChange(id sourceID, c *change) {
	k := sources[id.kind]
	if !s.follows(k) {
		return // a late event: forget has removed the kind
	}
	var touched []string
	all := false
	name := func() {
		before := s.names.size()
		if names := s.names.replace(k, c.before, c.after); c.first == 0 {
			touched = append(touched, s.names.touched(names)...)
			marked, ok := s.markedOtherwise(k, c.before, c.after)
			touched = append(touched, marked...)
			all = !ok
		}
		_ = s.holdings.grow(s.names.size() - before) // too much ends the session
	}
	// At no time may an object that claims a host be recorded as only naming it: that
	// could refuse the host.
	if c.after == nil {
		name()
	}
	touched = append(touched, s.read(id, c.after)...)
	if c.after != nil {
		name()
	}
	s.reader.readAgain(s.dependents(id))
	if all {
		s.listener.allChanged(s)
		return
	}
	s.listener.hostsChanged(s, touched)
}

// reread reads an object that has not changed itself, and reports the hosts whose
// claims change.
func (s *session) reread(id sourceID) {
	s.listener.hostsChanged(s, s.read(id, s.get(sources[id.kind], id.Namespace, id.Name)))
}

// read stores the reading of an object, and returns the hosts whose claims change. The
// object is nil if it was deleted.
func (s *session) read(id sourceID, o client.Object) []string {
	r := s.reading(id, o)
	s.mark(id, o)
	c := s.readings.put(id, r)
	_ = s.holdings.grow(c.size)
	if c.refusals {
		s.listener.stateChanged(s)
	}
	s.reader.readAgain(c.again)
	return c.hosts
}

// reading returns the reading of an object: its claims, or the refusal of a misspelled
// annotation. It is nil if there are neither.
func (s *session) reading(id sourceID, o client.Object) *reading {
	if o == nil || s.shadowed(id) {
		return nil
	}
	r := &reading{id: id, created: o.GetCreationTimestamp().Time}
	if !source.Exposed(o.GetAnnotations()) {
		refusal := source.Misspelled(sources[id.kind].gvk.Kind, o)
		if refusal == nil {
			return nil
		}
		r.refusals = []source.Refusal{*refusal}
		return r
	}
	result := sources[id.kind].claims(o, s.context())
	r.claims, r.hosts, r.more, r.refusals = result.Claims, len(result.Claims), result.More, keptOf(result.Refusals)
	if r.options = optionsOf(r.claims); r.options != "" {
		r.allowFrom = r.claims[0].Options.AllowFrom
	}
	return r
}

// keptOf returns the first refusals of one object: at most keptRefusals, with about
// message.Max characters in total.
func keptOf(refusals []source.Refusal) []source.Refusal {
	length := 0
	for i, refusal := range refusals {
		if length += len(refusal.Message); i > 0 && (length > message.Max || i == keptRefusals) {
			return slices.Clone(refusals[:i])
		}
	}
	return slices.Clip(refusals)
}

// forget removes all that was read of a kind, since the cluster no longer serves it.
func (s *session) forget(kind int) {
	before := s.names.size()
	s.names.forget(sources[kind])
	s.marks.forget(kind)
	_ = s.holdings.grow(s.readings.forget(kind) + s.names.size() - before)
	s.reader.readAgain(s.readings.ids()) // some referred to the kind's objects or were shadowed by them
	s.listener.allChanged(s)
}

// shadowed reports whether a source of Traefik's old API group also exists in the new
// one: during a migration Traefik has one object in both.
func (s *session) shadowed(id sourceID) bool {
	twin, ok := kindOf(traefik.GroupVersion.WithKind(sources[id.kind].gvk.Kind))
	return ok && sources[id.kind].gvk.GroupVersion() == traefik.ContainousGroupVersion && s.get(twin, id.Namespace, id.Name) != nil
}

// dependents returns the sources whose claims depend on another source: its descendants,
// and the object of the same name in Traefik's old API group.
func (s *session) dependents(id sourceID) []sourceID {
	k := sources[id.kind]
	if k.gvk.GroupVersion() != traefik.GroupVersion {
		return nil
	}
	var dependents []sourceID
	if k.gvk.Kind == source.KindIngressRoute {
		dependents = s.names.within(id.NamespacedName)
	}
	twin := sourceID{kindIndex(traefik.ContainousGroupVersion.WithKind(k.gvk.Kind)), id.NamespacedName}
	if s.readings.has(twin) || s.get(sources[twin.kind], id.Namespace, id.Name) != nil {
		dependents = append(dependents, twin)
	}
	return dependents
}
