package testbed

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// Servers listen below the range from which Linux takes ports for outgoing connections and for
// listeners on port 0 (32768 and up, ip_local_port_range in ip(7)), so that nobody is given a
// cluster's port by chance while its API server is stopped.
const (
	firstPort  = 20000
	endOfPorts = 32768
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// freePorts finds n addresses on loopback that nobody listens on at this moment. Somebody may
// take one before its server does: whoever starts the server tries again with others.
func freePorts(n int) ([]netip.AddrPort, error) {
	var free []netip.AddrPort
	for range 100 * n {
		address := netip.AddrPortFrom(loopback, uint16(firstPort+rand.IntN(endOfPorts-firstPort)))
		listener, err := net.Listen("tcp", address.String())
		if err != nil {
			continue
		}
		defer func() { _ = listener.Close() }() // only at the end: the next must be another one
		if free = append(free, address); len(free) == n {
			return free, nil
		}
	}
	return nil, errors.New("no free port on 127.0.0.1")
}

// startAttempts is how often a server is started when others are faster to take its ports.
const startAttempts = 5

// withFreePorts calls start with n free ports, and again with others while it finds them taken.
func withFreePorts(n int, start func([]netip.AddrPort) error) error {
	var err error
	for range startAttempts {
		var ports []netip.AddrPort
		if ports, err = freePorts(n); err != nil {
			return err
		}
		if err = start(ports); !errors.Is(err, errPortTaken) {
			return err
		}
	}
	return fmt.Errorf("%d attempts: %w", startAttempts, err)
}

var errPortTaken = errors.New("a port was taken by another process")

// portTaken makes errPortTaken of a server's failure to start where that was the cause. The
// servers say so in their logs, whose end the failure carries.
func portTaken(failure error) error {
	if failure != nil && strings.Contains(failure.Error(), unix.EADDRINUSE.Error()) {
		return fmt.Errorf("%w: %w", errPortTaken, failure)
	}
	return failure
}
