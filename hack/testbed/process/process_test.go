package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// orphanage makes the test binary start a child process and create a folder, print their names, and
// wait until it is killed.
const orphanage = "USHER_TEST_ORPHANAGE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(orphanage); dir != "" {
		raiseOrphan(dir)
	}
	os.Exit(m.Run())
}

func raiseOrphan(dir string) {
	p, err := Start(Command{Path: "/bin/sleep", Args: []string{"3600"}, LogFile: filepath.Join(dir, "log")})
	if err != nil {
		panic(err)
	}
	if _, err := RemoveWhenOrphaned(filepath.Join(dir, "data")); err != nil {
		panic(err)
	}
	fmt.Println(p.PID())
	select {}
}

func TestKilledParentLeavesNeitherChildNorFolder(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), orphanage+"="+dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 16)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	testkit.WaitFor(t, "the child to be gone", func() bool { return gone(child) })
	testkit.WaitFor(t, "the folder to be gone", func() bool {
		_, err := os.Stat(data)
		return errors.Is(err, os.ErrNotExist)
	})
}

// gone reports whether a process has ended. It may still be a zombie.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestReleaseRemovesTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	release, err := RemoveWhenOrphaned(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("removed too early: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

func TestAwaitReady(t *testing.T) {
	never := func(context.Context) error { return errors.New("no answer") }
	waits := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for _, c := range []struct {
		name, script string
		timeout      time.Duration
		probe        func(context.Context) error
		want         []string // parts of the error; none: ready
	}{
		{"ready at once", "sleep 60", testkit.Timeout, func(context.Context) error { return nil }, nil},
		{"ended, with its last words", "echo no such luck; exit 3", testkit.Timeout, never, []string{"ended", "exit status 3", "no such luck"}},
		{"ended well", "echo bye", testkit.Timeout, never, []string{"ended", "exit status 0", "bye"}},
		{"ended during a probe that would wait", "echo bye; exit 3", testkit.Timeout, waits, []string{"ended", "exit status 3"}},
		{"out of time, with the probe's reason", "echo thinking; sleep 60", time.Second, never, []string{"not ready", "no answer", "thinking"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := shell(t, c.script)
			ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
			defer cancel()
			err := p.AwaitReady(ctx, c.probe)
			if (err == nil) != (c.want == nil) {
				t.Fatalf("AwaitReady: %v", err)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error lacks %q: %v", part, err)
				}
			}
		})
	}
}

func TestTerminateGivesTimeToEnd(t *testing.T) {
	for _, c := range []struct {
		name, script string
		timeout      time.Duration
		want         error
	}{
		{"ends when asked", `trap "exit 0" TERM; touch "$READY"; while :; do sleep 0.01; done`, testkit.Timeout, nil},
		{"does not listen", `trap "" TERM; touch "$READY"; while :; do sleep 0.01; done`, 200 * time.Millisecond, context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := shell(t, c.script)
			ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
			defer cancel()
			if err := p.Terminate(ctx); !errors.Is(err, c.want) {
				t.Errorf("Terminate: %v, want %v", err, c.want)
			}
			if !gone(p.PID()) {
				t.Error("still running")
			}
		})
	}
}

func TestKillEndsAStoppedProcess(t *testing.T) {
	p := shell(t, "sleep 60")
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if !gone(p.PID()) {
		t.Error("still running")
	}
}

// shell starts a script. If the script mentions $READY, shell waits until that file exists.
func shell(t *testing.T, script string) *Process {
	t.Helper()
	dir := t.TempDir()
	ready := filepath.Join(dir, "ready")
	p, err := Start(Command{
		Path:    "/bin/sh",
		Args:    []string{"-c", script},
		Env:     []string{"READY=" + ready},
		LogFile: filepath.Join(dir, "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	if strings.Contains(script, "$READY") {
		testkit.WaitFor(t, "the script to run", func() bool {
			_, err := os.Stat(ready)
			return err == nil
		})
	}
	return p
}
