package proxy

import (
	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/proxy/eventloop"
	"github.com/jovalle/usher/proxy/plainhttp"
)

const (
	// baseDescriptors are left to what is neither a connection nor the data
	// plane's: the program's files, the API servers and the admin listener.
	baseDescriptors = 128

	// connectionDescriptors is what a connection takes, TLS or plain HTTP: a
	// socket on each side.
	connectionDescriptors = 2

	// fewestConnections are allowed even where descriptors may run out.
	fewestConnections = 64
)

// spareDescriptors returns how many descriptors are left to what is not a
// connection: each loop's own and its pipes, the questions to name servers, and
// connections to backends that are kept for the next HTTP request.
func spareDescriptors(loops int) int {
	return baseDescriptors + eventloop.ResolverDescriptors + loops*eventloop.LoopDescriptors + plainhttp.KeptDescriptors
}

// affordableConnections returns how many connections the process may have open
// by its limit on descriptors. Go has raised the soft limit to the hard one at
// start.
func affordableConnections(loops int) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fewestConnections
	}
	return connectionsWithin(limit.Cur, spareDescriptors(loops))
}

// connectionsWithin returns how many connections a limit on descriptors allows.
func connectionsWithin(limit uint64, spare int) int {
	const unlimited = 1 << 21 // a process without a limit is bounded all the same
	return max((int(min(limit, unlimited))-spare)/connectionDescriptors, fewestConnections)
}
