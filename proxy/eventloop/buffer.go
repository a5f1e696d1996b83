package eventloop

import "github.com/jovalle/usher/proxy/clienthello"

// Sizes in bytes. Few hellos are longer than the small buffer.
const (
	smallBuffer = 4 << 10
	largeBuffer = clienthello.MaxSize + maxProxyHeader
	keptBuffers = 64 // of a size; more go to the garbage collector
)

// buffer holds bytes that were received and cannot be sent yet: those of a
// hello, or those that a slow reader has no room for.
type buffer struct {
	data       []byte
	start, end int // the bytes held are data[start:end]
}

func (b *buffer) bytes() []byte { return b.data[b.start:b.end] }
func (b *buffer) space() []byte { return b.data[b.end:] }

// buffers lends the buffers of one loop.
type buffers struct {
	small, large []*buffer
}

// get returns an empty buffer with room for size bytes, at most largeBuffer.
func (p *buffers) get(size int) *buffer {
	kept, capacity := &p.small, smallBuffer
	if size > smallBuffer {
		kept, capacity = &p.large, largeBuffer
	}
	last := len(*kept) - 1
	if last < 0 {
		return &buffer{data: make([]byte, capacity)}
	}
	b := (*kept)[last]
	(*kept)[last] = nil
	*kept = (*kept)[:last]
	b.start, b.end = 0, 0
	return b
}

// hold returns a buffer with a copy of data.
func (p *buffers) hold(data ...[]byte) *buffer {
	size := 0
	for _, d := range data {
		size += len(d)
	}
	b := p.get(size)
	for _, d := range data {
		b.end += copy(b.space(), d)
	}
	return b
}

// put takes back a buffer; nil is none.
func (p *buffers) put(b *buffer) {
	if b == nil {
		return
	}
	kept := &p.small
	if len(b.data) > smallBuffer {
		kept = &p.large
	}
	if len(*kept) < keptBuffers {
		*kept = append(*kept, b)
	}
}
