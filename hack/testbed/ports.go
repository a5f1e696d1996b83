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

// Servers listen below the range from which Linux takes ports for outgoing connections and for
// listeners on port 0 (32768 and up, ip_local_port_range in ip(7)), so that nobody is given a
// cluster's port by chance while its API server is stopped.
const (
	firstPort  = 20000
	endOfPorts = 32768
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// freePorts finds n ports of an address that nobody listens on at this moment. Somebody may
// take one before its server does: the caller tries again with others.
func freePorts(ctx context.Context, at netip.Addr, n int) ([]netip.AddrPort, error) {
	var config net.ListenConfig
	held := make(map[netip.AddrPort]net.Listener, n) // held until all are found: no port is found twice
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

// startAttempts is how often a server is started when others are faster to take its ports.
const startAttempts = 5

// withFreePorts calls start with n free ports, and again with others while it finds them taken.
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

// portTaken makes errPortTaken of a server's failure to start where that was the cause. The
// servers say so in their logs, whose end the failure carries.
func portTaken(failure error) error {
	if failure != nil && strings.Contains(failure.Error(), unix.EADDRINUSE.Error()) {
		return fmt.Errorf("%w: %w", errPortTaken, failure)
	}
	return failure
}
