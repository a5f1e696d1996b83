package eventloop

import (
	"time"

	"golang.org/x/sys/unix"
)

// flushPollInterval is how often a connection that flushes looks whether the peer has
// everything: the kernel has no event for that. A tick of the wheel is 67 ms.
const flushPollInterval = 50 * time.Millisecond

// startFlush ends a connection of which one side is dead: a write to it has failed, or
// it was reset. What it had said is still delivered, from buffer, pipe and its socket,
// which outlives the reset: a client that writes to a server which has answered and
// closed must get the answer. The survivor is reset only then, since a reset discards
// what it has not been sent, or not acknowledged.
func (c *conn) startFlush(last *flow) {
	dropped := &c.up
	if last == dropped {
		dropped = &c.down
	}
	c.loop.release(dropped)
	dropped.shut = true
	last.sourceDead, last.closing = true, true
	last.cleanEnd = last.cleanEnd || last.ended
	c.enter(flushing)
	c.flush()
}

// flush delivers as much as goes now.
func (c *conn) flush() {
	l, f := c.loop, &c.up
	if c.down.sourceDead {
		f = &c.down
	}
	before := f.moved
	outcome := c.move(f)
	if f.moved > before {
		c.since = l.now
	}
	switch {
	case f.sinkDead: // by now the survivor is dead too
		c.abort(reset)
	case outcome == unfinished:
		l.requeue(c)
	case outcome == waiting && !f.writable:
		if f == &c.down {
			c.watchWritable()
		}
	default: // the source has no more
		// A read after a reset finds an end too, where a write has had the error.
		if outcome == ended && f.cleanEnd && !f.shut {
			f.shut = true
			shutdownWrite(f.dst)
		}
		c.awaitDelivery(f.dst)
	}
}

// awaitDelivery resets the survivor once it has acknowledged everything.
func (c *conn) awaitDelivery(fd int32) {
	acked, all := delivered(fd)
	if all {
		c.abort(reset)
		return
	}
	l := c.loop
	if acked != c.acked {
		c.acked, c.since = acked, l.now
	}
	l.wheel.set(c, l.now+int64(flushPollInterval))
}

// delivered returns how many bytes a connection's peer has acknowledged, and whether
// these are all that were sent, its end included. Of one that is dead nothing more will
// be.
func delivered(fd int32) (acked uint64, all bool) {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil || info.State == unix.BPF_TCP_CLOSE {
		return 0, true
	}
	return info.Bytes_acked, info.Unacked == 0 && info.Notsent_bytes == 0
}
