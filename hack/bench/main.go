// Command bench compares usher with other TLS passthrough proxies: CPU time per
// connection and per byte, memory per idle connection, and added round-trip time. All
// run on loopback, and each is started before its measurement. In each round all proxies
// take turns, so that other work on the machine affects all of them equally.
//
// It runs the real binary. Of usher's packages it imports only the parser of
// ClientHellos, which its baseline proxy uses.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/jovalle/usher/hack/bench/baseline"
	"github.com/jovalle/usher/hack/bench/results"
	"github.com/jovalle/usher/hack/bench/workload"
)

// The commands by which the bench starts itself as another process.
const (
	backendCommand  = "backend"  // ADDRESS...
	baselineCommand = "baseline" // ADDRESS TABLE
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 1 && args[0] == backendCommand {
		return workload.Backend(ctx, args[1:])
	}
	if len(args) == 3 && args[0] == baselineCommand {
		return baseline.Serve(ctx, args[1], args[2])
	}
	o := options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.usher, "usher", "bin/usher", "`FILE` of usher's binary")
	flags.StringVar(&o.others, "others", "", "other builds of usher to measure beside it: `FILES`, comma-separated")
	flags.StringVar(&o.traefik, "traefik", "", "`FILE` of Traefik's binary (default: without Traefik)")
	flags.StringVar(&o.out, "out", "dist/bench", "`DIR` for bench.json, bench.md and bench.svg")
	flags.StringVar(&o.report, "report", "", "measure nothing, and make tables and plot of a bench.json again: `FILE`")
	flags.BoolVar(&o.quick, "quick", false, "the first six tests with fewer proxies, and less of everything: about 2 minutes")
	flags.IntVar(&o.rounds, "rounds", 0, "rounds (default 5, quick 3)")
	flags.StringVar(&o.tests, "tests", "", "only these tests, comma-separated (default: all)")
	flags.StringVar(&o.proxies, "proxies", "", "only these proxies, comma-separated (default: all)")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	return o.run(ctx)
}

// options are the options of the command line.
type options struct {
	usher, others, traefik, out, report, tests, proxies string
	quick                                               bool
	rounds                                              int
}

func (o *options) run(ctx context.Context) error {
	report, err := o.obtain(ctx)
	if err != nil {
		return err
	}
	var tables, plot strings.Builder
	report.Markdown(&tables)
	if err := report.Plot(&plot); err != nil {
		return err
	}
	fmt.Print(tables.String())
	return errors.Join(
		os.WriteFile(filepath.Join(o.out, "bench.md"), []byte(tables.String()), 0o644),
		os.WriteFile(filepath.Join(o.out, "bench.svg"), []byte(plot.String()), 0o644),
	)
}

// obtain reads a report, or measures and stores one.
func (o *options) obtain(ctx context.Context) (*results.Report, error) {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return nil, err
	}
	if o.report != "" {
		return results.Read(o.report)
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return nil, err
	}
	defer b.close()
	return b.report, b.run(ctx, filepath.Join(o.out, "bench.json"))
}
