package node

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/jovalle/usher/hack/testbed/servers"
)

// daemons are the servers that the node's script runs, and kubectl.
var daemons = []string{
	servers.Etcd, servers.KubeAPIServer, servers.KubeControllerManager, servers.Kubectl,
	"kubelet", "kube-scheduler", "kube-proxy",
}

//go:embed node.sh conf
var files embed.FS

func (n *Node) writeFolders(logDir string) error {
	for _, folder := range []string{"bin", "conf", "etcd", "images", "pki", "var/log", "var/tmp"} {
		if err := os.MkdirAll(filepath.Join(n.dir, folder), 0o700); err != nil {
			return err
		}
	}
	if err := os.Symlink("/run", filepath.Join(n.dir, "var/run")); err != nil {
		return err
	}
	return os.Symlink(logDir, filepath.Join(n.dir, "log"))
}

// writeScript writes node.sh, conf/, and the list of the node's cgroups.
func (n *Node) writeScript() error {
	list := strings.Join(n.cgroups, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(n.dir, "cgroups"), []byte(list), 0o600); err != nil {
		return err
	}
	return fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(n.dir, path), content, 0o700)
	})
}

func (n *Node) linkServers() error {
	for _, name := range daemons {
		path, err := servers.Locate(name)
		if err != nil {
			return err
		}
		if err := os.Symlink(path, filepath.Join(n.dir, "bin", name)); err != nil {
			return err
		}
	}
	return nil
}

// gatherImages builds the sandbox's image, and links the others into the same folder.
func (n *Node) gatherImages(ctx context.Context, archives []string) error {
	pause := filepath.Join(n.dir, "pause")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", pause, "github.com/jovalle/usher/hack/testbed/node/pause")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the sandbox's program: %w\n%s", err, out)
	}
	if err := writeImage(filepath.Join(n.dir, "images/pause.tar"), "localhost/pause:node", pause); err != nil {
		return fmt.Errorf("making the sandbox's image: %w", err)
	}
	for i, archive := range archives {
		path, err := filepath.Abs(archive)
		if err != nil {
			return err
		}
		if err := os.Symlink(path, filepath.Join(n.dir, "images", fmt.Sprintf("%d.tar", i))); err != nil {
			return err
		}
	}
	return nil
}

// Missing returns an error that says what this machine lacks to run a node, or nil.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("a node needs root")
	}
	if own, err := ownCgroups(); err != nil || len(own) == 0 {
		return errors.Join(errors.New("a node needs the hierarchies of cgroup v1"), err)
	}
	for _, tool := range []string{"containerd", "ctr", "runc", "iptables", "nft", "ip", "unshare", "nsenter", "/usr/lib/cni/bridge"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("a node needs the packages of `make node-tools`: %w", err)
		}
	}
	for _, name := range daemons {
		if _, err := servers.Locate(name); err != nil {
			return fmt.Errorf("a node needs the servers of `make node-tools`: %w", err)
		}
	}
	return nil
}
