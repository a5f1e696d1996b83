// Command demo shows usher at work on real servers: three API servers, two Traefiks,
// apps behind them, and usher in front. It runs curl and kubectl as a person would.
// With --once it ends after the last step. It fails if a step fails.
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
	env, err := testenv.Start(ctx, testenv.Options{Usher: "bin/usher", CRDs: "config/crd/*.yaml", Output: os.Stdout})
	if err != nil {
		return err
	}
	defer func() { _ = env.Bed.Stop() }()
	for _, app := range []struct {
		member    *testenv.Member
		name, url string
	}{
		{env.Hades, "whoami", "whoami.techn.is"}, {env.Hades, "ledger", "ledger.techn.is"},
		{env.Illmatic, "photos", "photos.techn.is"}, {env.Illmatic, "diary", "diary.techn.is"},
	} {
		if err := app.member.Publish(ctx, app.name, app.url); err != nil {
			return err
		}
	}
	fmt.Printf("All up after %.1fs. Each cluster serves two apps; none is exposed yet.\n", time.Since(began).Seconds())
	script, err := newScript(env)
	if err != nil {
		return err
	}
	if err := script.run(ctx); err != nil {
		env.Bed.KeepLogs()
		return fmt.Errorf("%w (logs in %s)", err, env.Bed.LogDir())
	}
	fmt.Printf("\nEvery step did what it should, %.1fs after the start.\n", time.Since(began).Seconds())
	if !once {
		script.printNext()
		<-ctx.Done()
	}
	return nil
}

// newScript returns the script with its environment: kubectl's folder first in PATH, and
// a variable for each cluster's kubeconfig and each of usher's ports.
func newScript(env *testenv.Env) (*script, error) {
	kubectl, err := servers.Locate(servers.Kubectl)
	if err != nil {
		return nil, err
	}
	return &script{env: []variable{
		{"PATH", filepath.Dir(kubectl) + ":" + os.Getenv("PATH")},
		{"KUBECONFIG", env.Edge.KubeconfigFile()},
		{"HADES", env.Hades.KubeconfigFile()},
		{"ILLMATIC", env.Illmatic.KubeconfigFile()},
		{"HTTPS", fmt.Sprint(env.HTTPS.Port())},
		{"HTTP", fmt.Sprint(env.HTTP.Port())},
		{"ADMIN", env.API.String()},
	}}, nil
}
