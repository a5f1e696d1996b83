// Package workload is both ends of every connection that the benchmark makes
// through a proxy: the client, which is the bench itself, and the backend, a
// separate process. The ClientHello contains what the backend must do, so that one port
// serves all tests and a proxy sees nothing unusual.
//
// It knows nothing of any proxy. It must not import usher's, whose mistakes it
// would then share.
package workload

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/hack/bench/usage"
)

// A Target is a proxy that is running, or a backend when there is none.
type Target struct {
	Address string
	Hosts   []string // that the proxy knows
	Parties usage.Parties
}

// host returns the host of connection number i, out of the table's order.
func (t *Target) host(i int) string {
	const stride = 7919 // prime
	return t.Hosts[i*stride%len(t.Hosts)]
}

// Size is how much work each test does.
type Size struct {
	Connections    int   // short connections
	TLSConnections int   // short connections with TLS
	Concurrency    int   // of either at once
	Streams        int   // of a bulk test, at once
	StreamBytes    int64 // bytes of each
	Idle           int   // connections at rest
	RoundTrips     int
}

// A Sample is what one run of a test measured, by name. Times are in seconds,
// sizes in bytes; a unit of work is a connection, a gigabyte or a round trip.
type Sample map[string]float64

// Names of measurements.
const (
	CPU         = "cpu"         // the proxy's processor time a unit of work
	Total       = "total"       // of client, proxy, backend and kernel
	Rate        = "rate"        // units of work a second
	P50         = "p50"         // the time of a connection or round trip: median
	P99         = "p99"         // and 99th percentile
	Connections = "connections" // that were open at once
	User        = "user"        // the proxy's own memory a connection
	Whole       = "whole"       // the proxy's own memory in all
	Kernel      = "kernel"      // the kernel's, for all ends of it
	Descriptors = "descriptors" // of the proxy a connection
)

// A Test does its work on a target.
type Test func(context.Context, Target, Size) (Sample, error)

// Tests has all tests: name → test.
var Tests = map[string]Test{
	"hello":   hello,
	"connect": connect,
	"down":    func(ctx context.Context, t Target, s Size) (Sample, error) { return bulk(ctx, t, s, down) },
	"up":      func(ctx context.Context, t Target, s Size) (Sample, error) { return bulk(ctx, t, s, up) },
	"latency": latency,
	"idle":    idle,
}

// Probe makes one short connection. It returns an error if the proxy is not ready.
func Probe(ctx context.Context, address, host string) error {
	conn, err := dial(ctx, address, 0)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	return helloExchange(conn, host)
}

// clientAddresses is from how many loopback addresses clients connect, so that
// ports do not run out.
const clientAddresses = 16

// dial connects to a target. Connections of different numbers come from
// different addresses.
func dial(ctx context.Context, address string, number int) (*net.TCPConn, error) {
	dialer := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(10+number%clientAddresses))},
		KeepAlive: -1,
		Control: func(_, _ string, raw syscall.RawConn) error {
			var err error
			controlErr := raw.Control(func(fd uintptr) { err = choosePortLate(int(fd)) })
			if controlErr != nil {
				return controlErr
			}
			return err
		},
	}
	conn, err := dialer.DialContext(ctx, "tcp4", address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	deadline, _ := ctx.Deadline()
	return conn.(*net.TCPConn), conn.SetDeadline(deadline)
}

// choosePortLate has the kernel choose the port when the socket connects, where
// one may serve several destinations, and not when it is bound (ip(7)).
func choosePortLate(fd int) error {
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
}
