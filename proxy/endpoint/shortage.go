package endpoint

import "golang.org/x/sys/unix"

// IsShortage reports whether a dial failed because usher's machine has no free
// descriptors, memory, epoll watches, or local ports for the address: see socket(2),
// connect(2) and epoll_ctl(2). It is no failure of the address.
func IsShortage(errno unix.Errno) bool {
	switch errno {
	case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.ENOSPC, unix.EADDRNOTAVAIL, unix.EAGAIN:
		return true
	}
	return false
}
