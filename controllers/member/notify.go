package member

import (
	"time"

	"golang.org/x/time/rate"
)

const (
	// settleWithin is how long after the start it may be unknown whether a member
	// can be reached: until then what its objects' statuses say stays.
	settleWithin = 30 * time.Second
	// detailEvery is how often the detail of a failure changes that stays the same
	// failure: a member must not have a status written at each attempt.
	detailEvery = time.Minute
	// lasting is how long a kind must fail to be listed or watched before a member
	// that was in sync is said not to be.
	lasting = probeEvery
)

// A member's status is written so often at once, and in the long run: whatever the
// member does, its Service's address included.
const (
	notifyBurst = 20
	notifyEvery = 15 * time.Second
)

// budget is how often a member's state may be told.
func newNotifyLimit() *rate.Limiter { return rate.NewLimiter(rate.Every(notifyEvery), notifyBurst) }

// tell says that the member's state has changed, later where it does so too often.
func (m *member) notify() {
	m.mu.Lock()
	if m.delayed != nil {
		m.mu.Unlock()
		return // what is new by then is told with it
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

// silence ends what tell has begun.
func (m *member) stopNotifying() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.delayed != nil {
		m.delayed.Stop()
	}
}

// steady returns what a condition becomes: of a failure that is the same the detail
// changes only so often.
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

// settled reports whether it is known if the member can be reached.
func (m *member) settled() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.serving != nil || m.failed
}

// Pending returns how long it may still take until it is known whether a member can
// be reached, and 0 once that is known. Until then nothing is known of it but what
// was written before.
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
