// Package usage reads what processes and the kernel use: processor time, memory
// and descriptors, from /proc and the kernel's clocks. Linux only. It knows
// nothing of what it measures.
package usage

import (
	"os"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Parties are the processes of a measurement, each with its descendants. This
// process, the client, is always a party.
type Parties struct {
	Proxy   []int // identifiers; none where there is no proxy
	Backend []int
}

// CPU is the processor time that the parties have used so far.
type CPU struct {
	Proxy  time.Duration
	others time.Duration         // client and backend
	kernel map[int]time.Duration // kernel thread → its time, in clock ticks
}

// ReadCPU reads the times of all that work on a connection, so that work which a
// proxy leaves to its peers' softirqs or to kernel threads does not vanish.
func ReadCPU(parties Parties) (CPU, error) {
	tree, err := readTree()
	if err != nil {
		return CPU{}, err
	}
	use := CPU{kernel: map[int]time.Duration{}}
	if use.Proxy, err = timeOf(tree.under(parties.Proxy)); err != nil {
		return CPU{}, err
	}
	if use.others, err = timeOf(append(tree.under(parties.Backend), os.Getpid())); err != nil {
		return CPU{}, err
	}
	const kthreadd = 2
	for _, pid := range tree.under([]int{kthreadd}) {
		stat := tree.stats[pid]
		if strings.HasPrefix(stat.Comm, "kworker") || strings.HasPrefix(stat.Comm, "ksoftirqd") {
			use.kernel[pid] = time.Duration(stat.STime) * clockTick
		}
	}
	return use, nil
}

// clockTick is the unit of times in /proc/PID/stat, USER_HZ (proc(5)).
const clockTick = 10 * time.Millisecond

// TotalSince returns what all parties together have used since an earlier
// reading.
func (u CPU) TotalSince(before CPU) time.Duration {
	total := u.Proxy - before.Proxy + u.others - before.others
	for pid, used := range u.kernel {
		total += used - before.kernel[pid]
	}
	return total
}

// timeOf returns the time that processes have used in all their threads, those
// that have ended included.
func timeOf(pids []int) (time.Duration, error) {
	var total time.Duration
	for _, pid := range pids {
		const scheduled = 2 // the kernel's posix-timers.h: a process's clock, to the nanosecond
		var ts unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|scheduled), &ts); err != nil {
			return 0, os.NewSyscallError("clock_gettime of a process", err)
		}
		total += time.Duration(ts.Nano())
	}
	return total, nil
}

// A tree is all processes of the machine.
type tree struct {
	stats    map[int]procfs.ProcStat // process → its state
	children map[int][]int           // process → those it started
}

func readTree() (*tree, error) {
	processes, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	t := &tree{stats: map[int]procfs.ProcStat{}, children: map[int][]int{}}
	for _, process := range processes {
		stat, err := process.Stat()
		if err != nil {
			continue // it has ended
		}
		t.stats[stat.PID] = stat
		t.children[stat.PPID] = append(t.children[stat.PPID], stat.PID)
	}
	return t, nil
}

// under returns processes and all their descendants.
func (t *tree) under(roots []int) []int {
	all := append([]int(nil), roots...)
	for i := 0; i < len(all); i++ {
		all = append(all, t.children[all[i]]...)
	}
	return all
}
