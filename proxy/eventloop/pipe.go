package eventloop

import "golang.org/x/sys/unix"

const (
	// pipeBytes is what an unprivileged process may ask for by default
	// (pipe(7), pipe-max-size). Larger pipes make fewer calls a byte.
	pipeBytes = 1 << 20

	// maxPipes bounds the pipes of one loop, two descriptors and at most
	// pipeBytes of the kernel's memory each: 64 are also the kernel's quota
	// for one unprivileged user (pipe(7), pipe-user-pages-soft). Streams
	// beyond are copied.
	maxPipes = 64

	// maxFreePipes is how many pipes a loop keeps that nobody needs.
	maxFreePipes = 8
)

// pipe carries bytes from one socket to another inside the kernel.
type pipe struct {
	r, w int32
	held int // bytes that are in it
}

// pipes lends the pipes of one loop.
type pipes struct {
	kernel *kernel
	free   []*pipe
	open   int
}

// get returns an empty pipe, or nil when there are enough or none is to be
// had.
func (p *pipes) get() *pipe {
	if last := len(p.free) - 1; last >= 0 {
		lent := p.free[last]
		p.free = p.free[:last]
		return lent
	}
	if p.open >= maxPipes {
		return nil
	}
	r, w, errno := p.kernel.pipe()
	if errno != 0 {
		return nil
	}
	// Where the quota is used up the pipe stays small, and works.
	_, _ = unix.FcntlInt(uintptr(w), unix.F_SETPIPE_SZ, pipeBytes)
	p.open++
	return &pipe{r: int32(r), w: int32(w)}
}

// put takes back a pipe; nil is none. One that still holds bytes is closed:
// nobody else may see them.
func (p *pipes) put(used *pipe) {
	switch {
	case used == nil:
	case used.held == 0 && len(p.free) < maxFreePipes:
		p.free = append(p.free, used)
	default:
		p.close(used)
	}
}

func (p *pipes) close(used *pipe) {
	closeFD(used.r)
	closeFD(used.w)
	p.open--
}

// closeAll closes the pipes that are not lent.
func (p *pipes) closeAll() {
	for _, free := range p.free {
		p.close(free)
	}
	p.free = nil
}
