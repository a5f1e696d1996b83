package eventloop

import (
	"time"

	"golang.org/x/sys/unix"
)

// One loop needs less processor time than two for the same connections, because
// each wait returns more events. Therefore only the first loop accepts until it is
// busy. Each further loop starts to accept when all before it are busy, and stops
// when one of them no longer is. Connections stay on the loop that accepted them.
const (
	sampleInterval = 200 * time.Millisecond
	busyPercent    = 80 // of a processor: from here on the next loop accepts
	idlePercent    = 50 // of a processor: below this the next loop stops accepting
)

// loopsToAccept returns how many loops should accept. now is how many accept at
// present; percents holds the recent processor use of all loops.
func loopsToAccept(percents []int64, now int) int {
	for i, percent := range percents[:len(percents)-1] {
		threshold := int64(busyPercent)
		if i+1 < now {
			threshold = idlePercent // the next loop accepts already: hysteresis
		}
		if percent < threshold {
			return i + 1
		}
	}
	return len(percents)
}

// meter measures how busy a loop is.
type meter struct {
	thread   int   // thread of the loop at the last sample
	at, used int64 // loop time and processor time of the thread at the last sample, in nanoseconds
	percent  int64 // of a processor, between the last two samples
}

// sample takes a sample if sampleInterval has passed, and reports whether it did. If
// the Go runtime has moved the loop to another thread, the processor time is not
// known, and percent does not change. A loop that is never woken takes no samples;
// its next sample covers the whole time.
func (m *meter) sample(now int64) bool {
	elapsed := now - m.at
	if elapsed < int64(sampleInterval) {
		return false
	}
	thread, used := unix.Gettid(), threadTime()
	if thread == m.thread {
		m.percent = 100 * (used - m.used) / elapsed
	}
	m.thread, m.at, m.used = thread, now, used
	return true
}

// threadTime returns the processor time of the calling thread in nanoseconds.
func threadTime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0 // the loop then counts as idle
	}
	return ts.Nano()
}

// balance lets loops start or stop accepting.
func (f *Forwarder) balance() {
	f.balanceLock.Lock()
	defer f.balanceLock.Unlock()
	loops := *f.loops.Load()
	percents := make([]int64, len(loops))
	for i, l := range loops {
		percents[i] = l.busy.Load()
	}
	accepting := int(f.accepting.Load())
	want := loopsToAccept(percents, accepting)
	f.accepting.Store(int64(want))
	for ; accepting < want; accepting++ {
		loops[accepting].post(func(l *loop) { l.acceptor.start(l) })
	}
	for ; accepting > want; accepting-- {
		loops[accepting-1].post(func(l *loop) { l.acceptor.pause(l) })
	}
}
