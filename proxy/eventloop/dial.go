package eventloop

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// dial starts a connection to the next address of the route. No bytes were sent to
// the previous addresses.
func (c *conn) dial() {
	l, o := c.loop, c.opening
	for {
		addr, name, ok := o.targets.next()
		if !ok {
			c.refuse(o.dialRefusal)
			return
		}
		c.traffic = l.counters.traffic(o.targets.backend.Cluster)
		o.name, o.dialled = name, netip.AddrPortFrom(addr, o.targets.backend.HTTPSPort)
		if name != "" {
			addrs, known := l.resolver.cached(l.ctx, name)
			if !known {
				c.resolve(name)
				return
			}
			c.resolved(addrs)
			continue
		}
		if !o.targets.backend.Dials(addr) {
			c.addressNotAllowed(addr)
			continue
		}
		if c.isOwnAddress(o.dialled) {
			o.dialRefusal = routeLoops
			continue
		}
		errno := c.connect()
		switch {
		case errno == 0:
			return
		case isShortage(errno):
			c.dialShortage(errno)
		default:
			c.dialFailed(errno)
		}
	}
}

// resolve starts a DNS lookup of a name. The result is delivered to the loop.
func (c *conn) resolve(name string) {
	l := c.loop
	c.enter(connecting)
	c.watchClient()
	a := c.currentAttempt()
	l.resolver.resolve(l.ctx, name, func(addrs []netip.Addr) {
		a.answer(func() {
			c.resolved(addrs)
			c.dial()
		})
	})
}

// resolved sets the addresses of the name that was looked up.
func (c *conn) resolved(addrs []netip.Addr) {
	if len(addrs) == 0 {
		c.dialFailed(errNoAddress)
	}
	c.opening.targets.setResolved(addrs)
}

// addressNotAllowed counts an address that is not allowed for the backend.
func (c *conn) addressNotAllowed(addr netip.Addr) {
	c.loop.logQueue.logDialFailed(c, addr.String(), errNotAllowed)
	c.traffic.dialFailures.Add(1)
}

// connect dials one address.
func (c *conn) connect() unix.Errno {
	l := c.loop
	peer := newSockaddr(c.opening.dialled)
	fd, errno := l.kernel.socket(int(peer.family))
	if errno != 0 {
		return errno
	}
	setOption(int32(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	// The last ACK of the handshake is sent with the ClientHello, which saves a
	// segment.
	setOption(int32(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
	l.peer = peer
	errno = l.kernel.connect(fd, &l.peer)
	if errno != 0 && errno != unix.EINPROGRESS && errno != unix.EINTR {
		closeFD(int32(fd))
		return errno
	}
	c.up.dst, c.down.src = int32(fd), int32(fd)
	c.enter(connecting)
	c.watchClient()
	if errno := l.watch(c, backend, fd, unix.EPOLL_CTL_ADD, watchIn|unix.EPOLLOUT); errno != 0 {
		c.closeBackend()
		return errno
	}
	return 0
}

// dialFailed counts a failed dial or lookup.
func (c *conn) dialFailed(err error) {
	c.opening.dialRefusal = noBackend
	c.traffic.dialFailures.Add(1)
	c.loop.logQueue.logDialFailed(c, c.opening.target(), err)
}

// dialShortage records that usher's machine lacks a resource for the dial. It is not
// counted as a failure of the cluster. The next address is still tried, because local
// ports are exhausted for each address separately.
func (c *conn) dialShortage(err unix.Errno) {
	c.opening.dialRefusal = noResources
	c.loop.logQueue.logDialFailed(c, c.opening.target(), err)
}

// isShortage reports whether a dial failed because usher's machine has no free
// descriptors, memory, epoll watches, or local ports for the address: see socket(2),
// connect(2) and epoll_ctl(2).
func isShortage(errno unix.Errno) bool {
	switch errno {
	case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.ENOSPC, unix.EADDRNOTAVAIL, unix.EAGAIN:
		return true
	}
	return false
}

// target returns the name that is being looked up, or the address that is dialled.
func (o *opening) target() string {
	if o.name != "" {
		return o.name
	}
	return o.dialled.String()
}

// closeBackend closes the socket of a backend to which no bytes were sent.
func (c *conn) closeBackend() {
	closeFD(c.up.dst)
	c.up.dst, c.down.src = -1, -1
	c.up.writable, c.down.readable, c.down.closing = false, false, false
}

// dialTimedOut dials the next address.
func (c *conn) dialTimedOut() {
	c.dialFailed(unix.ETIMEDOUT)
	c.dropBackend()
	c.dial()
}

// dropBackend closes the backend's socket if there is one.
func (c *conn) dropBackend() {
	if c.up.dst >= 0 {
		c.closeBackend()
	}
}

// socketError returns and clears the error of a socket.
func socketError(fd int32) unix.Errno {
	code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || code == 0 {
		return unix.ECONNABORTED
	}
	return unix.Errno(code)
}
