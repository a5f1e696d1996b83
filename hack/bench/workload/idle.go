package workload

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/jovalle/usher/hack/bench/usage"
)

const (
	// warmUp is how many connections a proxy serves before its memory is read,
	// so that what it takes once does not count.
	warmUp = 256

	// settle is how long idle connections rest before their memory is read.
	settle = 2 * time.Second
)

// idle opens connections, lets them rest, and reads what each costs. The
// kernel's memory is that of all ends: what a proxy takes is the difference to a
// run without one.
func idle(ctx context.Context, t Target, s Size) (Sample, error) {
	for i := range warmUp {
		if err := one(ctx, t.Address, t.Hosts[0], i, helloExchange); err != nil {
			return nil, fmt.Errorf("warm up: %w", err)
		}
	}
	before, err := usage.ReadMemory(t.Parties)
	if err != nil {
		return nil, err
	}
	conns, err := openIdle(ctx, t, s.Idle)
	defer abort(conns)
	if err != nil {
		return nil, err
	}
	time.Sleep(settle)
	after, err := usage.ReadMemory(t.Parties)
	if err != nil {
		return nil, err
	}
	each := 1 / float64(s.Idle)
	sample := Sample{Connections: float64(s.Idle), Kernel: float64(after.Kernel-before.Kernel) * each}
	if len(t.Parties.Proxy) > 0 {
		sample[User] = float64(after.User-before.User) * each
		sample[Descriptors] = float64(after.Descriptors-before.Descriptors) * each
	}
	return sample, nil
}

// openIdle returns the connections that it opened, also with an error.
func openIdle(ctx context.Context, t Target, count int) ([]*net.TCPConn, error) {
	conns := make([]*net.TCPConn, 0, count)
	for i := range count {
		conn, err := dial(ctx, t.Address, i)
		if err != nil {
			return conns, fmt.Errorf("connection %d: %w", i, err)
		}
		conns = append(conns, conn)
		_, err = conn.Write(order{mode: rest}.hello(t.Hosts[i*stride%len(t.Hosts)]))
		if err == nil {
			err = discardBytes(conn, 1)
		}
		if err != nil {
			return conns, fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return conns, nil
}

// abort resets connections: they leave no TIME_WAIT sockets to the next test.
func abort(conns []*net.TCPConn) {
	for _, conn := range conns {
		_ = conn.SetLinger(0) // fails where the other end was faster
		conn.Close()
	}
}
