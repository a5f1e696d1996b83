package eventloop

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// shared is the part of a loop that other goroutines may access. Its fields are
// atomic, have a lock, or are set before the loop runs.
type shared struct {
	// Only the loop writes these.
	counters       counters
	pending        atomic.Int64 // bytes of the buffers that flows hold
	busy           atomic.Int64 // recent processor use of the loop in percent
	oldestUnrouted atomic.Int64 // loop time at which the longest waiting connection was accepted; 0 if none waits

	refusalRequested atomic.Bool // a call of refuseOldest is posted
	wake             int         // eventfd that ends the loop's wait
	inbox            struct {
		sync.Mutex
		calls []func(*loop)
	}
}

// post makes the loop run call soon. Other goroutines must use it to access the loop.
// Results for a connection are delivered by attempt.answer.
func (s *shared) post(call func(*loop)) {
	s.inbox.Lock()
	s.inbox.calls = append(s.inbox.calls, call)
	s.inbox.Unlock()
	one := [8]byte{1}
	_, _ = unix.Write(s.wake, one[:]) // EAGAIN: the loop is being woken already
}

// posted returns the calls that were posted since the last time.
func (s *shared) posted() []func(*loop) {
	var count [8]byte
	_, _ = unix.Read(s.wake, count[:])
	s.inbox.Lock()
	defer s.inbox.Unlock()
	calls := s.inbox.calls
	s.inbox.calls = nil
	return calls
}
