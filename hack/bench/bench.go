package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/hack/bench/peer"
	"github.com/jovalle/usher/hack/bench/results"
	"github.com/jovalle/usher/hack/bench/usage"
	"github.com/jovalle/usher/hack/bench/workload"
	"github.com/jovalle/usher/hack/testbed/process"
)

const (
	runTimeout   = 2 * time.Minute // for one test of one proxy
	startTimeout = 2 * time.Minute // for one proxy with many names
	backends     = 4               // addresses of the one backend process
)

// A bench is one run of the benchmark.
type bench struct {
	dir      string
	limit    int // descriptors that a process may have
	backend  *process.Process
	backends []peer.Address
	tests    []test
	report   *results.Report
}

// newBench starts the backend.
func newBench(ctx context.Context, o *options) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	report, err := newReport(o)
	if err != nil {
		return nil, err
	}
	b := &bench{tests: o.selected(self), report: report}
	if b.limit, err = descriptorLimit(); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "usher-bench-"); err != nil {
		return nil, err
	}
	if err := b.startBackend(ctx, self); err != nil {
		b.close()
		return nil, err
	}
	b.noteVersions(ctx, o.peers(self))
	return b, nil
}

// newReport returns a report without tables.
func newReport(o *options) (*results.Report, error) {
	machine, err := thisMachine()
	report := &results.Report{Started: time.Now(), Machine: machine, Versions: map[string]string{}, Rounds: fullRounds, Size: fullSize}
	if o.quick {
		report.Rounds, report.Size = quickRounds, quickSize
	}
	if o.rounds > 0 {
		report.Rounds = o.rounds
	}
	return report, err
}

// How often each test is run.
const (
	fullRounds  = 5
	quickRounds = 3
)

// What a run of each test does: fullSize for figures to keep, quickSize to see
// whether a change was for the better.
var (
	fullSize = workload.Size{
		Connections: 20_000, TLSConnections: 1500, Concurrency: 32,
		Streams: 4, StreamBytes: 500e6, Idle: 10_000, RoundTrips: 20_000,
	}
	quickSize = workload.Size{
		Connections: 4000, TLSConnections: 1000, Concurrency: 32,
		Streams: 4, StreamBytes: 300e6, Idle: 10_000, RoundTrips: 3000,
	}
)

func thisMachine() (results.Machine, error) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return results.Machine{}, err
	}
	processors, err := fs.CPUInfo()
	if err != nil {
		return results.Machine{}, err
	}
	load, err := fs.LoadAvg()
	if err != nil {
		return results.Machine{}, err
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return results.Machine{}, err
	}
	return results.Machine{
		Kernel:     unix.ByteSliceToString(name.Release[:]),
		Processor:  processors[0].ModelName,
		Processors: len(processors),
		Load:       load.Load1,
	}, nil
}

// descriptorLimit returns how many this process may have, and so its children:
// Go has raised the soft limit to the hard one at start, and gives children the
// former, so it is set again.
func descriptorLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	limit.Cur = limit.Max
	return int(min(limit.Max, 1<<20)), unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}

// startBackend starts the far end of all connections, a process of its own.
func (b *bench) startBackend(ctx context.Context, self string) error {
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	args := []string{backendCommand}
	for i := range backends {
		b.backends = append(b.backends, peer.Address{IP: fmt.Sprintf("127.0.1.%d", i+1), Port: port})
		args = append(args, b.backends[i].String())
	}
	b.backend, err = process.Start(process.Command{Path: self, Args: args, LogFile: filepath.Join(b.dir, "backend.log")})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return b.backend.AwaitReady(ctx, func(ctx context.Context) error {
		return workload.Probe(ctx, b.backends[backends-1].String(), "backend.example")
	})
}

// freePort returns a port that nothing listens on.
func freePort(ctx context.Context) (int, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}

// freeAddress returns a loopback address that nothing listens on.
func freeAddress(ctx context.Context) (string, error) {
	port, err := freePort(ctx)
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

func (b *bench) noteVersions(ctx context.Context, proxies []peer.Peer) {
	for i := range proxies {
		if version := proxies[i].Version(ctx); version != "" {
			b.report.Versions[proxies[i].Name] = version
		}
	}
}

func (b *bench) close() {
	if b.backend != nil {
		b.backend.Kill()
	}
	_ = os.RemoveAll(b.dir) // a temporary directory
}

// parties returns whose processor time a run of a proxy counts.
func (b *bench) parties(proxy *peer.Running) usage.Parties {
	parties := usage.Parties{Backend: []int{b.backend.PID()}}
	if proxy != nil {
		parties.Proxy = []int{proxy.PID()}
	}
	return parties
}
