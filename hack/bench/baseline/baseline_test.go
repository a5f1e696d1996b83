package baseline

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/bench/workload"
	"github.com/jovalle/usher/hack/test/testkit"
)

func TestTheBaselineCarriesEachTest(t *testing.T) {
	address, backend := testkit.FreeAddress(t, "127.0.0.1"), testkit.FreeAddress(t, "127.0.0.1")
	table := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(table, []byte("a.example "+backend+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, func(ctx context.Context) error { return workload.Backend(ctx, []string{backend}) })
	run(t, func(ctx context.Context) error { return Serve(ctx, address, table) })
	awaitProbe(t, address)
	size := workload.Size{Connections: 50, TLSConnections: 10, Concurrency: 4, Streams: 2, StreamBytes: 4e6, RoundTrips: 50}
	for _, name := range []string{"hello", "connect", "down", "up", "latency"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			target := workload.Target{Address: address, Hosts: []string{"a.example"}}
			if _, err := workload.Tests[name](ctx, target, size); err != nil {
				t.Error(err)
			}
		})
	}
	if err := workload.Probe(t.Context(), address, "stranger.example"); err == nil {
		t.Error("a host that is not in the table was served")
	}
}

// run runs a server until the test ends.
func run(t *testing.T, serve func(context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func awaitProbe(t *testing.T, address string) {
	t.Helper()
	testkit.Eventually(t, address+" should answer", func() error { return workload.Probe(t.Context(), address, "a.example") })
}
