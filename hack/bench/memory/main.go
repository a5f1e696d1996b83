// Command memory measures the memory that usher needs to watch large members: many
// Ingresses in two real API servers, few of them annotated. It prints the resident
// memory of a process that holds the members' caches, and how long the first sync takes.
// It compares usher's caches with those of controller-runtime without usher's transform,
// which removes the fields that claims are not read from.
//
// Each variant runs in its own process: this program, started again.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/jovalle/usher/hack/testbed"
)

var members = []string{"hades", "illmatic"}

func main() { os.Exit(run()) }

// run returns the exit status.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	objects := flag.Int("ingresses", 20_000, "how many Ingresses there are, over both members")
	annotated := flag.Int("annotated", 100, "one Ingress of how many is annotated")
	hold := flag.String("hold", "", "hold the members' caches as `usher` or plain does, and report: what a child is told")
	flag.Parse()
	ctrl.SetLogger(logr.Discard()) // otherwise its clients log a warning
	task := func() error { return compare(ctx, *objects, *annotated) }
	if *hold != "" {
		task = func() error { return report(ctx, *hold, flag.Args()) }
	}
	if err := task(); err != nil {
		fmt.Fprintln(os.Stderr, "memory:", err)
		return 1
	}
	return 0
}

// figures are what a holder reports, as JSON.
type figures struct {
	Hosts    int           `json:"hosts"`    // claimed by annotated objects
	Sync     time.Duration `json:"sync"`     // until all members were in sync
	Resident int64         `json:"resident"` // bytes (VmRSS, proc(5)), after a garbage collection
	Peak     int64         `json:"peak"`     // bytes (VmHWM)
}

// compare fills the members and measures both variants.
func compare(ctx context.Context, objects, annotated int) error {
	bed, err := testbed.Start(ctx, testbed.Options{Clusters: members})
	if err != nil {
		return err
	}
	return errors.Join(measure(ctx, bed, objects, annotated), bed.Stop())
}

func measure(ctx context.Context, bed *testbed.Bed, objects, annotated int) error {
	start := time.Now()
	fills, fillCtx := errgroup.WithContext(ctx)
	for _, name := range members {
		fills.Go(func() error { return fill(fillCtx, bed.Cluster(name), objects/len(members), annotated) })
	}
	if err := fills.Wait(); err != nil {
		return err
	}
	fmt.Printf("%d Ingresses over %d members, 1 of %d annotated, written in %s\n\n", objects, len(members), annotated, time.Since(start).Round(time.Second))
	fmt.Printf("%-28s %10s %10s %8s %6s\n", "cache", "resident", "peak", "sync", "hosts")
	for _, way := range []struct{ hold, name string }{{"empty", "none"}, {"usher", "usher's"}, {"plain", "without the transform"}} {
		f, err := startHolder(ctx, bed, way.hold)
		if err != nil {
			return fmt.Errorf("hold the caches (%s): %w", way.hold, err)
		}
		fmt.Printf("%-28s %6.1f MiB %6.1f MiB %7.1fs %6d\n", way.name, mib(f.Resident), mib(f.Peak), f.Sync.Seconds(), f.Hosts)
	}
	return nil
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// startHolder runs this program as a holder, and returns its figures.
func startHolder(ctx context.Context, bed *testbed.Bed, hold string) (figures, error) {
	self, err := os.Executable()
	if err != nil {
		return figures{}, err
	}
	args := []string{"-hold", hold}
	for _, name := range members {
		args = append(args, bed.Cluster(name).KubeconfigFile())
	}
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return figures{}, fmt.Errorf("%w: %s", err, stderr.String())
	}
	var f figures
	return f, json.Unmarshal(out, &f)
}
