// Package e2e tests usher as a whole: the program with real clusters, real Traefiks and
// real TLS clients. It must not import usher's own packages.
package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/hack/testenv"
)

// env is shared by all tests. Each test uses its own hosts. TestStandaloneEdge replaces it
// while it runs.
var env *testenv.Env

// program is the path of usher, and stateDir is the folder of its snapshot.
var program, stateDir string

// flags are those of usher run with each edge.
var flags = []string{"--access-log", "--access-log-refused", "--drain-timeout=10s", "--tls-listen=mqtts=127.0.0.1:0"}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "usher-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	stateDir = filepath.Join(dir, "state")
	if program, err = testkit.BuildUsher(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	env, err = testenv.Start(context.Background(), testenv.Options{Usher: program, CRDs: "../../../config/crd/*.yaml", Args: append(slices.Clone(flags), "--state-dir="+stateDir)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if code != 0 {
		env.Bed.KeepLogs()
		fmt.Fprintln(os.Stderr, "the logs are in", env.Bed.LogDir())
	}
	if err := env.Bed.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestSourcesAreRead makes go test run this package again after each change of usher.
func TestSourcesAreRead(t *testing.T) { testkit.ReadSources(t) }

// getHTTPS sends a request for a host to usher over TLS.
func getHTTPS(ctx context.Context, host string) (testbed.Answer, error) {
	return testbed.GetAnswer(ctx, testbed.ClientTo(env.HTTPS.String()), "https://"+host+"/")
}

// answered waits until an app of a cluster answers for a host.
func answered(t *testing.T, host, cluster string) {
	t.Helper()
	testkit.Eventually(t, host+" should be answered by "+cluster, func() error {
		answer, err := getHTTPS(t.Context(), host)
		if err == nil && answer.Cluster != cluster {
			err = fmt.Errorf("%+v answers", answer)
		}
		return err
	})
}

// unanswered waits until usher refuses a host.
func unanswered(t *testing.T, host string) {
	t.Helper()
	testkit.Eventually(t, host+" should be refused", func() error {
		if answer, err := getHTTPS(t.Context(), host); err == nil {
			return fmt.Errorf("%+v answers", answer)
		}
		return nil
	})
}

// plain sends a request for a host to usher over plain HTTP, and returns the response without its body.
func plain(t *testing.T, host, path string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+path, nil)
	testkit.Must(t, err)
	response, err := testbed.ClientTo(env.HTTP.String()).Do(request)
	testkit.Must(t, err)
	testkit.Must(t, response.Body.Close())
	return response
}

// kubectl runs kubectl on a cluster and returns its output.
func kubectl(t *testing.T, c *testbed.Cluster, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return out
}

const (
	expose   = `usher.techn.is/expose=true`
	unexpose = `usher.techn.is/expose-`
)
