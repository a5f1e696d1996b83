package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
)

// replace runs usher replace and returns what it and the new process printed, and its
// exit code. The new process ends with the test.
func replace(t *testing.T, pid int, flags ...string) (string, int) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	testkit.Must(t, err)
	defer out.Close()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", slices.Concat([]string{"replace", strconv.Itoa(pid), "--"}, flags)...)
	cmd.Env = programEnv(os.Environ()...)
	cmd.Stdout, cmd.Stderr = out, out
	failure := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](failure); failure != nil && !ended {
		t.Fatal(failure)
	}
	text, err := os.ReadFile(out.Name())
	testkit.Must(t, err)
	if next := regexp.MustCompile(`process (\d+) has taken over`).FindSubmatch(text); next != nil {
		pid, err := strconv.Atoi(string(next[1]))
		testkit.Must(t, err)
		t.Cleanup(func() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			_, _ = syscall.Wait4(pid, nil, 0, nil)
		})
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// flagsOf returns the flags by which another process takes over the addresses of one.
func flagsOf(u *running) []string {
	return append(u.cmd.Args[2:len(u.cmd.Args):len(u.cmd.Args)],
		"--https-listen="+u.HTTPS[0].String(), "--http-listen="+u.HTTP[0].String(), "--admin-listen="+u.Admin[0].String())
}

// The replaced process ends with its last connection, however short its drain.
func TestReplace(t *testing.T) {
	u, conn := hold(t, "--drain-timeout=1ms")
	if said, code := replace(t, u.cmd.Process.Pid, flagsOf(u)...); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, said)
	}
	u.await(t, "Stopping: another process has replaced this one")
	u.ready(t) // the other process
	if !open(t, conn) {
		t.Fatal("the replaced process closed its connection")
	}
	testkit.Must(t, conn.Close())
	u.ends(t, 0)
}

// The replaced process does not keep its connections for ever.
func TestReplacedProcessEndsAtItsTimeout(t *testing.T) {
	u, conn := hold(t, "--replaced-timeout=1ms")
	if said, code := replace(t, u.cmd.Process.Pid, flagsOf(u)...); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, said)
	}
	u.ends(t, 0)
	if open(t, conn) {
		t.Error("the connection is open after usher has ended")
	}
}

// A new process that cannot take over leaves the old one as it is.
func TestReplaceByAProcessThatFails(t *testing.T) {
	u, conn := hold(t)
	said, code := replace(t, u.cmd.Process.Pid, append(flagsOf(u), "--service=another")...)
	if code != exitFailure || !testkit.ContainsAll(said, []string{"continues: the new process has ended", "another service"}) {
		t.Errorf("exit code %d:\n%s", code, said)
	}
	u.ready(t)
	if !open(t, conn) {
		t.Error("the connection is closed")
	}
}

// SIGUSR1 would end another program.
func TestReplaceOfAnotherProgram(t *testing.T) {
	other := exec.CommandContext(t.Context(), "sleep", "1h")
	testkit.Must(t, other.Start())
	t.Cleanup(func() { _, _ = other.Process.Kill(), other.Wait() })
	said, code := replace(t, other.Process.Pid, "--controllers=false", "--manifests="+t.TempDir())
	if code != exitFailure || !strings.Contains(said, "is no usher run of this user") {
		t.Errorf("exit code %d:\n%s", code, said)
	}
}
