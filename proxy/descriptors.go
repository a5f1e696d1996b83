package proxy

import "golang.org/x/sys/unix"

const (
	// spareDescriptors are left to what is not a connection: files, the API
	// server, the admin listener, event loops and their pipes.
	spareDescriptors = 512

	// connectionDescriptors is what a forwarded connection takes.
	connectionDescriptors = 2

	// fewestConnections are allowed even where descriptors may run out.
	fewestConnections = 64
)

// affordableConnections returns how many connections the process may have open
// by its limit on descriptors. Go has raised the soft limit to the hard one at
// start.
func affordableConnections() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fewestConnections
	}
	const most = 1 << 20 // an unlimited process is bounded all the same
	spare := min(limit.Cur, connectionDescriptors*most+spareDescriptors)
	return max((int(spare)-spareDescriptors)/connectionDescriptors, fewestConnections)
}
