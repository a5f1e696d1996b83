package testbed

import (
	"context"
	"fmt"
	"os"
)

// TB is the part of *testing.T that New uses.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Failed() bool
	Fatal(args ...any)
	Logf(format string, args ...any)
}

// New starts a bed for one test, and stops it when the test ends. If it fails, it fails the test.
func New(t TB, o Options) *Bed {
	t.Helper()
	bed, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			bed.KeepLogs()
			t.Logf("the servers' logs are in %s", bed.LogDir())
		}
		if err := bed.Stop(); err != nil {
			t.Logf("stopping the test bed: %v", err)
		}
	})
	return bed
}

// Main starts a bed for all tests of a package, stores it in bed, runs them, stops it, and
// returns the exit status. M is *testing.M. An example is in the package's documentation.
func Main(m interface{ Run() int }, bed **Bed, o Options) int {
	b, err := Start(context.Background(), o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	*bed = b
	status := m.Run()
	if status != 0 {
		b.KeepLogs()
		fmt.Fprintf(os.Stderr, "the servers' logs are in %s\n", b.LogDir())
	}
	if err := b.Stop(); err != nil {
		fmt.Fprintf(os.Stderr, "stopping the test bed: %v\n", err)
	}
	return status
}
