// Command demo shows usher at work on real servers: three API servers, two Traefiks,
// apps behind them, and usher in front. It runs curl and kubectl as a person would.
// With --once it ends after the last step, with --edge=standalone the edge has no
// Kubernetes. It fails if a step fails.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jovalle/usher/hack/testbed/servers"
	"github.com/jovalle/usher/hack/testenv"
	"github.com/jovalle/usher/hack/walkthrough"
)

func main() { walkthrough.Main("demo", show) }

// The values of --edge.
const (
	edgeKubernetes = "kubernetes"
	edgeStandalone = "standalone"
)

var edge = flag.String("edge", edgeKubernetes, "where usher has its objects: kubernetes, a cluster; standalone, an API of its own")

func show(ctx context.Context, once bool) error {
	began := time.Now()
	usher := "bin/usher"
	switch *edge {
	case edgeKubernetes:
		usher = "bin/usher-nostandalone"
		fmt.Println("Starting an edge cluster, hades and illmatic, a Traefik in each, and usher:")
	case edgeStandalone:
		fmt.Println("Starting hades and illmatic, a Traefik in each, and usher run --standalone, an edge without Kubernetes:")
	default:
		return fmt.Errorf("--edge: %q is none of %s, %s", *edge, edgeKubernetes, edgeStandalone)
	}
	env, err := testenv.Start(ctx, testenv.Options{Usher: usher, CRDs: "config/crd/*.yaml", Standalone: *edge == edgeStandalone, Output: os.Stdout})
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
	variables, err := variablesFor(env)
	if err != nil {
		return err
	}
	if err := walkthrough.Run(ctx, variables, steps); err != nil {
		env.Bed.KeepLogs()
		return fmt.Errorf("%w (logs in %s)", err, env.Bed.LogDir())
	}
	fmt.Printf("\nEvery step did what it should, %.1fs after the start.\n", time.Since(began).Seconds())
	if !once {
		walkthrough.PrintNext(variables,
			"kubectl --kubeconfig $ILLMATIC annotate ingressroute diary usher.techn.is/expose=true",
			"kubectl get exposedhosts,memberclusters -o wide",
			curl("diary.techn.is"),
			"curl http://$ADMIN/metrics")
		<-ctx.Done()
	}
	return nil
}

// variablesFor returns the environment of the steps: kubectl's folder first in PATH, and
// a variable for each cluster's kubeconfig and each of usher's ports.
func variablesFor(env *testenv.Env) ([]walkthrough.Variable, error) {
	kubectl, err := servers.Locate(servers.Kubectl)
	if err != nil {
		return nil, err
	}
	return []walkthrough.Variable{
		{Name: "PATH", Value: filepath.Dir(kubectl) + ":" + os.Getenv("PATH")},
		{Name: "KUBECONFIG", Value: env.Edge.KubeconfigFile()},
		{Name: "HADES", Value: env.Hades.KubeconfigFile()},
		{Name: "ILLMATIC", Value: env.Illmatic.KubeconfigFile()},
		{Name: "HTTPS", Value: fmt.Sprint(env.HTTPS.Port())},
		{Name: "HTTP", Value: fmt.Sprint(env.HTTP.Port())},
		{Name: "ADMIN", Value: env.API.String()},
	}, nil
}
