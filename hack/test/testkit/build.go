package testkit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// BuildUsher builds usher's program into the folder dir and returns its path. An
// error has the compiler's output. The flags are those of the Makefile, so that the build
// cache serves both.
func BuildUsher(dir string) (string, error) {
	program := filepath.Join(dir, "usher")
	build := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "github.com/jovalle/usher/cmd/usher")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building usher: %w\n%s", err, out)
	}
	return program, nil
}

// ReadSources opens each folder of the module. go test uses a cached result unless a
// file or folder has changed that a test itself opened. It does not see what TestMain or
// a program that a test starts has opened. Therefore each package that runs the go
// command, helm or usher needs a test that calls ReadSources.
func ReadSources(t testing.TB) {
	t.Helper()
	root, err := moduleRoot()
	Must(t, err)
	Must(t, fs.WalkDir(os.DirFS(root), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && slices.Contains([]string{".git", "bin", "dist"}, path) {
			return fs.SkipDir
		}
		return err
	}))
}

// moduleRoot returns the folder of the go.mod file above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("the working directory is in no module")
}
