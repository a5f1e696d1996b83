package endpoint

import (
	"maps"
	"net/netip"
	"time"
)

const (
	// slowStart is how long an address that has returned gets less than its weight.
	slowStart = 30 * time.Second

	// slowStartFailures is how often in a row an address must have failed for that. One
	// failure is a lost SYN.
	slowStartFailures = 2

	// firstPart is the part of its weight that an address gets when it returns.
	firstPart = 0.05
)

// Down records that an address fails its health check: its Standing is Failing until Up or
// Unchecked. The caller bounds how many these are; they do not count towards the bound on
// the addresses of a cluster.
func (m *Memory) Down(e Endpoint) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := (*m.marks.Load())[e]; known != nil {
		known.down.Store(true)
		return
	}
	m.replace(func(marks map[Endpoint]*mark) {
		added := &mark{}
		added.due.Store(m.now())
		added.down.Store(true)
		marks[e] = added
	})
}

// Up records that an address for which Down was called passes its health check again. It
// is dialled in its place, with a slow start.
func (m *Memory) Up(e Endpoint) { m.undo(e, true) }

// Unchecked records that an address for which Down was called is no longer checked.
func (m *Memory) Unchecked(e Endpoint) { m.undo(e, false) }

func (m *Memory) undo(e Endpoint, healthy bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := (*m.marks.Load())[e]
	if known == nil || !known.down.Load() {
		return
	}
	if healthy {
		m.returns(e)
	}
	m.replace(func(marks map[Endpoint]*mark) { delete(marks, e) })
}

// returns begins the slow start of an address. If maxPerCluster of its cluster have one,
// it gets none. The caller holds mu.
func (m *Memory) returns(e Endpoint) {
	now, known := m.now(), 0
	returned := maps.Clone(*m.returned.Load())
	for other, since := range returned {
		switch {
		case now-since >= int64(slowStart):
			delete(returned, other)
		case other.Cluster == e.Cluster:
			known++
		}
	}
	if known < maxPerCluster {
		returned[e] = now
	}
	m.returned.Store(&returned)
}

// Part returns the part of its weight that an address gets now: more than 0, at most 1. It
// is 1, except during the 30 s after an address has returned, in which it grows evenly.
// While no address has returned, it reads one atomic value.
func (m *Memory) Part(e Endpoint) float64 {
	returned := *m.returned.Load()
	if len(returned) == 0 {
		return 1
	}
	since, found := returned[e]
	if !found {
		return 1
	}
	elapsed := time.Duration(m.now() - since)
	if elapsed >= slowStart {
		m.forgetReturned()
		return 1
	}
	return max(elapsed.Seconds()/slowStart.Seconds(), firstPart)
}

// PartOf is Part for an address of a backend; a name has always 1. It does not allocate.
func (m *Memory) PartOf(cluster, address string, port uint16) float64 {
	if !m.returning() {
		return 1
	}
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return 1
	}
	return m.Part(Of(cluster, netip.AddrPortFrom(addr, port)))
}

// returning reports whether an address may be in its slow start.
func (m *Memory) returning() bool { return len(*m.returned.Load()) > 0 }

// forgetReturned forgets the addresses whose slow start is over.
func (m *Memory) forgetReturned() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, returned := m.now(), maps.Clone(*m.returned.Load())
	maps.DeleteFunc(returned, func(_ Endpoint, since int64) bool { return now-since >= int64(slowStart) })
	m.returned.Store(&returned)
}
