package limit

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// Timeouts bound how long a connection may stay in each of its states.
type Timeouts struct {
	// Hello is how long a client may take to send its ClientHello, or the header of
	// an HTTP request, including a PROXY header.
	Hello time.Duration

	// Dial bounds the connection attempt to each address of a backend.
	Dial time.Duration

	// Idle is the time without a byte after which a connection, or a forwarded
	// request, is closed.
	Idle time.Duration

	// HalfClosed replaces Idle, if it is shorter, after one side of a connection has
	// ended.
	HalfClosed time.Duration

	// Drain is how long the proxy waits for open connections when it stops.
	Drain time.Duration

	// Replaced replaces Drain if the proxy stops because another process has replaced
	// it: see ErrReplaced.
	Replaced time.Duration
}

// ErrReplaced is the cause of a context that ends because another process has taken over
// the addresses of this one.
var ErrReplaced = errors.New("another process serves instead of this one")

// DrainAfter returns how long the proxy waits for open connections after ctx has ended.
func (t Timeouts) DrainAfter(ctx context.Context) time.Duration {
	if errors.Is(context.Cause(ctx), ErrReplaced) {
		return t.Replaced
	}
	return t.Drain
}

// DefaultTimeouts returns the default timeouts.
func DefaultTimeouts() Timeouts {
	return Timeouts{
		Hello:      5 * time.Second,
		Dial:       5 * time.Second,
		Idle:       time.Hour, // above the 900 s for which Cloudflare keeps idle connections to its origins
		HalfClosed: 5 * time.Minute,
		Drain:      25 * time.Second, // less than the 30 s that a pod has to stop
		Replaced:   24 * time.Hour,   // the other process serves: nothing waits for the end of this one
	}
}

// OrDefault returns the timeouts, with the default in place of each that is zero.
func (t Timeouts) OrDefault() Timeouts {
	defaults := DefaultTimeouts()
	return Timeouts{
		Hello:      cmp.Or(t.Hello, defaults.Hello),
		Dial:       cmp.Or(t.Dial, defaults.Dial),
		Idle:       cmp.Or(t.Idle, defaults.Idle),
		HalfClosed: cmp.Or(t.HalfClosed, defaults.HalfClosed),
		Drain:      cmp.Or(t.Drain, defaults.Drain),
		Replaced:   cmp.Or(t.Replaced, defaults.Replaced),
	}
}
