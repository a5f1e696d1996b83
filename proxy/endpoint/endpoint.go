// Package endpoint remembers which addresses of backends do not answer, so that no
// later connection waits for them. The TLS and the plain HTTP listeners share one
// Memory.
//
// A failing address is dialled after the others for a while, which doubles with each
// further failure. After it, one connection dials the address in its place again. An
// address that has answered is not remembered, so that the memory is empty while all is
// well. An address that fails its health check is dialled after the others until it passes
// the check again. One that returns after several failures gets a growing part of its
// connections: see Memory.Part.
//
// Connections counts the connections to addresses, for the strategy that needs them.
//
// It must not import Kubernetes, nor anything else of usher.
package endpoint

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// AttemptDelay is how long a dial may take before the next address is dialled beside
// it: the Connection Attempt Delay of RFC 8305, section 5.
const AttemptDelay = 250 * time.Millisecond

// MaxResolved bounds the addresses of a name that are used, because each client can make
// usher dial all of them. It is the maximum of a MemberCluster's addresses.
const MaxResolved = 16

const (
	// firstPause is how long an address that has failed once is dialled after the
	// others. It is short, because one lost SYN, or a backend that restarts, looks the
	// same as a machine that is off.
	firstPause = time.Second

	// maxPause bounds the growth: an address that answers again is noticed after at
	// most this time, and a dead one delays one connection in this time.
	maxPause = time.Minute

	// jitter is the divisor of the part of a pause that is random. Without it, the
	// addresses of a cluster that failed at once would all be tried at once, by every
	// replica.
	jitter = 4

	// forgetAfter is how long a failing address is remembered that no connection
	// dials: its route or its DNS record may have changed.
	forgetAfter = 10 * time.Minute

	// maxPerCluster bounds the addresses that are remembered for one cluster: 16
	// names, which is the maximum of a MemberCluster, with MaxResolved addresses each.
	maxPerCluster = 256
)

// Endpoint is an address of a cluster. What is remembered of one cluster's addresses
// never affects another cluster, even if it has the same address: a member could
// otherwise make the addresses of others look dead.
type Endpoint struct {
	Cluster string // empty for an address that is configured at the edge
	Addr    netip.AddrPort
}

// Of returns the endpoint of an address; an IPv4-mapped IPv6 address counts as IPv4.
func Of(cluster string, addr netip.AddrPort) Endpoint {
	return Endpoint{cluster, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())}
}

// Standing says when an address should be dialled.
type Standing uint8

const (
	// Good means in its place: it is not known to fail.
	Good Standing = iota
	// Due means in its place, because its pause is over. Only one caller gets this. It
	// must call Answered, Failed or Returned.
	Due
	// Failing means after the others.
	Failing
)

// Memory holds the addresses that have failed. Its methods may be called from any
// goroutine. While no address fails, they read one atomic value.
type Memory struct {
	started time.Time
	marks   atomic.Pointer[map[Endpoint]*mark] // replaced when it changes
	mu      sync.Mutex                         // held while marks is replaced, for mark.failures, and while returned is replaced

	returned atomic.Pointer[map[Endpoint]int64] // address → Memory time at which it has returned; replaced when it changes
}

// mark is what is remembered of one address.
type mark struct {
	failures int
	due      atomic.Int64 // Memory time at which the pause is over
	down     atomic.Bool  // it fails its health check
}

// NewMemory returns an empty memory.
func NewMemory() *Memory {
	m := &Memory{started: time.Now()}
	m.marks.Store(&map[Endpoint]*mark{})
	m.returned.Store(&map[Endpoint]int64{})
	return m
}

// now returns the Memory time: nanoseconds since NewMemory.
func (m *Memory) now() int64 { return int64(time.Since(m.started)) }

// Standing returns when e should be dialled.
func (m *Memory) Standing(e Endpoint) Standing {
	marks := *m.marks.Load()
	if len(marks) == 0 {
		return Good
	}
	known := marks[e]
	if known == nil {
		return Good
	}
	if known.down.Load() {
		return Failing
	}
	now, due := m.now(), known.due.Load()
	// The caller that gets Due postpones it. If its result is lost, another caller
	// gets Due after maxPause.
	if now >= due && known.due.CompareAndSwap(due, now+int64(maxPause)) {
		return Due
	}
	return Failing
}

// Answered records that e has accepted a connection. If it fails its health check, that
// remains.
func (m *Memory) Answered(e Endpoint) {
	if marks := *m.marks.Load(); len(marks) == 0 || marks[e] == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	known := (*m.marks.Load())[e]
	switch {
	case known == nil:
	case known.down.Load():
		known.failures = 0
	default:
		if known.failures >= slowStartFailures {
			m.returns(e)
		}
		m.replace(func(marks map[Endpoint]*mark) { delete(marks, e) })
	}
}

// Failed records that e could not be dialled, or has not answered within AttemptDelay
// while there were others. wasDue means that its Standing was Due. Of the failures of
// several connections at the same time only the first counts.
func (m *Memory) Failed(e Endpoint, wasDue bool) {
	known := (*m.marks.Load())[e]
	if known != nil && !wasDue && m.now() < known.due.Load() {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	known = (*m.marks.Load())[e]
	switch {
	case known == nil || known.forgotten(now):
		m.add(e, now)
	case wasDue || now >= known.due.Load():
		known.failures++
		known.due.Store(now + pause(known.failures))
	}
}

// Returned records that the caller to which Standing has returned Due has no result: the
// next caller gets Due.
func (m *Memory) Returned(e Endpoint) {
	if known := (*m.marks.Load())[e]; known != nil {
		known.due.Store(m.now())
	}
}

// Failing returns how many addresses of each cluster could not be dialled, or fail their
// health check, and have not answered since: cluster → number.
func (m *Memory) Failing() map[string]int {
	now, failing := m.now(), make(map[string]int)
	for e, known := range *m.marks.Load() {
		if !known.forgotten(now) {
			failing[e.Cluster]++
		}
	}
	return failing
}

// add adds an address that has failed for the first time. If maxPerCluster are known of
// the cluster, it replaces the one whose pause has been over for longest, since no
// connection dials that one any longer. If the pause of none is over, the new one is not
// remembered. The caller holds mu.
func (m *Memory) add(e Endpoint, now int64) {
	known, idle := 0, Endpoint{}
	first := now
	for other, mark := range *m.marks.Load() {
		if other.Cluster != e.Cluster || other == e || mark.down.Load() || mark.forgotten(now) {
			continue
		}
		known++
		if due := mark.due.Load(); due < first {
			idle, first = other, due
		}
	}
	if known >= maxPerCluster && first == now {
		return
	}
	m.replace(func(marks map[Endpoint]*mark) {
		maps.DeleteFunc(marks, func(_ Endpoint, mark *mark) bool { return mark.forgotten(now) })
		if known >= maxPerCluster {
			delete(marks, idle)
		}
		added := &mark{failures: 1}
		added.due.Store(now + pause(1))
		marks[e] = added
	})
}

// replace replaces the marks by a copy that change has changed. The caller holds mu.
func (m *Memory) replace(change func(marks map[Endpoint]*mark)) {
	marks := maps.Clone(*m.marks.Load())
	change(marks)
	m.marks.Store(&marks)
}

// forgotten reports whether no connection has dialled the address for forgetAfter, and it
// does not fail its health check.
func (k *mark) forgotten(now int64) bool {
	return !k.down.Load() && now >= k.due.Load()+int64(forgetAfter)
}

// pause returns how long an address is dialled after the others when it has failed so
// often in a row, in nanoseconds.
func pause(failures int) int64 {
	longest := maxPause
	if doublings := failures - 1; doublings < maxDoublings {
		longest = firstPause << doublings
	}
	return int64(longest - rand.N(longest/jitter)) //nolint:gosec // it only spreads the tries
}

// maxDoublings is how often firstPause doubles until it exceeds maxPause.
const maxDoublings = 6
