package servers

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLocateNamesTheRemedy(t *testing.T) {
	t.Setenv("USHER_TESTBED_CACHE", t.TempDir())
	for name, remedy := range map[string]string{
		Etcd:      "make testbed",
		"kubelet": "go run ./hack/testbed/cmd/testbed build kubelet",
	} {
		_, err := Locate(name)
		if !errors.Is(err, ErrNotBuilt) || !strings.Contains(err.Error(), remedy) {
			t.Errorf("Locate(%q): %v; want ErrNotBuilt and %q", name, err, remedy)
		}
	}
	if _, err := Locate("nonesuch"); err == nil || errors.Is(err, ErrNotBuilt) {
		t.Errorf("Locate of an unknown name: %v", err)
	}
}

func TestLocateIsTiedToAllFilesOfTheModule(t *testing.T) {
	dir := t.TempDir()
	hash := func() string {
		sum, err := hashDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	seen := map[string]string{hash(): "an empty folder"} // hash → what was hashed
	for _, change := range []struct{ does, file, content string }{
		{"a go.mod", "go.mod", "module a"},
		{"another go.mod", "go.mod", "module b"},
		{"a stand-in", "standin/ext/ext.go", "package ext"},
	} {
		path := filepath.Join(dir, change.file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(change.content), 0o644); err != nil {
			t.Fatal(err)
		}
		sum := hash()
		if before, ok := seen[sum]; ok {
			t.Errorf("%s has the hash of %s", change.does, before)
		}
		seen[sum] = change.does
	}
}

// The test builds manifests, since the compilation of a program takes minutes. It uses a module that
// usher itself needs.
func TestBuildSkipsFilesInTheCache(t *testing.T) {
	t.Setenv("USHER_TESTBED_CACHE", t.TempDir())
	t.Setenv("GOFLAGS", "-mod=vendor") // of the caller: must not reach the pinned modules
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := Build(ctx, &out, GatewayCRDs); err != nil {
		t.Fatal(err)
	}
	path, err := Locate(GatewayCRDs)
	if err != nil {
		t.Fatal(err)
	}
	mark := []byte("left alone")
	if err := os.WriteFile(path, mark, 0o644); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := Build(ctx, &out, GatewayCRDs); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(content, mark) || out.Len() > 0 {
		t.Errorf("the second build wrote %d bytes (%v) and reported %q", len(content), err, out.String())
	}
}

func TestConcurrentBuildsWaitForEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	impatient, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lock(impatient, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("the lock was taken twice: %v", err)
	}
	unlock()
	again, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestStepReportsItsResult(t *testing.T) {
	for want, err := range map[string]error{"ready": nil, "failed": errors.New("boom")} {
		var out bytes.Buffer
		got := step{out: &out, name: "etcd", number: 1, of: 2}.run(func() error { return err })
		if !errors.Is(got, err) || !strings.Contains(out.String(), "testbed 1/2 etcd: "+want) {
			t.Errorf("run: %v, reported %q", got, out.String())
		}
	}
}
