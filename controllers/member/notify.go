package member

import (
	"time"

	"golang.org/x/time/rate"
)

const (
	// settleWithin is how long after the start it may be unknown whether a member can
	// be read. Until then the statuses of its objects are left unchanged.
	settleWithin = 30 * time.Second
	// detailEvery is the shortest interval between two messages of a condition whose
	// reason stays the same: a member must not cause a status write at each attempt.
	detailEvery = time.Minute
	// lasting is how long listing or watching a kind must fail before a member that
	// was in sync is reported as out of sync, or one that was not read yet as failed.
	lasting = probeEvery
)

// The rate of a member's status writes: a burst of notifyBurst, then one for each
// notifyEvery. It bounds what a member can cause, such as by changing its Service's
// address.
const (
	notifyBurst = 20
	notifyEvery = 15 * time.Second
)

// newNotifyLimit returns the rate limit on the notifications of one member.
func newNotifyLimit() *rate.Limiter { return rate.NewLimiter(rate.Every(notifyEvery), notifyBurst) }

// notify reports that the member's state has changed. Beyond the rate limit it reports
// later.
func (m *member) notify() {
	m.mu.Lock()
	if m.delayed != nil {
		m.mu.Unlock()
		return // the delayed notification covers this change too
	}
	wait := m.notifyLimit.Reserve().Delay()
	if wait > 0 {
		m.delayed = time.AfterFunc(wait, m.notifyNow)
	}
	m.mu.Unlock()
	if wait == 0 {
		m.set.StateChanged(m.name)
	}
}

func (m *member) notifyNow() {
	m.mu.Lock()
	m.delayed = nil
	m.mu.Unlock()
	m.set.StateChanged(m.name)
}

// stopNotifying cancels a delayed notification.
func (m *member) stopNotifying() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.delayed != nil {
		m.delayed.Stop()
	}
}

// steady returns now, or before if both have the same failure and the message changed
// less than detailEvery ago.
func (m *member) steady(before, now Condition, changedAt *time.Time) Condition {
	same := before.True == now.True && before.Reason == now.Reason
	if same && !now.True && time.Since(*changedAt) < detailEvery {
		return before
	}
	if before != now {
		*changedAt = time.Now()
	}
	return now
}

// settled reports whether the member was read, or has failed at least once: its API
// server did not answer, or refused to list a kind for longer than lasting.
func (m *member) settled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.serving != nil || m.failed
}

// Pending returns how long it may still take until it is known whether a member can
// be reached; 0 once that is known. Until then the only facts about the member are
// those in the statuses that an earlier leader wrote.
func (s *Set) Pending(name string) time.Duration {
	s.mu.Lock()
	m, began := s.members[name], s.began
	s.mu.Unlock()
	switch {
	case m != nil && m.settled():
		return 0
	case began.IsZero():
		return settleWithin
	}
	return max(0, settleWithin-time.Since(began))
}
