// Package node runs a real Kubernetes of one node: etcd, an API server, the controllers, a
// scheduler, containerd, a kubelet, kube-proxy, and pods, without a registry.
//
// The node runs in its own namespaces (network, mount, PID, IPC, UTS, cgroup), so that it does not
// change the machine: when it ends, the kernel removes all of its processes, mounts and interfaces.
// It has its own loopback, and no route to other networks. A process connects to it by entering its
// network namespace: see Node.Enter.
//
// It needs root, cgroup v1, some Debian packages and the servers of `make node-tools`. Missing
// reports what a machine lacks. There is no cluster DNS.
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

// Address is the address of the node. Pods can connect to it, too.
var Address = netip.AddrFrom4([4]byte{10, 99, 0, 1})

// serviceAddress is the address of the Service kubernetes, which pods use for the API server.
var serviceAddress = netip.AddrFrom4([4]byte{10, 96, 0, 1})

// startTimeout bounds the start. It takes 15 s, and longer on a busy machine.
const startTimeout = 4 * time.Minute

// Options are the options of a Node.
type Options struct {
	// Images are archives of images, as `ctr images import` takes them.
	Images []string
	// LogDir is a folder for the logs, one file per daemon.
	LogDir string
}

// A Node is a node that runs until Stop.
type Node struct {
	dir     string
	cgroups []string
	process *process.Process // unshare, whose child is the node's PID 1
	release func() error     // removes dir
}

// Start starts a node and returns when it is ready for pods. If it fails, no process is left
// running, and the error has the end of the log.
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

// prepare writes all files of the node.
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

// Stop ends the node and removes its files, except for the logs.
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

// Done is closed when the node has ended, by Stop or by a failure.
func (n *Node) Done() <-chan struct{} { return n.process.Done() }

// KubeconfigFile returns the path of an administrator's kubeconfig, which works in the node's network.
func (n *Node) KubeconfigFile() string { return n.pki("admin.kubeconfig") }

// Enter returns the beginning of a command line. The command that follows runs in the node's network
// namespace, and otherwise in the machine's namespaces.
func (n *Node) Enter() []string {
	return []string{"nsenter", "--net=" + filepath.Join("/proc", strconv.Itoa(n.process.PID()), "ns", "net"), "--"}
}

// ContainerdSocket returns the socket of containerd, for `ctr --namespace k8s.io --address`.
func (n *Node) ContainerdSocket() string {
	return filepath.Join("/proc", strconv.Itoa(n.process.PID()), "root/run/containerd/containerd.sock")
}
