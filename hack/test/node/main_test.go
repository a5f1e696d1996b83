// Package node tests that usher is installed as its docs say, on a real node: the image is
// built, helm installs the chart in each of its modes, real pods run, and members are added
// with usher's own command. It must not import usher's own packages.
//
// Everything happens in the node's network namespace, where the members listen too. TestMain
// therefore starts the node, and this program once more inside. Where a machine cannot run a
// node, the tests are skipped and say why.
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

// What the program outside tells the one inside.
const (
	kubeconfigVariable = "USHER_NODETEST_KUBECONFIG" // path: the node's cluster, whose administrator it is
	programVariable    = "USHER_NODETEST_PROGRAM"    // path: usher, as it is in the image
	containerdVariable = "USHER_NODETEST_CONTAINERD" // path: the node's containerd's socket
)

// The image has the name by which the chart and config/ ask for it, in the version that they ask
// for and the one that is upgraded to.
const (
	image      = "ghcr.io/jovalle/usher"
	newVersion = "next"
)

// skipped is why there is no node, or nil.
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

// TestSourcesAreRead makes go test run this package again after any change of usher.
func TestSourcesAreRead(t *testing.T) { testkit.ReadSources(t) }

// missing says what this machine lacks, or nil.
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

// runOutside starts the node, and this program in its network.
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

// again runs this program inside, with the same arguments, and returns its exit code.
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
