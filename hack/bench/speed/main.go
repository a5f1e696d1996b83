// Command speed measures how fast usher follows its members: from an annotation
// to the first connection that is routed, how long a cold start takes until
// everything is served, and the memory that it then has. It uses real API servers
// and usher's own program; only the ingress behind it is a stand-in, one TLS server
// that answers for all hosts.
//
// What it knows of usher is its program, its CRDs, its annotations and its
// command line; it must not import usher's own packages.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"github.com/jovalle/usher/hack/testbed"
)

func main() {
	var b bench
	sizes := flag.String("hosts", "1000,10000", "how many hosts are exposed, one run each, rising")
	flag.IntVar(&b.changes, "changes", 200, "how many single changes are timed")
	flag.StringVar(&b.program, "usher", "bin/usher", "usher's program")
	flag.BoolVar(&b.keepLogs, "keep-logs", false, "leave the logs of all servers")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := b.run(ctx, *sizes)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
}

// bench is one run of the command.
type bench struct {
	changes  int
	program  string
	keepLogs bool

	bed         *testbed.Bed
	edge, hades *testbed.Cluster
	state       string // folder with a state directory for each start of usher: with the snapshot of the last start it would serve at once
	hosts       int    // exposed so far
}

func (b *bench) run(ctx context.Context, sizes string) (err error) {
	b.bed, err = testbed.Start(ctx, testbed.Options{Clusters: []string{"edge", "hades"}})
	if err != nil {
		return err
	}
	if b.keepLogs {
		b.bed.KeepLogs()
		fmt.Println("logs in", b.bed.LogDir())
	}
	defer func() { err = errors.Join(err, b.bed.Stop()) }()
	b.edge, b.hades = b.bed.Cluster("edge"), b.bed.Cluster("hades")
	if b.state, err = os.MkdirTemp("", "usher-speed-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.state)) }()
	if err := b.createMember(ctx); err != nil {
		return err
	}
	for size := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil || n < b.hosts {
			return fmt.Errorf("-hosts: %q is no number that rises", size)
		}
		if err := b.measure(ctx, n); err != nil {
			return fmt.Errorf("with %d hosts: %w", n, err)
		}
	}
	return nil
}
