package member

import (
	"slices"
	"sync"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// changesInARow is how many changed objects are read before one is read again that
// has not changed itself: neither kind of work holds up the other for ever.
const changesInARow = 8

// reader reads a session's sources: each once a version of itself and of what it
// refers to, one after another in one goroutine, so that a member with large rules
// delays itself and no other.
type reader struct {
	session *session
	wake    chan struct{} // holds one while there may be work

	mu      sync.Mutex
	changes map[sourceID]*change // objects that have changed since they were last read
	order   []sourceID           // of changes, the first to change first
	inARow  int                  // changes that were read since one of again was
	stale   map[sourceID]bool    // objects that are to be read again for the sake of others → true
	again   []sourceID           // of stale, in the order in which they came
	added   int                  // how many were ever added to again
	reread  int                  // how many were ever taken from it
	whole   map[int]bool         // kinds whose annotated objects are all to be read again → true
	gone    map[int]bool         // kinds that the cluster serves no more → true
	unread  map[int]int          // kind → changes told by its first list that have not been read
}

// change is what has become of an object since it was last read.
type change struct {
	before, after client.Object // nil: it was not there, it is gone
	first         int           // how many of the changes a first list told
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
		stale := r.stale[id] // else it was read since, for a change of its own
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
		r.order, r.again = nil, nil // what they hold on to may be large
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
		return true // its kind has gone
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

// changed has an object read that has changed. A first list told it, or not.
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

// readAgain has objects read again that have not changed themselves.
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

// readKindsAgain has all annotated objects of some kinds read again.
func (r *reader) readKindsAgain(kinds ...int) {
	r.mu.Lock()
	for _, kind := range kinds {
		r.whole[kind] = true
	}
	r.mu.Unlock()
	r.signal()
}

// forget has all that was read of a kind forgotten.
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

// hasRead reports whether all objects of a kind have been read that its first list held.
func (r *reader) hasRead(kind int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unread[kind] == 0
}

// backlog returns how many objects were ever to be read again, and how many of them
// have been. While kinds are to be read as a whole it cannot be told: ok is false.
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

// readChange reads an object that has changed, and tells which hosts that touches.
func (s *session) readChange(id sourceID, c *change) {
	k := sources[id.kind]
	if !s.follows(k) {
		return // it came late: what was read of its kind is forgotten
	}
	var touched []string
	name := func() {
		before := s.names.size()
		if names := s.names.replace(k, c.before, c.after); c.first == 0 {
			touched = append(touched, s.names.touched(names)...)
			touched = append(touched, s.markedOtherwise(k, c.before, c.after)...)
		}
		_ = s.holdings.grow(s.names.size() - before) // too much ends the session
	}
	// An object that claims a host must not seem for a moment to name it only: that
	// could refuse the host.
	if c.after == nil {
		name()
	}
	touched = append(touched, s.read(id, c.after)...)
	if c.after != nil {
		name()
	}
	s.reader.readAgain(s.dependents(id))
	s.listener.hostsChanged(s, touched)
}

// reread reads an object again that has not changed itself.
func (s *session) reread(id sourceID) {
	s.listener.hostsChanged(s, s.read(id, s.get(sources[id.kind], id.Namespace, id.Name)))
}

// read makes the reading of an object, which may be nil, and returns the hosts on
// which that changes the claims.
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

// reading returns what an object claims, or why it may have been meant to; nil for
// neither.
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

// keptOf returns the refusals that are kept of one object: a handful, and together
// about as long as one may be.
func keptOf(refusals []source.Refusal) []source.Refusal {
	length := 0
	for i, refusal := range refusals {
		if length += len(refusal.Message); i > 0 && (length > message.Max || i == keptRefusals) {
			return slices.Clone(refusals[:i])
		}
	}
	return slices.Clip(refusals)
}

// forget drops all that was read of a kind, which the cluster serves no more.
func (s *session) forget(kind int) {
	before := s.names.size()
	s.names.forget(sources[kind])
	s.marks.forget(kind)
	_ = s.holdings.grow(s.readings.forget(kind) + s.names.size() - before)
	s.reader.readAgain(s.readings.ids()) // what referred to its objects, or was shadowed by them
	s.listener.allChanged(s)
}

// shadowed reports whether a source of Traefik's old API group has a twin in the
// new one: Traefik has one object in both while it is migrated.
func (s *session) shadowed(id sourceID) bool {
	twin, ok := kindOf(traefik.GroupVersion.WithKind(sources[id.kind].gvk.Kind))
	return ok && sources[id.kind].gvk.GroupVersion() == traefik.ContainousGroupVersion && s.get(twin, id.Namespace, id.Name) != nil
}

// dependents returns the sources whose claims rest on another source: the routes
// within it, and its twin in Traefik's old API group.
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
