package eventloop

import (
	"golang.org/x/sys/unix"
)

const (
	// readBytes bounds one read: it is the size of the loop's shared buffer. With
	// 4 KiB a byte takes 2.4 times as much processor time, with 128 KiB 8 % less.
	readBytes = 64 << 10

	// maxTurnBytes bounds the bytes that one direction moves before other
	// connections get their turn; moving them takes about a millisecond. With
	// 1 MiB, a byte of several parallel streams takes a quarter more processor
	// time, because the data is less often in the processor's caches.
	maxTurnBytes = 4 << 20

	// spliceThreshold distinguishes bulk streams from interactive traffic. A
	// direction is spliced after a read that fills the shared buffer, until a splice
	// returns fewer bytes than this.
	spliceThreshold = 16 << 10
)

// flow is one direction of a connection. It owns a buffer or a pipe only while the
// sink has no room for the bytes in it. An idle flow owns neither.
type flow struct {
	src, dst   int32
	readable   bool // the source may have bytes or its end; if false, an event will report them
	writable   bool // the sink may have room; if false, an event will report it
	closing    bool // an event has reported the source's end or an error: read until it is returned
	cleanEnd   bool // the source's end has arrived without a reset before it: a short read is the last
	ended      bool // the source's end has been read
	shut       bool // the end has been forwarded to the sink
	sinkDead   bool // a write failed, or the sink was reset after its own direction had ended
	sourceDead bool // the source is dead: it will send no more
	splicing   bool // splice instead of copying

	pending *buffer // bytes read and not yet written
	pipe    *pipe   // bytes spliced from the source and not yet to the sink

	moved uint64 // bytes written to the sink
}

// outcome is the result of a turn of a flow.
type outcome uint8

const (
	waiting    outcome = iota // for an event
	unfinished                // there may be more bytes to move
	ended                     // the source has ended, and all bytes were written
	failed                    // one side is dead: the sink if sinkDead is set, else the source
)

// move moves bytes from source to sink until one of them would block, or the turn is
// over.
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
			f.readable = false // a second read would return the end instead of the error
			return failed
		}
	}
	return unfinished
}

// hasPending reports whether there are bytes that were read and not yet written.
func (f *flow) hasPending() bool { return f.pending != nil || f.pipe != nil }

// readSource reads bytes from the source and writes them to the sink as far as it has
// room.
func (l *loop) readSource(f *flow) unix.Errno {
	if f.splicing {
		if p := l.pipes.get(); p != nil {
			return l.spliceSource(f, p)
		}
	}
	buf := l.readBuffer()
	n, errno := l.kernel.read(int(f.src), buf)
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
	// A short read means that the source has no more bytes; an event will report
	// more.
	f.splicing = n == len(buf)
	f.ended = f.cleanEnd && !f.splicing
	f.readable = f.splicing || f.closing
	return l.writeSink(f, buf[:n])
}

// writeSink writes data that was just read, and keeps what the sink has no room for.
// The last bytes are written with MSG_MORE, so that one segment carries them and the
// FIN, which is sent next.
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

// spliceSource splices bytes from the source into p, which the flow then owns.
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
	case unix.EAGAIN: // the pipe was empty, so the source has no bytes
		f.readable = false
		errno = 0
	}
	return errno
}

// flushPending writes pending bytes to the sink.
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

// pendingWritten counts n pending bytes as moved. When none are left, it releases the
// buffer or pipe.
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

// release releases the buffer or pipe of the flow.
func (l *loop) release(f *flow) {
	if f.pending != nil {
		l.addPending(-len(f.pending.data))
	}
	l.buffers.put(f.pending)
	l.pipes.put(f.pipe)
	f.pending, f.pipe = nil, nil
}
