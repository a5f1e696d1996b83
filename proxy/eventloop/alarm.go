package eventloop

import (
	"time"

	"golang.org/x/sys/unix"
)

// alarm wakes a loop when its next timeout is due: a timerfd in its epoll set.
// A timeout of epoll_wait would wake it too, but has the kernel start and cancel
// a timer at each wait, most of them for nothing: a sixth of what a round trip
// costs. Timeouts move on and the alarm does not, so that it rings once in a
// while for nothing.
type alarm struct {
	fd int
	at int64 // loop time that it is set to, in nanoseconds; 0: not set
}

func newAlarm() (alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	return alarm{fd: fd}, err
}

// set makes the alarm ring at a time, unless it is to ring earlier.
func (a *alarm) set(now, at int64) {
	if a.at != 0 && a.at <= at {
		return
	}
	a.at = at
	in := unix.NsecToTimespec(max(at-now, int64(time.Microsecond))) // zero would switch it off
	// It fails for wrong arguments only: timerfd_settime(2).
	_ = unix.TimerfdSettime(a.fd, 0, &unix.ItimerSpec{Value: in}, nil)
}

// rang is called when the alarm has rung. With edge-triggered events nothing
// needs to be read from it.
func (a *alarm) rang() { a.at = 0 }
