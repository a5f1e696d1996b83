package usage

import (
	"errors"
	"fmt"
	"os"

	"github.com/prometheus/procfs"
)

// Memory is the memory of a proxy and of the kernel.
type Memory struct {
	User        int64 // bytes of the proxy's processes; what they share is divided (PSS, proc(5))
	Kernel      int64 // bytes of the machine's kernel: slab, stacks, page tables, socket buffers
	Descriptors int64 // that the proxy has open
}

// ReadMemory reads the memory of a measurement's proxy and of the kernel.
func ReadMemory(parties Parties) (Memory, error) {
	tree, err := readTree()
	if err != nil {
		return Memory{}, err
	}
	var use Memory
	for _, pid := range tree.under(parties.Proxy) {
		if err := use.add(pid); err != nil {
			return Memory{}, fmt.Errorf("read the memory of process %d: %w", pid, err)
		}
	}
	use.Kernel, err = kernelMemory()
	return use, err
}

func (m *Memory) add(pid int) error {
	process, err := procfs.NewProc(pid)
	if err != nil {
		return err
	}
	rollup, err := process.ProcSMapsRollup()
	if err != nil {
		return err
	}
	descriptors, err := process.FileDescriptorsLen()
	m.User += int64(rollup.Pss)
	m.Descriptors += int64(descriptors)
	return err
}

// kernelMemory returns the bytes that the kernel holds for connections, among
// other things: its slab caches are shared by all that it does.
func kernelMemory() (int64, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	info, err := fs.Meminfo()
	if err != nil {
		return 0, err
	}
	pages, err := tcpPages()
	if err != nil {
		return 0, err
	}
	var bytes uint64
	for _, part := range []*uint64{info.SlabBytes, info.KernelStackBytes, info.PageTablesBytes, info.PercpuBytes} {
		if part != nil {
			bytes += *part
		}
	}
	return int64(bytes) + int64(pages)*int64(os.Getpagesize()), nil
}

// tcpPages returns how many pages the buffers of TCP sockets take.
func tcpPages() (int, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	stat, err := fs.NetSockstat()
	if err != nil {
		return 0, err
	}
	for _, protocol := range stat.Protocols {
		if protocol.Protocol == "TCP" && protocol.Mem != nil {
			return *protocol.Mem, nil
		}
	}
	return 0, errors.New("/proc/net/sockstat tells nothing of TCP's memory")
}
