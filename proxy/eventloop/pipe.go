package eventloop

import "golang.org/x/sys/unix"

const (
	// pipeBytes is the default maximum for an unprivileged process (pipe(7),
	// pipe-max-size). Larger pipes need fewer system calls for the same bytes.
	pipeBytes = 1 << 20

	// maxPipes bounds the pipes of one loop. Each uses two descriptors and at most
	// pipeBytes of kernel memory. 64 is also the quota of the kernel for one
	// unprivileged user (pipe(7), pipe-user-pages-soft). Further streams are copied.
	maxPipes = 64

	// maxFreePipes bounds the free pipes of a loop.
	maxFreePipes = 8
)

// pipe carries bytes from one socket to another inside the kernel.
type pipe struct {
	r, w int32
	held int // bytes in the pipe
}

// pipes is the pool of the pipes of one loop.
type pipes struct {
	kernel *kernel
	free   []*pipe
	open   int
}

// get returns an empty pipe, or nil if there are maxPipes or no pipe can be created.
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
	// If the quota is used up, the pipe stays small, but works.
	_, _ = unix.FcntlInt(uintptr(w), unix.F_SETPIPE_SZ, pipeBytes)
	p.open++
	return &pipe{r: int32(r), w: int32(w)}
}

// put returns a pipe to the pool. It ignores nil. A pipe that still holds bytes is
// closed, so that they cannot reach another connection.
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

// closeAll closes the free pipes.
func (p *pipes) closeAll() {
	for _, free := range p.free {
		p.close(free)
	}
	p.free = nil
}
