package member

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
)

// Set holds the members by name. Its fields are set before Start and not
// changed after; its methods may be called at any time, before Start too.
type Set struct {
	// Log gets the changes of the members' connections.
	Log logr.Logger
	// Limits of each member.
	Limits Limits
	// HostsChanged is called with a member and the hosts on which its claims may have
	// changed. A host may be in the list twice.
	HostsChanged func(name string, hosts []string)
	// MemberChanged is called when any claim of a member may have changed.
	MemberChanged func(name string)
	// StateChanged is called when a member's State has changed.
	StateChanged func(name string)

	mu      sync.Mutex
	began   time.Time          // when Start was called; zero before
	ctx     context.Context    // of all sessions; nil before Start
	members map[string]*member // name → member
}

// NewSet returns an empty Set.
func NewSet(log logr.Logger) *Set {
	return &Set{Log: log, members: map[string]*member{}}
}

// Start keeps the members connected until ctx ends, then disconnects all of them. It
// implements controller-runtime's Runnable, and runs on the elected leader.
func (s *Set) Start(ctx context.Context) error {
	sessions, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s.mu.Lock()
	s.ctx, s.began = sessions, time.Now()
	members := slices.Collect(maps.Values(s.members))
	s.mu.Unlock()
	for _, m := range members {
		m.launch(sessions)
	}
	<-ctx.Done()
	for _, name := range s.Names() {
		s.Remove(name)
	}
	return nil
}

// Ensure connects a member, or reconnects it if config has changed. It does not wait
// for the connection. Rules take effect at once. Calls for one member must not overlap.
func (s *Set) Ensure(config Config, rules Rules) {
	s.mu.Lock()
	ctx := s.ctx
	m, known := s.members[config.Name]
	if !known {
		m = &member{name: config.Name, set: s, log: s.Log.WithValues("member", config.Name), config: config, ruled: rules, notifyLimit: newNotifyLimit()}
		s.members[config.Name] = m
	}
	s.mu.Unlock()
	if known {
		m.setRules(rules)
		m.reconfigure(config)
	}
	if ctx != nil {
		m.launch(ctx)
	}
}

// EndInsecure closes a member's connection if its kubeconfig has Weaknesses. The claims
// that were read stay in use until Ensure has reconnected the member.
func (s *Set) EndInsecure(name string) {
	if m := s.member(name); m != nil && m.endInsecure() {
		m.log.Info("Closed the connection: its kubeconfig is insecure, which is no longer allowed")
	}
}

// Remove disconnects a member and removes its claims.
func (s *Set) Remove(name string) {
	s.mu.Lock()
	m, ok := s.members[name]
	delete(s.members, name)
	s.mu.Unlock()
	if !ok {
		return
	}
	m.end()
	m.stopNotifying()
	if m.serving != nil {
		m.serving.close()
	}
}

// Names returns the members' names, sorted.
func (s *Set) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.members))
}

// State returns what is known of a member.
func (s *Set) State(name string) (State, bool) {
	m := s.member(name)
	if m == nil {
		return State{}, false
	}
	return m.snapshot(), true
}

// Synced reports whether a member is in sync now; it is false during an outage.
func (s *Set) Synced(name string) bool {
	m := s.member(name)
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Synced.True
}

// Denied reports whether a member's account may not read the kind of one of the objects,
// so that nothing is known about the object.
func (s *Set) Denied(name string, refs []v1alpha1.SourceRef) bool {
	m := s.member(name)
	if m == nil {
		return false
	}
	session := m.session()
	if session == nil {
		return false
	}
	denied, _ := session.deniedKinds()
	return len(denied) > 0 && slices.ContainsFunc(refs, func(ref v1alpha1.SourceRef) bool {
		return ref.Cluster == name && slices.Contains(denied, ref.Kind)
	})
}

// Claims returns the claims on a host of all members that have been in sync, and the
// names of those members. The claims of the other members are unknown.
func (s *Set) Claims(host string) (claims []source.Claim, known []string) {
	for _, name := range s.Names() {
		m := s.member(name)
		if m == nil {
			continue
		}
		if session := m.session(); session != nil {
			claims = append(claims, session.claims(host)...)
			known = append(known, name)
		}
	}
	return claims, known
}

// Hosts returns the hosts that a member claims, sorted and without duplicates. There
// are none until the member was in sync.
func (s *Set) Hosts(name string) []string {
	m := s.member(name)
	if m == nil {
		return nil
	}
	session := m.session()
	if session == nil {
		return nil
	}
	return session.hosts()
}

// Serving returns the members that serve a host although they do not publish it: their
// objects name it, and none of those with the annotation does. It takes a host in canonical
// form and ignores wildcards.
func (s *Set) Serving(host string) []string {
	var serving []string
	for _, name := range s.Names() {
		m := s.member(name)
		if m == nil {
			continue
		}
		if session := m.session(); session != nil && len(session.names.naming(host)) > 0 && len(session.claims(host)) == 0 {
			serving = append(serving, name)
		}
	}
	return serving
}

// Private returns no more than most hosts, chosen at random, that objects of a member name and
// none publishes: names under which its ingress may answer, and which are not meant to be
// reached. One that begins with "*." stands for all names under it.
func (s *Set) Private(name string, most int) []string {
	m := s.member(name)
	if m == nil {
		return nil
	}
	session := m.session()
	if session == nil {
		return nil
	}
	var private []string
	for _, host := range session.names.some(maxLooked) {
		if len(private) == most {
			break
		}
		if len(session.claims(host)) == 0 {
			private = append(private, host)
		}
	}
	return private
}

// maxLooked is how many of a member's names are looked at to find private ones.
const maxLooked = 256

// Under returns the hosts that a wildcard covers and any member claims, sorted and
// without duplicates.
func (s *Set) Under(wildcard string) []string {
	var hosts []string
	for _, name := range s.Names() {
		m := s.member(name)
		if m == nil {
			continue
		}
		if session := m.session(); session != nil {
			hosts = append(hosts, session.readings.claimedUnder(wildcard)...)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

func (s *Set) member(name string) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members[name]
}

// changedAll reports that any claim and the state of a member may have changed.
func (s *Set) changedAll(name string) {
	s.MemberChanged(name)
	if m := s.member(name); m != nil {
		m.notify()
	}
}
