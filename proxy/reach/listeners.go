package reach

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// listeners counts the sockets in this network namespace that listen on exactly this
// address and port. If there are several, they share it by SO_REUSEPORT, which only
// processes of one user can: one usher process takes over from another.
func listeners(at netip.AddrPort) int {
	at = netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
	n := 0
	for _, path := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		file, err := os.Open(path)
		if err != nil {
			continue // without IPv6 there is no tcp6
		}
		n += countListeners(file, at)
		file.Close()
	}
	return n
}

// countListeners parses the kernel's table of TCP sockets, in which listening sockets
// come first: see Documentation/networking/proc_net_tcp.rst of Linux.
func countListeners(table io.Reader, at netip.AddrPort) int {
	const listening = "0A"
	n := 0
	lines := bufio.NewScanner(table)
	lines.Scan() // skip the heading
	for lines.Scan() {
		fields := strings.Fields(lines.Text()) // number, local address, remote address, state, ...
		if len(fields) < 4 || fields[3] != listening {
			break
		}
		if addr, ok := parseSocketAddress(fields[1]); ok && addr == at {
			n++
		}
	}
	return n
}

// parseSocketAddress parses an address of that table: hexadecimal words of 32 bits in
// the machine's byte order, and a port.
func parseSocketAddress(s string) (netip.AddrPort, bool) {
	words, port, found := strings.Cut(s, ":")
	number, err := strconv.ParseUint(port, 16, 16)
	raw, wrong := hex.DecodeString(words)
	if !found || err != nil || wrong != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr, uint16(number)), ok
}
