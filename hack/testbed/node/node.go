// Package node runs a real Kubernetes of one node: etcd, an API server, the controllers, a
// scheduler, containerd, a kubelet, kube-proxy, and pods, without a registry.
//
// All of it lives in namespaces of its own (network, mount, PID, IPC, UTS, cgroup), so that the
// machine is left as it was: the node's end takes every process, mount and interface with it. It
// has a loopback of its own, and no way out. To reach it, a process joins its network: see
// Node.Enter.
//
// It needs root, cgroup v1, some Debian packages and the servers of `make node-tools`; Missing
// says what a machine lacks. There is no cluster DNS.
//
// The package must not import anything of usher.
package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jovalle/usher/hack/testbed/process"
)

// Address is the node's own. Pods reach it too.
var Address = netip.AddrFrom4([4]byte{10, 99, 0, 1})

// serviceAddress is that of the Service kubernetes, by which pods reach the API server.
var serviceAddress = netip.AddrFrom4([4]byte{10, 96, 0, 1})

// startTimeout bounds the start. It takes 15 s; a laden machine needs more.
const startTimeout = 4 * time.Minute

// Options say what a Node starts with.
type Options struct {
	// Images are archives of images, as `ctr images import` takes them.
	Images []string
	// LogDir is a folder for the logs, one file a daemon.
	LogDir string
}

// A Node is running until Stop.
type Node struct {
	dir     string
	cgroups []string
	process *process.Process // unshare, whose child is the node's PID 1
	release func() error     // removes dir
}

// Start starts a node and returns when it is ready for pods. Where it fails nothing runs on, and
// the error has the end of the log.
func Start(ctx context.Context, o Options) (*Node, error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	n, err := prepare(ctx, o)
	if err == nil {
		err = n.run(ctx, o.LogDir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting a node (logs in %s): %w", o.LogDir, err), n.Stop())
	}
	return n, nil
}

// prepare writes all that the node reads.
func prepare(ctx context.Context, o Options) (n *Node, err error) {
	n = &Node{}
	if n.dir, err = os.MkdirTemp("", "usher-node-"); err != nil {
		return n, err
	}
	if n.release, err = process.RemoveWhenOrphaned(n.dir); err != nil {
		return n, errors.Join(err, os.RemoveAll(n.dir))
	}
	if n.cgroups, err = makeCgroups(); err != nil {
		return n, err
	}
	for _, write := range []func() error{
		func() error { return n.writeFolders(o.LogDir) },
		n.writeScript,
		n.writeCredentials,
		n.linkServers,
		func() error { return n.gatherImages(ctx, o.Images) },
	} {
		if err := write(); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (n *Node) run(ctx context.Context, logDir string) (err error) {
	n.process, err = process.Start(process.Command{
		Path:    filepath.Join(n.dir, "node.sh"),
		Args:    []string{"join"},
		LogFile: filepath.Join(logDir, "node.log"),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return n.process.AwaitReady(ctx, func(context.Context) error {
		_, err := os.Stat(filepath.Join(n.dir, "ready"))
		return err
	})
}

// Stop ends the node and removes what it was made of; the logs stay.
func (n *Node) Stop() error {
	if n.process != nil {
		n.process.Kill()
	}
	err := removeCgroups(n.cgroups)
	if n.release == nil {
		return err
	}
	return errors.Join(err, n.release())
}

// Done is closed when the node has ended, of itself or by Stop.
func (n *Node) Done() <-chan struct{} { return n.process.Done() }

// KubeconfigFile is an administrator's, of use within the node's network.
func (n *Node) KubeconfigFile() string { return n.pki("admin.kubeconfig") }

// Enter is the beginning of a command line, whose rest then runs in the node's network and
// otherwise in the machine's namespaces.
func (n *Node) Enter() []string {
	return []string{"nsenter", "--net=" + filepath.Join("/proc", strconv.Itoa(n.process.PID()), "ns", "net"), "--"}
}

// ContainerdSocket is where containerd listens, for `ctr --namespace k8s.io --address`.
func (n *Node) ContainerdSocket() string {
	return filepath.Join("/proc", strconv.Itoa(n.process.PID()), "root/run/containerd/containerd.sock")
}
