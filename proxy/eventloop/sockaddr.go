package eventloop

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is a socket address of IPv4 or IPv6 in the layout of the kernel. Its
// fields are bytes, which need no conversion of the byte order.
type sockaddr struct {
	family uint16
	port   [2]byte // big endian
	rest   [24]byte
}

// Sizes of sockaddr_in and sockaddr_in6 (netinet/in.h), and the offset of an IPv6
// address in rest.
const (
	sizeIPv4 = 16
	sizeIPv6 = 28
	ipv6At   = 4 // after the flow label
)

// The size must be that of the kernel's sockaddr_in6, which the kernel reads and
// writes.
var _ [sizeIPv6]byte = [unsafe.Sizeof(sockaddr{})]byte{}

func newSockaddr(addr netip.AddrPort) sockaddr {
	sa := sockaddr{family: unix.AF_INET}
	binary.BigEndian.PutUint16(sa.port[:], addr.Port())
	if ip := addr.Addr().Unmap(); ip.Is4() {
		raw := ip.As4()
		copy(sa.rest[:], raw[:])
		return sa
	}
	sa.family = unix.AF_INET6
	raw := addr.Addr().As16()
	copy(sa.rest[ipv6At:], raw[:])
	return sa
}

func (sa *sockaddr) size() uintptr {
	if sa.family == unix.AF_INET {
		return sizeIPv4
	}
	return sizeIPv6
}

// addrPort returns the address; an IPv4-mapped IPv6 address as IPv4.
func (sa *sockaddr) addrPort() netip.AddrPort {
	port := binary.BigEndian.Uint16(sa.port[:])
	if sa.family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(sa.rest[:4])), port)
	}
	ip := netip.AddrFrom16([16]byte(sa.rest[ipv6At : ipv6At+16]))
	return netip.AddrPortFrom(ip.Unmap(), port)
}

// localAddr returns the local address of a socket.
func localAddr(fd int32) netip.AddrPort {
	var sa sockaddr
	size := uint32(unsafe.Sizeof(sa))
	_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd),
		uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return netip.AddrPort{}
	}
	return sa.addrPort()
}
