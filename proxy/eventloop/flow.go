package eventloop

import (
	"golang.org/x/sys/unix"
)

const (
	// readBytes is what one read may take: the size of the loop's shared
	// buffer. A byte costs 2.4 times as much with 4 KiB, and 8 % less with 128.
	readBytes = 64 << 10

	// maxTurnBytes bounds what one direction moves before other connections have
	// their turn: about a millisecond's work. With 1 MiB a byte of several
	// streams costs a quarter more: what is drained at one go is still in the
	// processor's caches.
	maxTurnBytes = 4 << 20

	// spliceThreshold tells a stream from a conversation: a direction is spliced
	// after a read that fills the shared buffer, until a splice brings less
	// than this.
	spliceThreshold = 16 << 10
)

// flow is one direction of a connection. It owns a buffer or a pipe only while
// that holds bytes which its sink has no room for: an idle flow owns neither.
type flow struct {
	src, dst   int32
	readable   bool // the source may have bytes, or its end; false: an event will tell
	writable   bool // the sink may have room; false: an event will tell
	closing    bool // the source has announced its end, or failed: read on until that comes
	cleanEnd   bool // the source's end is in, and no reset came first: a read that is short is the last
	ended      bool // the source's end has been read
	shut       bool // the end has been passed on to the sink
	sinkDead   bool // the sink is dead: a write failed, or it was reset after its own direction had ended
	sourceDead bool // the source is dead: what it had said is all that there will be
	splicing   bool // splice instead of copying

	pending *buffer // read, and not yet written
	pipe    *pipe   // spliced in, and not yet out

	moved uint64 // bytes that the sink took
}

// outcome is how a flow's turn ended.
type outcome uint8

const (
	waiting    outcome = iota // for an event
	unfinished                // there may be more to move
	ended                     // the source ended, and the sink has every byte
	failed                    // one of the two is dead: the sink if the flow is broken, else the source
)

// move moves bytes from source to sink until either has to be waited for, or
// the turn is over.
func (l *loop) move(f *flow) outcome {
	for before := f.moved; f.moved-before < maxTurnBytes; {
		var errno unix.Errno
		switch {
		case f.hasPending() && !f.writable:
			return waiting
		case f.hasPending():
			errno = l.flushPending(f)
		case f.ended:
			return ended
		case !f.readable || !f.writable:
			return waiting
		default:
			errno = l.readSource(f)
		}
		if errno != 0 && errno != unix.EINTR {
			f.readable = false // a second read would find an end, and not the error
			return failed
		}
	}
	return unfinished
}

// hasPending reports whether bytes were read that the sink has not taken.
func (f *flow) hasPending() bool { return f.pending != nil || f.pipe != nil }

// readSource moves bytes from the source, and on to the sink as far as it has room.
func (l *loop) readSource(f *flow) unix.Errno {
	if f.splicing {
		if p := l.pipes.get(); p != nil {
			return l.spliceSource(f, p)
		}
	}
	bite := l.readBuffer()
	n, errno := l.kernel.read(int(f.src), bite)
	switch {
	case errno == unix.EAGAIN:
		f.readable = false
		return 0
	case errno != 0:
		return errno
	case n == 0:
		f.ended = true
		return 0
	}
	// Less than asked for is all there was; more will come with an event.
	f.splicing = n == len(bite)
	f.ended = f.cleanEnd && !f.splicing
	f.readable = f.splicing || f.closing
	return l.writeSink(f, bite[:n])
}

// writeSink writes data that was just read, and keeps what the sink does not take.
// The last bytes wait for the end, which is passed on next, so that one segment
// carries both.
func (l *loop) writeSink(f *flow, data []byte) unix.Errno {
	n, errno := l.kernel.write(int(f.dst), data, f.ended)
	switch errno {
	case 0:
	case unix.EAGAIN:
		f.writable = false
		n = 0
	case unix.EINTR:
		n = 0
	default:
		f.sinkDead = true
		return errno
	}
	f.moved += uint64(n)
	if n < len(data) {
		l.setPending(f, l.buffers.copyOf(data[n:]))
	}
	return 0
}

// spliceSource moves bytes from the source into p, and the flow owns p then.
func (l *loop) spliceSource(f *flow, p *pipe) unix.Errno {
	n, errno := l.kernel.splice(int(f.src), int(p.w), pipeBytes)
	if errno == 0 && n > 0 {
		p.held, f.pipe = n, p
		f.splicing = n >= spliceThreshold
		return 0
	}
	l.pipes.put(p)
	switch errno {
	case 0:
		f.ended = true
	case unix.EAGAIN: // the pipe was empty: it is the source that has nothing
		f.readable = false
		errno = 0
	}
	return errno
}

// flushPending hands the sink bytes that it had no room for before.
func (l *loop) flushPending(f *flow) unix.Errno {
	var n int
	var errno unix.Errno
	if f.pending != nil {
		n, errno = l.kernel.write(int(f.dst), f.pending.bytes(), false)
	} else {
		n, errno = l.kernel.splice(int(f.pipe.r), int(f.dst), f.pipe.held)
	}
	switch errno {
	case 0:
		l.pendingWritten(f, n)
	case unix.EAGAIN:
		f.writable = false
		errno = 0
	case unix.EINTR:
	default:
		f.sinkDead = true
	}
	return errno
}

// pendingWritten counts n owed bytes as moved, and gives back what held them.
func (l *loop) pendingWritten(f *flow, n int) {
	f.moved += uint64(n)
	if f.pending != nil {
		if f.pending.start += n; f.pending.start < f.pending.end {
			return
		}
	} else if f.pipe.held -= n; f.pipe.held > 0 {
		return
	}
	l.release(f)
}

// release gives back what the flow owns.
func (l *loop) release(f *flow) {
	if f.pending != nil {
		l.addPending(-len(f.pending.data))
	}
	l.buffers.put(f.pending)
	l.pipes.put(f.pipe)
	f.pending, f.pipe = nil, nil
}
