package selfaddr

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// addresses are the addresses of this machine at one time. They are immutable.
type addresses struct {
	single   map[netip.Addr]bool // of all interfaces
	prefixes []netip.Prefix      // of loopback interfaces: each address of the prefix is local
}

// contain reports whether addr is an address of this machine.
func (a *addresses) contain(addr netip.Addr) bool {
	if addr.IsLoopback() || a.single[addr] {
		return true
	}
	for _, prefix := range a.prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// readAddresses reads the addresses of all interfaces that are up, by rtnetlink(7).
// Package net would send one query for each interface, and a Kubernetes node has
// hundreds. Interfaces that are down are ignored: in IPVS mode kube-proxy keeps the
// addresses of Services on such an interface (kube-ipvs0), and connections to them
// reach pods.
func readAddresses() (*addresses, error) {
	up, err := readLinks()
	if err != nil {
		return nil, err
	}
	messages, err := dump(syscall.RTM_GETADDR)
	if err != nil {
		return nil, err
	}
	all := &addresses{single: make(map[netip.Addr]bool)}
	for _, m := range messages {
		if m.Header.Type != syscall.RTM_NEWADDR || len(m.Data) < syscall.SizeofIfAddrmsg {
			continue
		}
		if flags, ok := up[word(m, interfaceAt)]; ok {
			all.add(localAddress(m), int(m.Data[prefixLengthAt]), flags)
		}
	}
	return all, nil
}

// add adds an address of an interface with the given flags.
func (a *addresses) add(addr netip.Addr, bits int, flags uint32) {
	if !addr.IsValid() {
		return
	}
	a.single[addr] = true
	if prefix, err := addr.Prefix(bits); err == nil && flags&unix.IFF_LOOPBACK != 0 && addr.Is4() {
		a.prefixes = append(a.prefixes, prefix)
	}
}

// readLinks returns the flags of the interfaces that are up, by index.
func readLinks() (map[uint32]uint32, error) {
	messages, err := dump(syscall.RTM_GETLINK)
	if err != nil {
		return nil, err
	}
	up := make(map[uint32]uint32)
	for _, m := range messages {
		if m.Header.Type != syscall.RTM_NEWLINK || len(m.Data) < syscall.SizeofIfInfomsg {
			continue
		}
		if flags := word(m, flagsAt); flags&unix.IFF_UP != 0 {
			up[word(m, interfaceAt)] = flags
		}
	}
	return up, nil
}

// Offsets in struct ifaddrmsg and struct ifinfomsg of rtnetlink(7), in bytes.
const (
	prefixLengthAt = 1 // of ifaddrmsg
	interfaceAt    = 4 // of both
	flagsAt        = 8 // of ifinfomsg
)

// word returns the 32 bits at an offset of a message.
func word(m syscall.NetlinkMessage, at int) uint32 { return binary.NativeEndian.Uint32(m.Data[at:]) }

func dump(kind int) ([]syscall.NetlinkMessage, error) {
	data, err := syscall.NetlinkRIB(kind, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("read the interfaces by netlink: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(data)
	if err != nil {
		return nil, fmt.Errorf("read the interfaces by netlink: %w", err)
	}
	return messages, nil
}

// localAddress returns the local address in a message. On a point-to-point link,
// IFA_ADDRESS is the address of the peer, and IFA_LOCAL is the local one.
func localAddress(m syscall.NetlinkMessage) netip.Addr {
	attributes, err := syscall.ParseNetlinkRouteAttr(&m)
	if err != nil {
		return netip.Addr{}
	}
	var local netip.Addr
	for _, a := range attributes {
		addr, ok := netip.AddrFromSlice(a.Value)
		if ok && (a.Attr.Type == unix.IFA_LOCAL || a.Attr.Type == unix.IFA_ADDRESS && !local.IsValid()) {
			local = addr
		}
	}
	return local
}
