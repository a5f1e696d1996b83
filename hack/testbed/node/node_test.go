package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/testbed/servers"
)

func TestNodeIsReadyAndDoesNotChangeTheMachine(t *testing.T) {
	if err := Missing(); err != nil {
		t.Skip(err)
	}
	before := machine(t)
	n, err := Start(t.Context(), Options{LogDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	kubectl, err := servers.Locate(servers.Kubectl)
	if err != nil {
		t.Error(err)
	}
	command := append(n.Enter(), kubectl, "--kubeconfig", n.KubeconfigFile(), "get", "nodes", "--no-headers")
	out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), " Ready ") {
		t.Errorf("kubectl get nodes: %v\n%s", err, out)
	}
	if err := n.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(n.dir); !os.IsNotExist(err) {
		t.Errorf("the node's folder is left behind: %v", err)
	}
	for _, folder := range n.cgroups {
		if _, err := os.Stat(folder); !os.IsNotExist(err) {
			t.Errorf("a cgroup is left behind: %v", err)
		}
	}
	if after := machine(t); after != before {
		t.Errorf("of the machine's mounts and interfaces there were\n%s\nand there are\n%s", before, after)
	}
}

// machine returns the mounts and network interfaces of the machine.
func machine(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	interfaces, err := filepath.Glob("/sys/class/net/*")
	if err != nil {
		t.Fatal(err)
	}
	return string(mounts) + strings.Join(interfaces, " ")
}

func TestSweepRemovesCgroupsOfKilledProcesses(t *testing.T) {
	parent := t.TempDir()
	dead := exec.CommandContext(t.Context(), "true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	for name, stays := range map[string]bool{
		cgroupPrefix + strconv.Itoa(dead.Process.Pid): false,
		cgroupPrefix + strconv.Itoa(os.Getpid()):      true,
		"somebody-elses":                              true,
	} {
		folder := filepath.Join(parent, name)
		if err := os.MkdirAll(filepath.Join(folder, "kubepods/besteffort"), 0o700); err != nil {
			t.Fatal(err)
		}
		sweep(parent)
		if _, err := os.Stat(folder); (err == nil) != stays {
			t.Errorf("%s: %v, should stay: %v", name, err, stays)
		}
	}
}
