package eventloop

import (
	"time"

	"golang.org/x/sys/unix"
)

// timerfd wakes a loop when its next timeout is due: a timerfd in its epoll set.
// A timeout of epoll_wait would wake it too, but has the kernel start and cancel
// a timer at each wait, most of them for nothing: a sixth of what a round trip
// costs. Timeouts move on and the alarm does not, so that it rings once in a
// while for nothing.
type timerfd struct {
	fd       int
	deadline int64 // loop time that it is set to, in nanoseconds; 0: not set
}

func newTimerfd() (timerfd, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	return timerfd{fd: fd}, err
}

// set makes the alarm ring at a time, unless it is to ring earlier.
func (a *timerfd) set(now, at int64) {
	if a.deadline != 0 && a.deadline <= at {
		return
	}
	a.deadline = at
	in := unix.NsecToTimespec(max(at-now, int64(time.Microsecond))) // zero would switch it off
	// It fails for wrong arguments only: timerfd_settime(2).
	_ = unix.TimerfdSettime(a.fd, 0, &unix.ItimerSpec{Value: in}, nil)
}

// expired is called when the alarm has rung. With edge-triggered events nothing
// needs to be read from it.
func (a *timerfd) expired() { a.deadline = 0 }
