package vm

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/hack/test/testkit"
)

// boot is a script that becomes the init of the machine.
//
//go:embed boot.sh
var boot string

// A machine is a copy of this one with a systemd of its own, in namespaces. What it writes
// is in memory, and nothing outside sees it.
type machine struct {
	init int // PID of its systemd
	root string
}

// startMachine starts a machine that ends with the test. It skips the test where there
// can be none.
func startMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a machine with its own systemd needs root")
	}
	for _, program := range []string{"/lib/systemd/systemd", "dpkg", "unshare", "nsenter", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("a machine with its own systemd needs systemd, dpkg, util-linux and iproute2: %v", err)
		}
	}
	group, err := makeCgroup()
	if err != nil {
		t.Skipf("a machine with its own systemd needs a cgroup: %v", err)
	}
	t.Cleanup(func() {
		testkit.Eventually(t, "the cgroup of the machine is empty", func() error { return removeCgroup(group) })
	})
	var said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `echo $$ >"$1/cgroup.procs" && exec unshare --pid --fork --kill-child --mount --cgroup --net --uts --ipc sh -c "$2" boot.sh "$3"`,
		"sh", group, boot, t.TempDir())
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = testkit.Timeout
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	testkit.Must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	m := &machine{}
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		if m.init = childOf(cmd.Process.Pid); m.init != 0 {
			m.root = fmt.Sprintf("/proc/%d/root", m.init)
			if out, _ := m.try(t.Context(), "systemctl", "is-system-running"); out == "running" || out == "degraded" {
				return m
			}
		}
		if time.Since(begin) > testkit.Timeout {
			t.Skipf("systemd does not start in namespaces here: %s", &said)
		}
	}
}

// makeCgroup makes a cgroup for a machine.
func makeCgroup() (string, error) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); fields[2] == "cgroup2" {
			return os.MkdirTemp(fields[1], "usher-vm-test-")
		}
	}
	return "", fmt.Errorf("no cgroup2 is mounted")
}

// removeCgroup removes a cgroup and those below it.
func removeCgroup(group string) error {
	below, err := filepath.Glob(filepath.Join(group, "*", "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, file := range below {
		if err := removeCgroup(filepath.Dir(file)); err != nil {
			return err
		}
	}
	return os.Remove(group)
}

// childOf returns the PID of the only child of a process, or 0.
func childOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return 0
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return child
}

// try runs a command inside, and returns what it printed.
func (m *machine) try(ctx context.Context, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, testkit.Timeout)
	defer cancel()
	enter := []string{"--target", strconv.Itoa(m.init), "--mount", "--pid", "--net", "--cgroup", "--uts", "--ipc", "--root", "--wd",
		"env", "--ignore-environment", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive"}
	out, err := exec.CommandContext(ctx, "nsenter", append(enter, command...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// run runs a command inside that must succeed, and returns what it printed.
func (m *machine) run(t *testing.T, command ...string) string {
	t.Helper()
	out, err := m.try(t.Context(), command...)
	if err != nil {
		log, _ := m.try(context.Background(), "journalctl", "--unit=usher", "--output=cat", "--no-pager")
		t.Fatalf("%s: %v\n%s\nThe log of usher:\n%s", command, err, out, log)
	}
	return out
}

// fails runs a command inside that must fail.
func (m *machine) fails(t *testing.T, command ...string) {
	t.Helper()
	if out, err := m.try(t.Context(), command...); err == nil {
		t.Errorf("%s succeeds:\n%s", command, out)
	}
}

// write writes a file inside.
func (m *machine) write(t *testing.T, path, text string) {
	t.Helper()
	testkit.Must(t, os.WriteFile(m.root+path, []byte(text), 0o644))
}

// exists reports whether a file exists inside.
func (m *machine) exists(path string) bool {
	_, err := os.Lstat(m.root + path)
	return err == nil
}

// mainPID returns the PID of the unit's main process, as systemd has it.
func (m *machine) mainPID(t *testing.T) string {
	t.Helper()
	return m.run(t, "systemctl", "show", "--property=MainPID", "--value", "usher")
}

// inNetwork calls a function in the network of the machine. Sockets that it makes stay
// there.
func (m *machine) inNetwork(do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	other, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", m.init))
	if err != nil {
		return err
	}
	defer other.Close()
	if err := unix.Setns(int(other.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	failed := do()
	if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
		panic(err) // this thread would serve other goroutines in the wrong network
	}
	return failed
}

// dial connects to an address of the machine.
func (m *machine) dial(address string) (conn net.Conn, err error) {
	err = m.inNetwork(func() error {
		conn, err = net.DialTimeout("tcp", address, testkit.Timeout)
		return err
	})
	return conn, err
}
