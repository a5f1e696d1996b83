package eventloop

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// shared is what goroutines besides a loop's own may touch of it. All of it is atomic,
// has a lock, or is set before the loop runs.
type shared struct {
	// Only the loop writes these.
	counters       counters
	pending        atomic.Int64 // bytes of the buffers that flows hold
	busy           atomic.Int64 // percent of a processor that the loop has used lately
	oldestUnrouted atomic.Int64 // loop time at which the connection that waits longest was accepted; 0: none waits

	refusalRequested atomic.Bool // to refuse its oldest connections
	wake             int         // eventfd that ends the loop's wait
	inbox            struct {
		sync.Mutex
		calls []func(*loop)
	}
}

// post has the loop run call, soon. It is the one way in for other goroutines: those
// that bring a connection something use attempt.answer.
func (s *shared) post(call func(*loop)) {
	s.inbox.Lock()
	s.inbox.calls = append(s.inbox.calls, call)
	s.inbox.Unlock()
	one := [8]byte{1}
	_, _ = unix.Write(s.wake, one[:]) // EAGAIN: it is awake already
}

// posted returns what was posted since it was called last.
func (s *shared) posted() []func(*loop) {
	var count [8]byte
	_, _ = unix.Read(s.wake, count[:])
	s.inbox.Lock()
	defer s.inbox.Unlock()
	calls := s.inbox.calls
	s.inbox.calls = nil
	return calls
}
