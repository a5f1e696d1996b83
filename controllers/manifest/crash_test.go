package manifest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/jovalle/usher/hack/test/testkit"
)

// The environment variables with which a test runs the test binary for another purpose.
const (
	envWriter   = "USHER_TEST_SNAPSHOT_WRITER" // write snapshots into this directory until killed
	envFullDisk = "USHER_TEST_FULL_DISK"       // this process may mount a file system
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envWriter); dir != "" {
		fmt.Fprintln(os.Stderr, writeForever(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeForever replaces the snapshot as fast as it can, and prints a byte after the
// first write.
func writeForever(dir string) error {
	s, err := NewSnapshot(dir, logr.Discard())
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		o := served(100 + i%100)
		s.Store(o.source)
		if err := s.flush(context.Background()); err != nil {
			return err
		}
		if i == 0 {
			fmt.Print("!")
		}
	}
}

func TestAKillAtAnyMomentLeavesAGoodFile(t *testing.T) {
	const writers, kills = 4, 30 // each
	for range writers {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for range kills {
				killWriter(t, dir)
				if n := hostsIn(dir); n < 100 {
					t.Fatalf("the snapshot has %d hosts", n)
				}
			}
			if _, ok := newSnapshot(t, dir).Load(); !ok {
				t.Error("the snapshot was not loaded")
			}
			if entries, err := os.ReadDir(dir); len(entries) != 1 || err != nil {
				t.Errorf("there are %v, %v", entries, err)
			}
		})
	}
}

// killWriter starts a writer and kills it while it writes.
func killWriter(t *testing.T, dir string) {
	t.Helper()
	writer := exec.CommandContext(t.Context(), os.Args[0])
	writer.Env = append(os.Environ(), envWriter+"="+dir)
	writer.Stderr = os.Stderr
	stdout, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Errorf("the writer: %v", err)
	}
	time.Sleep(rand.N(20 * time.Millisecond)) // a random moment of a write
	if err := writer.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = writer.Wait() // the error is that it was killed
}

func TestAFullDiskKeepsTheOldSnapshot(t *testing.T) {
	if os.Getenv(envFullDisk) == "" {
		testkit.InMountNamespace(t, envFullDisk)
		return
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	save(t, dir, served(3))
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}

	var logged atomic.Int32
	s, err := NewSnapshot(dir, funcr.New(func(_, _ string) { logged.Add(1) }, funcr.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	s.interval, s.retry = time.Millisecond, 20*time.Millisecond
	stop := runSnapshot(t, s)
	more := served(10)
	s.Store(more.source)
	testkit.WaitFor(t, "two failures in the log", func() bool { return logged.Load() >= 2 })
	if n := hostsIn(dir); n != 3 {
		t.Errorf("while the disk is full the snapshot has %d hosts", n)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	testkit.WaitFor(t, "the new snapshot", func() bool { return hostsIn(dir) == 10 })
	if err := stop(); err != nil {
		t.Error(err)
	}
}
