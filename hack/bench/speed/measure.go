package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/jovalle/usher/hack/testenv"
)

// settle is how long usher runs undisturbed before single changes are timed or its memory is read.
const settle = 10 * time.Second

// measure measures and prints all figures with n exposed hosts.
func (b *bench) measure(ctx context.Context, n int) error {
	if err := b.expose(ctx, n); err != nil {
		return fmt.Errorf("make the IngressRoutes: %w", err)
	}
	fmt.Printf("\n%d exposed hosts\n", n)
	usher, err := b.start(ctx, "  from IngressRoutes alone ")
	if err != nil {
		return err
	}
	if err := usher.Terminate(ctx); err != nil {
		return err
	}
	if usher, err = b.start(ctx, "  cold start, objects exist"); err != nil {
		return err
	}
	if err := b.printMemory(usher, "after the start"); err != nil {
		return err
	}
	if err := b.timeChanges(ctx, usher.HTTPS); err != nil {
		return err
	}
	if err := b.printMemory(usher, "after the changes"); err != nil {
		return err
	}
	return usher.Terminate(ctx)
}

// start starts usher, and prints how long it took until it was ready, and until
// every host was routed.
func (b *bench) start(ctx context.Context, title string) (*testenv.Usher, error) {
	state, err := os.MkdirTemp(b.state, "")
	if err != nil {
		return nil, err
	}
	began := time.Now()
	usher, err := testenv.Run(ctx, b.bed, "usher", b.program, b.edge, "--drain-timeout=1s", "--leader-elect=false", "--state-dir="+state)
	if err != nil {
		return nil, err
	}
	ready := time.Since(began)
	waited, err := b.connectToAll(ctx, usher.HTTPS)
	if err != nil {
		return nil, err
	}
	served := time.Since(began)
	if _, err := b.connectToAll(ctx, usher.HTTPS); err != nil {
		return nil, err
	}
	fmt.Printf("%s: ready after %.1f s; each host connected to, one after another, by %.1f s, %d of them not at the first attempt; the same again takes %.1f s\n",
		title, ready.Seconds(), served.Seconds(), waited, (time.Since(began) - served).Seconds())
	time.Sleep(settle)
	return usher, nil
}

// connectToAll waits for each host in turn until a connection to it is routed, and
// returns how many were not at the first attempt.
func (b *bench) connectToAll(ctx context.Context, usher netip.AddrPort) (waited int, err error) {
	for i := range b.hosts {
		v, err := newVisitor(ctx, hostOf(i))
		if err != nil {
			return 0, err
		}
		attempts, err := v.awaitRouted(ctx, usher, true)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", hostOf(i), err)
		}
		if attempts > 1 {
			waited++
		}
	}
	return waited, nil
}

// timeChanges exposes and withdraws a host repeatedly.
func (b *bench) timeChanges(ctx context.Context, usher netip.AddrPort) error {
	member := b.hades.Client()
	visitor, err := newVisitor(ctx, timed+".techn.is")
	if err != nil {
		return err
	}
	took := map[bool][]time.Duration{} // exposed or withdrawn → one duration per change
	for i := range 2 * b.changes {
		exposed := i%2 == 0
		began := time.Now()
		if err := annotate(ctx, member, exposed); err != nil {
			return fmt.Errorf("annotate: %w", err)
		}
		if _, err := visitor.awaitRouted(ctx, usher, exposed); err != nil {
			return err
		}
		took[exposed] = append(took[exposed], time.Since(began))
	}
	printQuantiles("annotation set to first routed connection  ", took[true])
	printQuantiles("annotation gone to first refused connection", took[false])
	return nil
}

func printQuantiles(title string, took []time.Duration) {
	slices.Sort(took)
	at := func(q float64) float64 { return took[int(q*float64(len(took)-1))].Seconds() * 1000 }
	fmt.Printf("  %s  p50 %.1f ms, p90 %.1f ms, p99 %.1f ms, max %.1f ms (%d changes)\n", title, at(0.5), at(0.9), at(0.99), at(1), len(took))
}

// memory finds the fields of proc_pid_status(5) that are printed.
var memory = regexp.MustCompile(`(?m)^(VmRSS|VmHWM):\s+(\d+) kB`)

// printMemory prints the memory of usher's process.
func (b *bench) printMemory(usher *testenv.Usher, when string) error {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", usher.PID()))
	if err != nil {
		return err
	}
	found := map[string]string{}
	for _, field := range memory.FindAllStringSubmatch(string(status), -1) {
		found[field[1]] = field[2]
	}
	fmt.Printf("  memory %s: resident %s kB, at most %s kB\n", when, found["VmRSS"], found["VmHWM"])
	return nil
}
