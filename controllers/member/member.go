package member

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/jovalle/usher/api/v1alpha1/reason"
)

// How a member is monitored. An API server that stops answering is noticed after at
// most probeEvery + probeTimeout + probeAgain + probeTimeout = 17 s. A CRD that is
// created or deleted is noticed after probeEvery, by discovery: that takes a few small
// requests, and no permission to watch CRDs.
const (
	probeEvery   = 5 * time.Second
	probeAgain   = 2 * time.Second // after a first failure
	syncPoll     = 20 * time.Millisecond
	retryFirst   = 250 * time.Millisecond
	retryCap     = 3 * time.Second  // so that changes during an outage are read within 10 s after it
	largeFirst   = 10 * time.Second // after a member has sent too much: reading it takes CPU time from the others
	largeCap     = 5 * time.Minute
	keptRefusals = 10 // the maximum in MemberCluster's status
)

// member is one member cluster. At most one of its sessions serves, and at most one is
// not in sync yet.
type member struct {
	name string
	set  *Set
	log  logr.Logger

	life   sync.Mutex         // held while the loop is started or ended
	cancel context.CancelFunc // ends the loop; nil while there is none
	done   chan struct{}      // closed when the loop has ended
	config Config             // that the next loop uses

	mu      sync.Mutex
	ruled   Rules
	state   State
	serving *session // nil until the member was first in sync
	making  *session // not in sync yet; nil while there is none
	failed  bool     // the member could not be reached or read at least once

	notifyLimit *rate.Limiter // of notifications
	delayed     *time.Timer   // of a delayed notification; nil while there is none
	connectedAt time.Time     // when Connected last changed
	syncedAt    time.Time     // when Synced last changed
}

// loop keeps the member connected until ctx ends. The serving session stays open.
func (m *member) loop(ctx context.Context, config Config) {
	defer close(m.done)
	backoff := wait.Backoff{Duration: retryFirst, Factor: 2, Jitter: 0.5, Steps: 6, Cap: retryCap}
	retry := backoff
	large := wait.Backoff{Duration: largeFirst, Factor: 2, Jitter: 0.5, Steps: 6, Cap: largeCap}
	for ctx.Err() == nil {
		s, err := m.connect(ctx, config)
		if err == nil {
			m.serve(s)
			retry = backoff
			err = m.monitor(ctx, s)
		}
		if ctx.Err() != nil {
			return
		}
		m.disconnected(err)
		if errors.Is(err, errTooLarge) {
			sleep(ctx, large.Step())
		} else {
			sleep(ctx, retry.Step())
		}
	}
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// connect returns a session that is in sync.
func (m *member) connect(ctx context.Context, config Config) (*session, error) {
	s, err := newSession(config, m.set.Limits, m)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.making = s
	if before := m.serving; before != nil && before.config.Origin == config.Origin {
		s.traefikKinds = before.knownKinds()             // used until discovery succeeds
		s.unread.set(slices.Clone(before.unread.list())) // until they are listed again
	}
	if before := m.serving; before != nil && before.routers != nil && s.routers != nil {
		s.routers.seen = before.routers.copySeen()
	}
	m.mu.Unlock()
	s.start(m.set.ctx)
	if err := m.sync(ctx, s); err != nil {
		m.mu.Lock()
		m.making = nil
		m.mu.Unlock()
		s.close()
		return nil, err
	}
	return s, nil
}

// sync connects to the API server and waits until all watched objects are read. It has
// no timeout of its own, since a large cluster takes long: it fails only when the API
// server stops answering or sends too much.
func (m *member) sync(ctx context.Context, s *session) error {
	if s.routers != nil {
		return ofTraefik(m.syncRouters(ctx, s))
	}
	version, err := s.probe(ctx)
	if err != nil {
		return err
	}
	served, err := s.served(ctx)
	if err != nil {
		return err
	}
	m.connected(version)
	s.learnKinds(ctx, served)
	if _, err := s.follow(ctx, served); err != nil {
		return err
	}
	poll, probe := time.NewTicker(syncPoll), time.NewTicker(probeEvery)
	defer poll.Stop()
	defer probe.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.exceeded:
			return s.tooLarge
		case <-probe.C:
			if _, err := s.probe(ctx); err != nil {
				return err
			}
		case <-poll.C:
			if s.synced() {
				return nil
			}
			m.syncing(s.problem(0))
			if s.problem(lasting) != nil && m.fail() {
				m.set.MemberChanged(m.name)
				m.notify()
			}
		}
	}
}

// monitor probes the session's API server until a probe fails twice or the member sends
// too much, and returns the error. It also returns when ctx ends.
func (m *member) monitor(ctx context.Context, s *session) error {
	if s.routers != nil {
		return ofTraefik(m.followRouters(ctx, s))
	}
	for {
		if err := s.waitUnlessExceeded(ctx, probeEvery); err != nil {
			return err
		}
		version, err := s.probe(ctx)
		if err != nil {
			sleep(ctx, probeAgain)
			if version, err = s.probe(ctx); err != nil {
				return err
			}
		}
		m.connected(version)
		served, err := s.served(ctx)
		if err != nil {
			m.followed(s, err)
			continue // the API server is not ready yet, or the next probe fails too
		}
		s.learnKinds(ctx, served)
		started, err := s.follow(ctx, served)
		if err != nil {
			return err
		}
		s.notifyWhenRead(started)
		m.followed(s, s.problem(lasting))
	}
}

// serve replaces the serving session with s, which is in sync.
func (m *member) serve(s *session) {
	m.mu.Lock()
	before := m.serving
	m.serving, m.making = s, nil
	m.state.Synced = s.inSync()
	m.state.SyncedAt = time.Now()
	m.mu.Unlock()
	close(s.serves)
	m.log.Info("Member is in sync")
	if before != nil {
		before.close()
	}
	m.set.changedAll(m.name)
}

// connected records that the API server answered.
func (m *member) connected(version string) {
	m.update(func(state *State) {
		state.Connected = Condition{True: true, Reason: reason.Connected, Message: "the API server answers"}
		state.Version = version
	})
}

// followed records the kinds that the serving session watches, or why it cannot watch one.
func (m *member) followed(s *session, problem error) {
	m.update(func(state *State) {
		state.Synced = s.inSync()
		if problem != nil {
			state.Synced = failure(problem)
		}
	})
}

// syncing records that the first read is in progress, or why it cannot finish. While an
// older session is in sync and still serves, only a problem changes the state.
func (m *member) syncing(problem error) {
	m.update(func(state *State) {
		switch {
		case problem != nil:
			state.Synced = failure(problem)
		case !state.Synced.True:
			state.Synced = Condition{Reason: reason.Syncing, Message: "the cluster's sources are being read"}
		}
	})
}

// disconnected records that the API server could not be reached or read.
func (m *member) disconnected(err error) {
	if m.fail() {
		defer m.set.MemberChanged(m.name)
	}
	m.update(func(state *State) {
		if state.Connected.True && errors.Is(err, errTooLarge) {
			state.Synced = failure(err)
			return
		}
		state.Connected = failure(err)
		if m.serving != nil {
			state.Synced = Condition{Reason: reason.Stale, Message: "the cluster is unreachable; its hosts stay as they were"}
		} else {
			state.Synced = Condition{Reason: reason.Connecting, Message: "the cluster has not been reached yet; no host of it is withdrawn"}
		}
	})
}

// fail records that the member has failed, and reports whether that settles what is known
// about it until it is read.
func (m *member) fail() (settles bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	settles = !m.failed && m.serving == nil
	m.failed = true
	return settles
}

// update changes the state, and notifies if it differs from before.
func (m *member) update(change func(*State)) {
	m.mu.Lock()
	before := m.state
	change(&m.state)
	m.state.Connected = m.steady(before.Connected, m.state.Connected, &m.connectedAt)
	m.state.Synced = m.steady(before.Synced, m.state.Synced, &m.syncedAt)
	differs := before.Connected != m.state.Connected || before.Synced != m.state.Synced || before.Version != m.state.Version
	now := m.state
	m.mu.Unlock()
	if !differs {
		return
	}
	if before.Connected.Reason != now.Connected.Reason {
		m.log.Info("Member's connection changed", "reason", now.Connected.Reason, "detail", now.Connected.Message)
	}
	m.notify()
}

// session returns the serving session; nil before there is one.
func (m *member) session() *session {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.serving
}

// rules implements listener.
func (m *member) rules() Rules {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ruled
}

// hostsChanged implements listener. It ignores a session that does not serve yet: serve
// reports all hosts of it at once.
func (m *member) hostsChanged(s *session, hosts []string) {
	if len(hosts) > 0 && m.session() == s {
		m.set.HostsChanged(m.name, hosts)
	}
}

// allChanged implements listener.
func (m *member) allChanged(s *session) {
	if m.session() == s {
		m.set.changedAll(m.name)
	}
}

// stateChanged implements listener.
func (m *member) stateChanged(s *session) {
	if m.session() == s {
		m.notify()
	}
}

// snapshot returns the member's current state.
func (m *member) snapshot() State {
	m.mu.Lock()
	state, s := m.state, m.serving
	m.mu.Unlock()
	if s == nil {
		return state
	}
	state.Origin = s.config.Origin
	if !s.config.ServiceOptional {
		state.Service, state.ServiceRead, state.Addresses = s.config.Service, s.reads(serviceKind), s.addresses()
	}
	state.Traefik = s.traefik()
	state.HTTPSEntryPoints, state.HTTPEntryPoints = s.entryPoints()
	state.Gateways = s.ownGateways()
	state.Ports = s.tlsPorts()
	state.Refusals = refusalsWith(s.refusals(), s.unread.list())
	state.Unannotated = s.marks.list(m.name)
	return state
}

// launch starts the member's loop, unless it already runs.
func (m *member) launch(ctx context.Context) {
	m.life.Lock()
	defer m.life.Unlock()
	if m.cancel != nil {
		return
	}
	ctx, m.cancel = context.WithCancel(ctx)
	m.done = make(chan struct{})
	go m.loop(ctx, m.config)
}

// end stops the member's loop and waits for it. The serving session stays open.
func (m *member) end() {
	m.life.Lock()
	defer m.life.Unlock()
	m.endLocked()
}

// endLocked is end for a caller that holds m.life.
func (m *member) endLocked() {
	if m.cancel != nil {
		m.cancel()
		<-m.done
		m.cancel = nil
	}
}

// endInsecure stops the loop and the serving session's connection if their kubeconfig
// has weaknesses, and reports whether it did.
func (m *member) endInsecure() bool {
	m.life.Lock()
	defer m.life.Unlock()
	if m.cancel == nil || len(m.config.Weaknesses) == 0 {
		return false
	}
	m.endLocked()
	if s := m.session(); s != nil {
		s.stop()
	}
	m.disconnected(errors.New("its kubeconfig is not allowed"))
	return true
}

// reconfigure stops the loop if config connects differently. launch then starts it with
// the new config.
func (m *member) reconfigure(config Config) {
	m.life.Lock()
	defer m.life.Unlock()
	if !m.config.same(config) {
		m.endLocked()
		m.config = config
	}
}

// setRules sets the rules of the MemberCluster for its sources. If they have changed,
// the sessions read all sources again.
func (m *member) setRules(rules Rules) {
	m.mu.Lock()
	same := reflect.DeepEqual(m.ruled, rules)
	m.ruled = rules
	sessions := []*session{m.serving, m.making}
	m.mu.Unlock()
	for _, s := range sessions {
		if s != nil && !same {
			s.gateways.changed()
			s.reader.readAgain(s.all())
		}
	}
}
