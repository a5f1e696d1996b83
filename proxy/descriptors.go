package proxy

import (
	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/proxy/eventloop"
	"github.com/jovalle/usher/proxy/health"
	"github.com/jovalle/usher/proxy/plainhttp"
)

const (
	// baseDescriptors are reserved for everything outside of the data plane: the
	// files of the program, the API servers and the admin listener.
	baseDescriptors = 128

	// connectionDescriptors is the number of descriptors of a connection, TLS or
	// plain HTTP: one socket on each side.
	connectionDescriptors = 2

	// minConnections are allowed even if there may be too few descriptors.
	minConnections = 64
)

// reservedDescriptors returns how many descriptors are reserved for other purposes
// than connections of clients: those of each event loop with its pipes, DNS
// queries, health checks, second dials of a connection, and idle connections to HTTP backends.
func reservedDescriptors(loops int) int {
	return baseDescriptors + eventloop.ResolverDescriptors + eventloop.RaceDescriptors + health.Descriptors + loops*eventloop.LoopDescriptors + plainhttp.IdleDescriptors
}

// affordableConnections returns how many connections the limit on descriptors
// (RLIMIT_NOFILE) allows. The Go runtime raises the soft limit to the hard limit
// at start.
func affordableConnections(loops int) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return minConnections
	}
	return connectionsWithin(limit.Cur, reservedDescriptors(loops))
}

// connectionsWithin returns how many connections a limit on descriptors allows.
func connectionsWithin(limit uint64, reserved int) int {
	const unlimited = 1 << 21 // used as the limit of a process without one
	return max((int(min(limit, unlimited))-reserved)/connectionDescriptors, minConnections)
}
