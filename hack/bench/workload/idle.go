package workload

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/jovalle/usher/hack/bench/usage"
)

const (
	// warmUp is how many connections a proxy serves before its memory is read,
	// so that what it takes once does not count.
	warmUp = 256

	// kernelRest is how long the kernel may take to give back what the test
	// before this one held. With 2 s, a proxy that starts slower than another
	// seemed to take 5 % more.
	kernelRest = 10 * time.Second

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
	time.Sleep(kernelRest)
	before, err := usage.ReadMemory(t.Parties)
	if err != nil {
		return nil, err
	}
	conns, err := openIdle(ctx, t, s)
	defer abort(conns)
	if err != nil {
		return nil, err
	}
	time.Sleep(settle)
	after, err := usage.ReadMemory(t.Parties)
	if err != nil {
		return nil, err
	}
	share := 1 / float64(s.Idle)
	sample := Sample{Connections: float64(s.Idle), Kernel: float64(after.Kernel-before.Kernel) * share}
	if len(t.Parties.Proxy) > 0 {
		sample[User] = float64(after.User-before.User) * share
		sample[Descriptors] = float64(after.Descriptors-before.Descriptors) * share
		sample[Whole] = float64(after.User)
	}
	return sample, nil
}

// openIdle returns the connections that it opened, also with an error.
func openIdle(ctx context.Context, t Target, s Size) ([]*net.TCPConn, error) {
	conns := make([]*net.TCPConn, s.Idle)
	err := each(ctx, s.Idle, s.Concurrency, func(ctx context.Context, i int) (err error) {
		if conns[i], err = dial(ctx, t.Address, i); err != nil {
			return err
		}
		if _, err := conns[i].Write(order{mode: rest}.hello(t.host(i))); err != nil {
			return err
		}
		return discardBytes(conns[i], 1)
	})
	return slices.DeleteFunc(conns, func(c *net.TCPConn) bool { return c == nil }), err
}

// abort resets connections: they leave no TIME_WAIT sockets to the next test.
func abort(conns []*net.TCPConn) {
	for _, conn := range conns {
		_ = conn.SetLinger(0) // fails where the other end was faster
		conn.Close()
	}
}
