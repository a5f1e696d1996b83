package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jovalle/usher/hack/testbed/process"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// readyTimeout bounds the start of each server. It takes two seconds, and longer on a busy machine.
const readyTimeout = 90 * time.Second

// Options are the options of a Bed. The zero value is an etcd without clusters.
type Options struct {
	// Clusters are the names of the clusters to start, as DNS labels.
	Clusters []string
	// Address is the address of this machine that API servers and Traefiks listen on. The zero
	// value: 127.0.0.1.
	Address netip.Addr
	// Output receives a line for each server that is ready. Nil: none is written.
	Output io.Writer
}

// A Bed is an etcd with clusters on it. Its methods may be called from several goroutines.
type Bed struct {
	dir     string // has data/, which is removed with the bed, and log/
	address netip.Addr
	output  io.Writer
	release func() error // removes data/

	mu       sync.Mutex
	clusters map[string]*Cluster // name → cluster
	atStop   []func()            // run last to first
	keepLogs bool
}

// Start starts etcd, and then all clusters at once, and returns when each of them serves. If it
// fails, no server is left running. The logs stay, and the error names their folder.
func Start(ctx context.Context, o Options) (*Bed, error) {
	if err := checkBuilt(servers.Etcd, servers.KubeAPIServer); err != nil {
		return nil, err
	}
	start := time.Now()
	bed, err := makeBed(o)
	if err != nil {
		return nil, err
	}
	if err := bed.startServers(ctx, o.Clusters); err != nil {
		bed.KeepLogs()
		return nil, errors.Join(fmt.Errorf("starting the test bed (logs in %s): %w", bed.LogDir(), err), bed.Stop())
	}
	bed.report("%d clusters ready after %s", len(o.Clusters), since(start))
	return bed, nil
}

// checkBuilt returns an error if a server is not built.
func checkBuilt(names ...string) error {
	for _, name := range names {
		if _, err := servers.Locate(name); err != nil {
			return err
		}
	}
	return nil
}

func makeBed(o Options) (*Bed, error) {
	if o.Output == nil {
		o.Output = io.Discard
	}
	if !o.Address.IsValid() {
		o.Address = loopback
	}
	dir, err := os.MkdirTemp("", "usher-testbed-")
	if err != nil {
		return nil, fmt.Errorf("making the test bed's folder: %w", err)
	}
	bed := &Bed{dir: dir, address: o.Address, output: o.Output, clusters: map[string]*Cluster{}}
	err = errors.Join(os.Mkdir(bed.dataDir(), 0o700), os.Mkdir(bed.LogDir(), 0o700))
	if err == nil {
		bed.release, err = process.RemoveWhenOrphaned(bed.dataDir())
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return bed, nil
}

func (b *Bed) startServers(ctx context.Context, clusters []string) error {
	if err := b.startEtcd(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range clusters {
		group.Go(func() error {
			_, err := b.StartCluster(ctx, name)
			return err
		})
	}
	return group.Wait()
}

// Stop stops all servers in reverse order of their start, and removes the data. It also removes the
// logs unless KeepLogs was called. A second call does nothing.
func (b *Bed) Stop() error {
	b.mu.Lock()
	stops, keepLogs := b.atStop, b.keepLogs
	b.atStop = nil
	b.mu.Unlock()
	for _, stop := range slices.Backward(stops) {
		stop()
	}
	err := b.release()
	if keepLogs {
		return err
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}

// KeepLogs makes Stop keep the logs in LogDir, so that a person can read them after a failure.
func (b *Bed) KeepLogs() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keepLogs = true
}

// LogDir returns the folder of the logs, which has one file per server.
func (b *Bed) LogDir() string { return filepath.Join(b.dir, "log") }

func (b *Bed) dataDir() string { return filepath.Join(b.dir, "data") }

// Cluster returns a started cluster. It panics if there is none of that name, since that is a bug
// of the caller.
func (b *Bed) Cluster(name string) *Cluster {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := b.clusters[name]
	if !ok {
		panic(fmt.Sprintf("testbed: no cluster %q", name))
	}
	return c
}

// Run starts another program, such as usher. It is killed when the bed stops, and logs to NAME.log
// in LogDir. Env has entries KEY=value, which are added to the environment of this process.
func (b *Bed) Run(name string, env []string, path string, args ...string) (*process.Process, error) {
	p, err := process.Start(process.Command{
		Path:    path,
		Args:    args,
		Env:     env,
		LogFile: filepath.Join(b.LogDir(), name+".log"),
	})
	if err != nil {
		return nil, err
	}
	b.onStop(p.Kill)
	return p, nil
}

func (b *Bed) onStop(stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.atStop = append(b.atStop, stop)
}

func (b *Bed) report(format string, args ...any) {
	fmt.Fprintf(b.output, "testbed: "+format+"\n", args...)
}

func since(start time.Time) time.Duration { return time.Since(start).Round(10 * time.Millisecond) }
