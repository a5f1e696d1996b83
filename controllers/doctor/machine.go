package doctor

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
)

const (
	// portsShare is the share of the local ports from which their use is reported, in
	// percent.
	portsShare = 70
	// maxSockets bounds the bytes that are read of a table of sockets.
	maxSockets = 64 << 20
	// timeWait is the state TIME_WAIT in a table of sockets, which lasts for 60 s:
	// tcp_states.h and TCP_TIMEWAIT_LEN of Linux.
	timeWait        = "06"
	timeWaitSeconds = 60
)

// Machine reads the state of this machine. The zero value reads /proc.
type Machine struct {
	// Proc is where the proc file system is; empty for /proc.
	Proc string
}

// use is the use of local ports for connections to one address.
type use struct{ all, waiting int }

// Audit returns findings about connections of this machine to backends. What cannot be
// read has none.
func (m Machine) Audit(backends []netip.AddrPort) (findings []Finding) {
	ports, err := m.localPorts()
	if err != nil {
		return nil
	}
	used := m.used(backends)
	slices.SortFunc(backends, func(a, b netip.AddrPort) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Port(), b.Port()))
	})
	for _, backend := range backends {
		n := used[backend]
		if n == nil || n.all*100 < ports*portsShare {
			continue
		}
		findings = append(findings, Finding{
			Kind: reason.PortExhaustion, Risk: risks[reason.PortExhaustion],
			Evidence: message.Format("%d of the %d local ports for connections to %s are in use, %d of them in state TIME_WAIT: %.0f connections a second", n.all, ports, backend, n.waiting, float64(n.waiting)/timeWaitSeconds),
			Cure:     []string{`sysctl -w net.ipv4.ip_local_port_range="1024 65535"`},
		})
	}
	return findings
}

func (m Machine) path(parts ...string) string {
	return filepath.Join(append([]string{cmp.Or(m.Proc, "/proc")}, parts...)...)
}

// localPorts returns how many ports the kernel may choose for a connection.
func (m Machine) localPorts() (int, error) {
	text, err := os.ReadFile(m.path("sys", "net", "ipv4", "ip_local_port_range"))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return 0, fmt.Errorf("%q is no range", text)
	}
	low, lowErr := strconv.Atoi(fields[0])
	high, highErr := strconv.Atoi(fields[1])
	if lowErr != nil || highErr != nil || high < low {
		return 0, fmt.Errorf("%q is no range", text)
	}
	return high - low + 1, nil
}

// used counts the connections to backends.
func (m Machine) used(backends []netip.AddrPort) map[netip.AddrPort]*use {
	counts := map[netip.AddrPort]*use{}
	for _, backend := range backends {
		counts[backend] = &use{}
	}
	for _, table := range []string{"tcp", "tcp6"} {
		m.count(table, counts)
	}
	return counts
}

// count adds the connections of one table of sockets: proc_net_tcp.txt of Linux.
func (m Machine) count(table string, counts map[netip.AddrPort]*use) {
	file, err := os.Open(m.path("self", "net", table))
	if err != nil {
		return
	}
	defer file.Close()
	lines := bufio.NewScanner(io.LimitReader(file, maxSockets))
	for lines.Scan() {
		fields := strings.Fields(lines.Text()) // number, local, remote, state
		if len(fields) < 4 {
			continue
		}
		remote, err := parseSocket(fields[2])
		if err != nil || counts[remote] == nil {
			continue
		}
		counts[remote].all++
		if fields[3] == timeWait {
			counts[remote].waiting++
		}
	}
}

// parseSocket parses an address of a table of sockets: 32-bit words in the machine's byte
// order, and the port.
func parseSocket(text string) (netip.AddrPort, error) {
	address, port, _ := strings.Cut(text, ":")
	bytes, err := hex.DecodeString(address)
	if err != nil || len(bytes)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
	}
	for word := range slices.Chunk(bytes, 4) {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	addr, ok := netip.AddrFromSlice(bytes)
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil || !ok {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), nil
}
