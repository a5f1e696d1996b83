package eventloop

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernel holds the system calls of the forwarding path, on non-blocking descriptors.
// Tests replace them by functions that fail. A call through a function value adds
// about 2 ns to the 300 ns of a system call (BenchmarkKernelSeam).
//
// They are raw system calls: they return at once, so the Go scheduler need not be
// notified, and no error is allocated. Only epoll_wait goes through the scheduler.
type kernel struct {
	accept  func(listener int, peer *sockaddr) (fd int, errno syscall.Errno)
	read    func(fd int, p []byte) (n int, errno syscall.Errno)
	write   func(fd int, p []byte, more bool) (n int, errno syscall.Errno)
	splice  func(from, to, limit int) (n int, errno syscall.Errno)
	socket  func(family int) (fd int, errno syscall.Errno)
	connect func(fd int, peer *sockaddr) syscall.Errno
	pipe    func() (r, w int, errno syscall.Errno)
	watch   func(epoll, op, fd int, event *unix.EpollEvent) syscall.Errno
}

var realKernel = kernel{
	accept:  sysAccept,
	read:    sysRead,
	write:   sysWrite,
	splice:  sysSplice,
	socket:  sysSocket,
	connect: sysConnect,
	pipe:    sysPipe,
	watch:   sysWatch,
}

func sysAccept(listener int, peer *sockaddr) (int, syscall.Errno) {
	size := uint32(unsafe.Sizeof(*peer))
	fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(listener),
		uintptr(unsafe.Pointer(peer)), uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(fd), errno
}

func sysRead(fd int, p []byte) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
	return int(n), errno
}

func sysWrite(fd int, p []byte, more bool) (int, syscall.Errno) {
	flags := uintptr(unix.MSG_NOSIGNAL)
	if more {
		flags |= unix.MSG_MORE
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
	return int(n), errno
}

func sysSplice(from, to, limit int) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0,
		uintptr(limit), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	return int(n), errno
}

func sysSocket(family int) (int, syscall.Errno) {
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family),
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	return int(fd), errno
}

func sysConnect(fd int, peer *sockaddr) syscall.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(peer)), peer.size())
	return errno
}

func sysPipe() (r, w int, errno syscall.Errno) {
	var fds [2]int32
	_, _, errno = unix.RawSyscall(unix.SYS_PIPE2, uintptr(unsafe.Pointer(&fds)), unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	return int(fds[0]), int(fds[1]), errno
}

func sysWatch(epoll, op, fd int, event *unix.EpollEvent) syscall.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(event)), 0, 0)
	return errno
}

// Tests do not replace the following calls: they cannot fail, or a failure has no
// effect.

func closeFD(fd int32) {
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

func shutdownWrite(fd int32) {
	_, _, _ = unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
}

func setOption(fd int32, level, option int, value int32) {
	_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value), 0)
}

// resetOnClose makes close(2) abort the connection: the peer gets a reset, and bytes
// that were not sent yet are dropped.
func resetOnClose(fd int32) {
	_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}
