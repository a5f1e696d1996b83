package statuspage

import (
	"context"
	"time"

	"github.com/jovalle/usher/controllers/explain"
	"github.com/jovalle/usher/controllers/message"
)

const (
	// explainEvery is the shortest time between two explanations of a host: each dials its
	// backends.
	explainEvery = 30 * time.Second
	// explainTimeout bounds one explanation, and the wait for it.
	explainTimeout = 3 * time.Second
	// maxExplaining is how many explanations are made at a time.
	maxExplaining = 4
)

// explained is an explanation, or why there is none.
type explained struct {
	at      time.Time
	changes uint64 // of the objects before it was made
	value   *explain.Explanation
	problem string
}

// explain returns the explanation of a host. It is made again if it is old, or if an object
// has changed since and a second has passed.
func (s *Server) explain(ctx context.Context, host string, now time.Time) explained {
	changes := s.changes()
	s.mu.Lock()
	known := s.explanations[host]
	s.mu.Unlock()
	age := now.Sub(known.at)
	if age < sampleEvery || age < explainEvery && known.changes == changes {
		return known
	}
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	select {
	case s.explaining <- struct{}{}:
		defer func() { <-s.explaining }()
	case <-ctx.Done():
		known.problem = "other pages are being made"
		return known
	}
	made := explained{at: now, changes: changes}
	if value, err := s.Why(ctx, host); err != nil {
		made.problem = message.Of(err)
	} else {
		made.value = &value
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.explanations) >= 2*maxStreams || s.explanations == nil {
		s.explanations = map[string]explained{}
	}
	s.explanations[host] = made
	return made
}
