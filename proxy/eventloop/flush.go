package eventloop

import (
	"time"

	"golang.org/x/sys/unix"
)

// flushPollInterval is how often a flushing connection checks whether the peer has
// acknowledged everything, for which the kernel has no event. A tick of the wheel is
// 67 ms.
const flushPollInterval = 50 * time.Millisecond

// startFlush ends a connection with one dead side: a write to it has failed, or it was
// reset. The bytes that it sent before are still delivered, from the buffer, the pipe
// and the socket, which keeps them after a reset. For example, a client that writes to
// a server which has responded and closed must still get the response. The surviving
// side is reset only after that, because a reset discards bytes that were not sent or
// not acknowledged.
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

// flush delivers as many bytes as possible without waiting.
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
	case f.sinkDead: // the surviving side has died too
		c.abort(reset)
	case outcome == unfinished:
		l.requeue(c)
	case outcome == waiting && !f.writable:
		if f == &c.down {
			c.watchWritable()
		}
	default: // the source has no more bytes
		// A read after a reset returns an end too, if a write has returned the error.
		if outcome == ended && f.cleanEnd && !f.shut {
			f.shut = true
			shutdownWrite(f.dst)
		}
		c.awaitDelivery(f.dst)
	}
}

// awaitDelivery resets the surviving side when it has acknowledged everything.
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

// delivered returns how many bytes the peer of a socket has acknowledged, and whether
// it has acknowledged everything, including the FIN. all is true for a dead socket,
// which gets no more acknowledgements.
func delivered(fd int32) (acked uint64, all bool) {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil || info.State == unix.BPF_TCP_CLOSE {
		return 0, true
	}
	return info.Bytes_acked, info.Unacked == 0 && info.Notsent_bytes == 0
}
