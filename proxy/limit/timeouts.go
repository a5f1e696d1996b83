package limit

import (
	"cmp"
	"time"
)

// Timeouts bound how long a connection may take over each of its steps.
type Timeouts struct {
	// Hello is how long a client may take for its ClientHello, or for the header
	// of an HTTP request, with a PROXY header before it.
	Hello time.Duration

	// Dial is how long each address of a backend is tried.
	Dial time.Duration

	// Idle ends a connection, or a forwarded request, on which no byte has moved
	// for so long.
	Idle time.Duration

	// HalfClosed takes the place of Idle, where it is shorter, once one side of a
	// connection has ended.
	HalfClosed time.Duration

	// Drain is how long open connections may go on after the proxy was told to stop.
	Drain time.Duration
}

// DefaultTimeouts returns the timeouts of a proxy that is given none.
func DefaultTimeouts() Timeouts {
	return Timeouts{
		Hello:      5 * time.Second,
		Dial:       5 * time.Second,
		Idle:       time.Hour, // above the 900 s for which Cloudflare keeps idle connections to its origins
		HalfClosed: 5 * time.Minute,
		Drain:      25 * time.Second, // leaves a pod some of its 30 s to stop
	}
}

// OrDefault returns the timeouts, with the default for each that is zero.
func (t Timeouts) OrDefault() Timeouts {
	defaults := DefaultTimeouts()
	return Timeouts{
		Hello:      cmp.Or(t.Hello, defaults.Hello),
		Dial:       cmp.Or(t.Dial, defaults.Dial),
		Idle:       cmp.Or(t.Idle, defaults.Idle),
		HalfClosed: cmp.Or(t.HalfClosed, defaults.HalfClosed),
		Drain:      cmp.Or(t.Drain, defaults.Drain),
	}
}
