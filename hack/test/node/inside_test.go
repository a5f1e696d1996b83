package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/hack/testbed/node"
	"github.com/jovalle/usher/hack/testbed/servers"
	"github.com/jovalle/usher/hack/testenv"
)

// bed has the member clusters; members has them with their Traefiks.
var (
	bed     *testbed.Bed
	members = map[string]*testenv.Member{} // name → member
)

// runInside starts the members and runs the tests.
func runInside(m *testing.M) int {
	var err error
	// Pods reach the node's address, not its loopback.
	bed, err = testbed.Start(context.Background(), testbed.Options{Clusters: []string{"hades", "illmatic"}, Address: node.Address})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := 1
	if err := startMembers(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	if code != 0 {
		bed.KeepLogs()
		fmt.Fprintln(os.Stderr, "the members' logs are in", bed.LogDir())
	}
	if err := bed.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

func startMembers() error {
	group, ctx := errgroup.WithContext(context.Background())
	for _, name := range []string{"hades", "illmatic"} {
		m := &testenv.Member{Cluster: bed.Cluster(name)}
		members[name] = m
		group.Go(func() (err error) {
			if err := m.StartControllers(testbed.TokenController, testbed.NamespaceController); err != nil { // for `usher cluster`
				return err
			}
			if m.Traefik, err = m.StartTraefik(ctx); err != nil {
				return err
			}
			return m.Publish(ctx, "whoami", host(name))
		})
	}
	return group.Wait()
}

// host returns the host of a member's app.
func host(member string) string { return "whoami." + member + ".techn.is" }

// run runs a command as administrator of the node's cluster, and returns its output.
func run(t *testing.T, path string, args ...string) string {
	t.Helper()
	stdout, stderr, err := execute(t, path, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", path, strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

func execute(t *testing.T, path string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // the context of the test ends before its cleanups
	defer cancel()
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+os.Getenv(kubeconfigVariable), "KUBECACHEDIR="+t.TempDir(), "KUBERC=off", "HELM_CACHE_HOME="+t.TempDir())
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err = cmd.Run()
	return out.String(), complaint.String(), err
}

// tool runs one of the test bed's programs.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := servers.Locate(name)
	testkit.Must(t, err)
	return run(t, path, args...)
}

// try runs a program that may fail, and returns all of its output.
func try(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	path, err := servers.Locate(name)
	testkit.Must(t, err)
	stdout, stderr, err := execute(t, path, args...)
	return stdout + stderr, err
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return tool(t, servers.Kubectl, args...)
}

// answered waits until the member's app answers for its host at an address of usher.
func answered(t *testing.T, address, member string) {
	t.Helper()
	testkit.Eventually(t, host(member)+" should be answered", func() error {
		answer, err := testbed.GetAnswer(t.Context(), testbed.ClientTo(address), "https://"+host(member)+"/")
		if err == nil && answer.Cluster != member {
			err = fmt.Errorf("%+v answers", answer)
		}
		return err
	})
}

// unanswered waits until usher refuses a member's host.
func unanswered(t *testing.T, address, member string) {
	t.Helper()
	testkit.Eventually(t, host(member)+" should be refused", func() error {
		if _, err := testbed.GetAnswer(t.Context(), testbed.ClientTo(address), "https://"+host(member)+"/"); err == nil {
			return errors.New("it is answered")
		}
		return nil
	})
}
