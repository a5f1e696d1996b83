package eventloop

import "github.com/jovalle/usher/proxy/clienthello"

const (
	// smallBuffer is the size of the buffers that are reused, in bytes. Few
	// ClientHellos are longer.
	smallBuffer = 4 << 10

	// maxFreeBuffers bounds the free buffers of a loop.
	maxFreeBuffers = 64

	// maxReceived bounds the bytes that are received before a connection is
	// forwarded.
	maxReceived = clienthello.MaxSize + maxProxyHeader
)

// buffer holds bytes that were received and cannot be sent yet: those of a
// ClientHello, or those that a slow receiver has no room for.
type buffer struct {
	data       []byte
	start, end int // the bytes held are data[start:end]
}

func (b *buffer) bytes() []byte { return b.data[b.start:b.end] }
func (b *buffer) space() []byte { return b.data[b.end:] }

// buffers is the pool of the buffers of one loop. It keeps only small ones.
type buffers struct {
	free []*buffer
}

// get returns an empty buffer with room for at least size bytes.
func (p *buffers) get(size int) *buffer {
	last := len(p.free) - 1
	if size > smallBuffer || last < 0 {
		return &buffer{data: make([]byte, max(size, smallBuffer))}
	}
	b := p.free[last]
	p.free = p.free[:last]
	b.start, b.end = 0, 0
	return b
}

// copyOf returns a buffer with a copy of data.
func (p *buffers) copyOf(data ...[]byte) *buffer {
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

// put returns a buffer to the pool. It ignores nil.
func (p *buffers) put(b *buffer) {
	if b != nil && len(b.data) == smallBuffer && len(p.free) < maxFreeBuffers {
		p.free = append(p.free, b)
	}
}
