package testbed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Servers listen on ports below the ephemeral range of Linux, which outgoing connections and
// listeners on port 0 use (32768 and up, ip_local_port_range in ip(7)). So no other process gets the
// port of a cluster by chance while its API server is stopped.
const (
	firstPort  = 20000
	endOfPorts = 32768
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// freePorts returns n ports of an address that no process listens on now. Another process may take
// one before its server does: then the caller must retry with other ports.
func freePorts(ctx context.Context, at netip.Addr, n int) ([]netip.AddrPort, error) {
	var config net.ListenConfig
	held := make(map[netip.AddrPort]net.Listener, n) // open until all are found, so that no port is found twice
	defer func() {
		for _, listener := range held {
			listener.Close()
		}
	}()
	for range 100 * n {
		if len(held) == n {
			return slices.Collect(maps.Keys(held)), nil
		}
		address := netip.AddrPortFrom(at, uint16(firstPort+rand.IntN(endOfPorts-firstPort)))
		if listener, err := config.Listen(ctx, "tcp", address.String()); err == nil {
			held[address] = listener
		}
	}
	return nil, fmt.Errorf("no free port on %s", at)
}

// startAttempts is how often a start is tried when another process takes the ports first.
const startAttempts = 5

// withFreePorts calls start with n free ports, and retries with other ports if one was taken.
func withFreePorts(ctx context.Context, at netip.Addr, n int, start func([]netip.AddrPort) error) error {
	for attempt := 1; ; attempt++ {
		ports, err := freePorts(ctx, at, n)
		if err != nil {
			return err
		}
		if err := start(ports); !errors.Is(err, errPortTaken) || attempt == startAttempts {
			return err
		}
	}
}

var errPortTaken = errors.New("a port was taken by another process")

// portTaken wraps a server's failure to start in errPortTaken if a taken port was the cause. The
// servers log the cause, and the failure contains the end of the log.
func portTaken(failure error) error {
	if failure != nil && strings.Contains(failure.Error(), unix.EADDRINUSE.Error()) {
		return fmt.Errorf("%w: %w", errPortTaken, failure)
	}
	return failure
}
