// Package node tests that usher is installed as its docs say, on a real node: the image is
// built, helm installs the chart in each of its modes, real pods run, and members are added
// with usher's own command. It must not import usher's own packages.
//
// The tests run in the network namespace of the node, in which the members listen, too. TestMain
// therefore starts the node, and runs the test binary again inside. If the machine cannot run a
// node, the tests are skipped with the reason.
package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/node"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// The environment variables that the process outside sets for the process inside.
const (
	kubeconfigVariable = "USHER_NODETEST_KUBECONFIG" // path: administrator's kubeconfig of the node's cluster
	programVariable    = "USHER_NODETEST_PROGRAM"    // path: the usher program in the image
	containerdVariable = "USHER_NODETEST_CONTAINERD" // path: the socket of the node's containerd
)

// The image has the name that the chart and config/ use. It exists in the version that they use, and
// in the version of the upgrade.
const (
	image      = "ghcr.io/jovalle/usher"
	newVersion = "next"
)

// skipped is the reason why there is no node, or nil.
var skipped error

func TestMain(m *testing.M) {
	if os.Getenv(kubeconfigVariable) != "" {
		os.Exit(runInside(m))
	}
	if skipped = missing(); skipped != nil {
		os.Exit(m.Run())
	}
	code, err := runOutside()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// TestSourcesAreRead makes go test run this package again after each change of usher.
func TestSourcesAreRead(t *testing.T) { testkit.ReadSources(t) }

// missing returns an error that says what this machine lacks, or nil.
func missing() error {
	for _, tool := range []string{"buildah", "setcap"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("building the image needs the packages of `make node-tools`: %w", err)
		}
	}
	if _, err := servers.Locate(servers.Helm); err != nil {
		return err
	}
	return node.Missing()
}

// runOutside starts the node, and the test binary in its network.
func runOutside() (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "usher-node-test-")
	if err != nil {
		return 1, err
	}
	logs := filepath.Join(dir, "log")
	if err := os.Mkdir(logs, 0o700); err != nil {
		return 1, err
	}
	images, err := buildImages(ctx, dir)
	if err != nil {
		return 1, errors.Join(err, os.RemoveAll(dir))
	}
	n, err := node.Start(ctx, node.Options{Images: images, LogDir: logs})
	if err != nil {
		return 1, err
	}
	code, err = again(ctx, n, filepath.Join(dir, "image", goarch(), "usher"))
	if err = errors.Join(err, n.Stop()); err == nil && code == 0 {
		return 0, os.RemoveAll(dir)
	}
	fmt.Fprintln(os.Stderr, "the node's logs are in", logs)
	return code, err
}

// again runs the test binary inside, with the same arguments, and returns its exit code.
func again(ctx context.Context, n *node.Node, program string) (int, error) {
	command := append(n.Enter(), os.Args...)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), kubeconfigVariable+"="+n.KubeconfigFile(), programVariable+"="+program,
		containerdVariable+"="+n.ContainerdSocket())
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}
