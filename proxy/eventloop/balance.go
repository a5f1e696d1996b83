package eventloop

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// One loop serves a connection with less than two do, because it finds more
// events at each turn. So the first loop accepts alone until it is busy; each
// further one joins when all before it are, and leaves when one of them has
// time again. Connections stay on the loop that accepted them.
const (
	balanceEvery = 200 * time.Millisecond
	busyShare    = 0.80 // of a processor: the next loop joins
	calmShare    = 0.50 // the next loop leaves
)

// joined returns how many loops are to accept, when now of them do and shares
// are the parts of a processor that each of all loops has used lately.
func joined(shares []float64, now int) int {
	for i, share := range shares[:len(shares)-1] {
		threshold := busyShare
		if i+1 < now {
			threshold = calmShare // the one after it has joined: let it stay
		}
		if share < threshold {
			return i + 1
		}
	}
	return len(shares)
}

// balance lets loops join and leave until ctx ends.
func (f *Forwarder) balance(ctx context.Context, loops []*loop, threads []int) {
	ticker := time.NewTicker(balanceEvery)
	defer ticker.Stop()
	accepting := 1
	meter := newMeter(threads)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		want := joined(meter.shares(), accepting)
		for ; accepting < want; accepting++ {
			l := loops[accepting]
			l.post(func() { l.acceptor.start(l) })
		}
		for ; accepting > want; accepting-- {
			l := loops[accepting-1]
			l.post(func() { l.acceptor.leave(l) })
		}
		f.accepting.Store(int64(accepting))
	}
}

// meter measures the processor time of threads.
type meter struct {
	threads []int
	used    []time.Duration
	at      time.Time
}

func newMeter(threads []int) *meter {
	m := &meter{threads: threads, used: make([]time.Duration, len(threads))}
	m.shares()
	return m
}

// shares returns the part of a processor that each thread has used since the
// call before.
func (m *meter) shares() []float64 {
	now := time.Now()
	elapsed := now.Sub(m.at)
	m.at = now
	shares := make([]float64, len(m.threads))
	for i, thread := range m.threads {
		used := threadTime(thread)
		shares[i] = float64(used-m.used[i]) / float64(elapsed)
		m.used[i] = used
	}
	return shares
}

// threadTime returns the processor time that a thread has used; 0 when it has
// ended.
func threadTime(thread int) time.Duration {
	// clock_getres(2) and the kernel's posix-timers.h: the clock of a thread.
	const perThread, scheduled = 4, 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^thread<<3|perThread|scheduled), &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
