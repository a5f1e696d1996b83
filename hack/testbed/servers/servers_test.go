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
	_, err := Locate(Helm)
	if remedy := "go run ./hack/testbed/cmd/testbed build helm"; !errors.Is(err, ErrNotBuilt) || !strings.Contains(err.Error(), remedy) {
		t.Errorf("Locate: %v; want ErrNotBuilt and %q", err, remedy)
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

func TestPlanReportsItsProgress(t *testing.T) {
	for want, err := range map[string]error{
		"testbed [##########..........]  50% etcd: ready":  nil,
		"testbed [....................]   0% etcd: failed": errors.New("boom"),
	} {
		var out bytes.Buffer
		plan := newPlan(&out, []target{{name: "etcd", takes: time.Minute}, {name: "kubectl", takes: time.Minute}})
		if got := plan.run(target{name: "etcd", takes: time.Minute}, func(*packages) error { return err }); !errors.Is(got, err) {
			t.Errorf("run: %v, want %v", got, err)
		}
		for _, line := range []string{"about 2 min on two idle cores", "etcd (1 min), kubectl (1 min)", want} {
			if !strings.Contains(out.String(), line) {
				t.Errorf("reported %q, want %q in it", out.String(), line)
			}
		}
	}
}

func TestPackagesAreCounted(t *testing.T) {
	var p packages
	p.stale.Store(4)
	for _, part := range []string{"internal/abi\nk8s.io/", "api/core/v1\n# k8s.io/api\nfile.go:1:2: undefined: x\n", "run"} {
		if _, err := p.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.String(); got != "2 of 4 packages, " || p.share() != 0.5 {
		t.Errorf("counted %q, a share of %v", got, p.share())
	}
	if got := p.messages.String(); got != "# k8s.io/api\nfile.go:1:2: undefined: x\n" {
		t.Errorf("kept %q of the messages", got)
	}
}

func TestFilesFromTheEnvironmentAreNotBuilt(t *testing.T) {
	t.Setenv("USHER_TESTBED_CACHE", t.TempDir())
	for _, variable := range assets {
		dir := t.TempDir()
		t.Setenv(variable, dir)
		name := map[string]string{"TESTBED_ASSETS": Traefik, "KUBEBUILDER_ASSETS": Etcd}[variable]
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := Build(t.Context(), &out, name); err != nil || out.Len() > 0 {
			t.Errorf("Build(%q) with %s: %v, reported %q", name, variable, err, out.String())
		}
		if path, err := Locate(name); err != nil || path != filepath.Join(dir, name) {
			t.Errorf("Locate(%q) with %s: %q, %v", name, variable, path, err)
		}
	}
	if _, err := Locate(Kubectl); !errors.Is(err, ErrNotBuilt) {
		t.Errorf("Locate of a file that no folder has: %v, want ErrNotBuilt", err)
	}
}
