package eventloop

import (
	"time"

	"golang.org/x/sys/unix"
)

// One loop serves a connection with less than two do, because it finds more
// events at each turn. So the first loop accepts alone until it is busy; each
// further one joins when all before it are, and leaves when one of them has
// time again. Connections stay on the loop that accepted them.
const (
	sampleInterval = 200 * time.Millisecond
	busyPercent    = 80 // of a processor: the next loop joins
	idlePercent    = 50 // the next loop leaves
)

// loopsToAccept returns how many loops are to accept, when now of them do and percents
// are the parts of a processor that each of all loops has used lately.
func loopsToAccept(percents []int64, now int) int {
	for i, percent := range percents[:len(percents)-1] {
		threshold := int64(busyPercent)
		if i+1 < now {
			threshold = idlePercent // the one after it has joined: let it stay
		}
		if percent < threshold {
			return i + 1
		}
	}
	return len(percents)
}

// meter measures how busy a loop is.
type meter struct {
	thread   int   // that the loop ran on when it was last read
	at, used int64 // loop time and the thread's processor time, in nanoseconds, then
	percent  int64 // of a processor, between the last two readings
}

// sample reads the meter, if that was long enough ago, and reports whether it
// did. Go moves a loop to another thread now and then: what it used meanwhile is
// not known, and the last percentage stays. A loop that is never woken reads
// nothing, and makes up for that at its first turn.
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
		return 0 // as a loop that is never busy
	}
	return ts.Nano()
}

// balance lets loops join and leave.
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
