package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Build builds the named files that are not in the cache yet; without names, those of the test bed.
// It reports its progress to out. Concurrent builds wait for each other. Files that
// $KUBEBUILDER_ASSETS or $TESTBED_ASSETS provide are not built.
func Build(ctx context.Context, out io.Writer, names ...string) error {
	if len(names) == 0 {
		names = byDefault()
	}
	missing, err := notBuilt(names)
	if err != nil {
		return err
	}
	plan := newPlan(out, missing)
	for _, t := range missing {
		if err := t.build(ctx, plan); err != nil {
			return fmt.Errorf("building %s: %w", t.name, err)
		}
	}
	return nil
}

func notBuilt(names []string) ([]target, error) {
	var missing []target
	for _, name := range names {
		t, ok := find(name)
		if !ok {
			return nil, fmt.Errorf("the test bed knows no %q", name)
		}
		if t.provided() != "" {
			continue
		}
		path, err := t.path()
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, t)
		}
	}
	return missing, nil
}

// build builds one target under the lock of the cache, unless another process has built it meanwhile.
func (t target) build(ctx context.Context, plan *plan) error {
	path, err := t.path()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return plan.run(t, func(compiled *packages) error {
		unlock, err := lock(ctx, path+".lock")
		if err != nil {
			return err
		}
		defer unlock()
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		return t.make(ctx, path, compiled)
	})
}

// make writes the target to a temporary file and renames it to path when it is complete.
func (t target) make(ctx context.Context, path string, compiled *packages) error {
	unfinished := path + ".unfinished"
	_ = os.Remove(unfinished) // of a build that was killed: go refuses to overwrite a file that is not a program
	defer func() { _ = os.Remove(unfinished) }()
	var err error
	if t.pkg == "" {
		err = t.copyManifests(ctx, unfinished)
	} else {
		err = t.compile(ctx, unfinished, compiled)
	}
	if err != nil {
		return err
	}
	return os.Rename(unfinished, path)
}

func (t target) compile(ctx context.Context, path string, compiled *packages) error {
	linker := "-s -w"
	if t.version != "" {
		m, err := t.download(ctx)
		if err != nil {
			return err
		}
		linker += " -X " + t.version + "=" + m.Version
	}
	flags := []string{"-trimpath", "-tags=" + t.tags, "-ldflags=" + linker}
	var counting sync.WaitGroup
	defer counting.Wait()
	counting.Go(func() { // beside the build, which has not compiled much until then
		list := slices.Concat([]string{"list"}, flags, []string{"-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", t.pkg})
		if stale, err := t.output(ctx, list...); err == nil { // else the build returns why
			compiled.stale.Store(int64(bytes.Count(stale, []byte("\n"))))
		}
	})
	return t.goCommand(ctx, io.Discard, compiled, slices.Concat([]string{"build", "-v"}, flags, []string{"-o", path, t.pkg})...)
}

// copyManifests concatenates the target's manifests to one file of several documents.
func (t target) copyManifests(ctx context.Context, path string) error {
	m, err := t.download(ctx)
	if err != nil {
		return err
	}
	var all bytes.Buffer
	for glob := range strings.FieldsSeq(t.manifests) {
		files, err := filepath.Glob(filepath.Join(m.Dir, glob))
		if err != nil || len(files) == 0 {
			return fmt.Errorf("no %s in %s: %w", glob, m.Dir, errors.Join(err, os.ErrNotExist))
		}
		for _, file := range files {
			manifest, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			fmt.Fprintf(&all, "---\n%s\n", manifest)
		}
	}
	return os.WriteFile(path, all.Bytes(), 0o644)
}

// A module is a part of the output of `go mod download -json`.
type module struct{ Dir, Version string }

func (t target) download(ctx context.Context) (module, error) {
	answer, err := t.output(ctx, "mod", "download", "-json", t.module)
	if err != nil {
		return module{}, err
	}
	var m module
	if err := json.Unmarshal(answer, &m); err != nil {
		return module{}, fmt.Errorf("reading the output of go about %s: %w", t.module, err)
	}
	return m, nil
}

// output runs the go command and returns its standard output.
func (t target) output(ctx context.Context, args ...string) ([]byte, error) {
	var stdout bytes.Buffer
	err := t.goCommand(ctx, &stdout, &packages{}, args...)
	return stdout.Bytes(), err
}

// goCommand runs the go command in the folder that pins the target. It ignores the workspace and
// the flags that the environment sets for usher itself.
func (t target) goCommand(ctx context.Context, stdout io.Writer, stderr *packages, args ...string) error {
	dir, err := t.dir()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, stdout, stderr
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0")
	if os.Getenv("GOGC") == "" {
		cmd.Env = append(cmd.Env, "GOGC="+compilerGC)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that go ends its compilers
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s in %s: %w\n%s", args[0], dir, err, stderr.messages.Bytes())
	}
	return nil
}

// compilerGC is the compilers' GOGC: they are short-lived, and collect less often with it.
const compilerGC = "400"
