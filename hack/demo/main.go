// Command demo shows usher working on real parts: three API servers, two
// Traefiks, apps behind them, and usher in front, asked by curl and kubectl as a
// person would. With --once it ends by itself; it fails when any step did.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jovalle/usher/hack/testbed/servers"
	"github.com/jovalle/usher/hack/testenv"
)

func main() {
	once := flag.Bool("once", false, "end after the last step")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := show(ctx, *once)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func show(ctx context.Context, once bool) error {
	began := time.Now()
	fmt.Println("Starting an edge cluster, hades and illmatic, a Traefik in each, and usher:")
	s, err := testenv.Raise(ctx, testenv.Options{Usher: "bin/usher", CRDs: "config/crd/*.yaml", Output: os.Stdout})
	if err != nil {
		return err
	}
	defer func() { _ = s.Bed.Stop() }()
	for _, app := range []struct {
		member    *testenv.Member
		name, url string
	}{
		{s.Hades, "whoami", "whoami.techn.is"}, {s.Hades, "ledger", "ledger.techn.is"},
		{s.Illmatic, "photos", "photos.techn.is"}, {s.Illmatic, "diary", "diary.techn.is"},
	} {
		if err := app.member.Publish(ctx, app.name, app.url); err != nil {
			return err
		}
	}
	fmt.Printf("All up after %.1fs. Each cluster serves two apps; none is exposed yet.\n", time.Since(began).Seconds())
	narrator, err := newNarrator(s)
	if err != nil {
		return err
	}
	if err := narrator.tell(ctx); err != nil {
		s.Bed.KeepLogs()
		return fmt.Errorf("%w (logs in %s)", err, s.Bed.LogDir())
	}
	fmt.Printf("\nEvery step did what it should, %.1fs after the start.\n", time.Since(began).Seconds())
	if !once {
		narrator.invite()
		<-ctx.Done()
	}
	return nil
}

// newNarrator gives the story its shell: kubectl's folder first in PATH, and a
// variable for each cluster's kubeconfig and each of usher's ports.
func newNarrator(s *testenv.Stage) (*narrator, error) {
	kubectl, err := servers.Locate(servers.Kubectl)
	if err != nil {
		return nil, err
	}
	return &narrator{env: []variable{
		{"PATH", filepath.Dir(kubectl) + ":" + os.Getenv("PATH")},
		{"KUBECONFIG", s.Edge.KubeconfigFile()},
		{"HADES", s.Hades.KubeconfigFile()},
		{"ILLMATIC", s.Illmatic.KubeconfigFile()},
		{"HTTPS", fmt.Sprint(s.HTTPS.Port())},
		{"HTTP", fmt.Sprint(s.HTTP.Port())},
		{"ADMIN", s.API.String()},
	}}, nil
}
