package eventloop

import (
	"time"

	"golang.org/x/sys/unix"
)

// timerfd wakes a loop when its next timeout is due. It is a timerfd_create(2)
// descriptor in the epoll set. With a timeout of epoll_wait, the kernel would start
// and cancel a timer at each wait, which takes a sixth of the time of a round trip.
// When a timeout is postponed, the timerfd is not changed, so that it sometimes
// expires early and the loop sets it again.
type timerfd struct {
	fd       int
	deadline int64 // loop time in nanoseconds; 0 if not set
}

func newTimerfd() (timerfd, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	return timerfd{fd: fd}, err
}

// set makes the timer expire at a loop time, unless it expires earlier already.
func (a *timerfd) set(now, at int64) {
	if a.deadline != 0 && a.deadline <= at {
		return
	}
	a.deadline = at
	in := unix.NsecToTimespec(max(at-now, int64(time.Microsecond))) // zero would disarm the timer
	// It fails only for invalid arguments: timerfd_settime(2).
	_ = unix.TimerfdSettime(a.fd, 0, &unix.ItimerSpec{Value: in}, nil)
}

// expired is called when the timer has expired. Events are edge-triggered, so the
// descriptor need not be read.
func (a *timerfd) expired() { a.deadline = 0 }
