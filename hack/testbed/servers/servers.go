// Package servers builds and locates the real servers of the test bed: etcd, kube-apiserver,
// kubectl, Traefik, helm, promtool, and on request what a node runs besides.
//
// Each is built from modules that a go.mod in a folder beside this file pins, into a cache
// that all checkouts share: os.UserCacheDir()/usher/testbed/KEY/NAME, or $USHER_TESTBED_CACHE
// in place of the first three. KEY is a hash of that folder, so that another version is
// another file, and one that is there is never built again. Nothing but Go modules is
// downloaded, and only while building.
//
// It starts nothing (see package testbed) and must import nothing of usher.
package servers

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrNotBuilt is what Locate's error wraps when Build would help.
var ErrNotBuilt = errors.New("not built yet")

// Locate returns the path of a file that Build has made. The error of one that is missing
// wraps ErrNotBuilt and names the command that makes it.
func Locate(name string) (string, error) {
	t, ok := find(name)
	if !ok {
		return "", fmt.Errorf("the test bed knows no %q", name)
	}
	path, err := t.path()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the test bed's %s is %w (no %s): run `%s`", name, ErrNotBuilt, path, t.remedy())
	}
	return path, nil
}

func (t target) remedy() string {
	if t.onRequest {
		return "go run ./hack/testbed/cmd/testbed build " + t.name
	}
	return "make testbed"
}

// path is where the target is, or will be, in the cache.
func (t target) path() (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir, err := t.dir()
	if err != nil {
		return "", err
	}
	key, err := hashDir(dir)
	if err != nil {
		return "", fmt.Errorf("hashing %s: %w", dir, err)
	}
	return filepath.Join(cache, key, t.name), nil
}

// dir is the folder whose go.mod pins the target.
func (t target) dir() (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, sources, t.pins), nil
}

func cacheDir() (string, error) {
	if dir := os.Getenv("USHER_TESTBED_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a cache folder (set USHER_TESTBED_CACHE): %w", err)
	}
	return filepath.Join(dir, "usher", "testbed"), nil
}

// sources is where the pinning modules are, below the repository's root. They are modules of
// their own, which go:embed cannot reach.
const sources = "hack/testbed/servers"

// repository is the checkout that the working directory is in: `go test` runs each test in its
// package's folder, and the Makefile runs commands at the root.
func repository() (string, error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, sources, "etcd", "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside a checkout of usher", wd)
		}
	}
}

// hashDir names the content of a folder: the paths and bytes of all its files.
func hashDir(dir string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(sum, "%s %d\n%s", filepath.ToSlash(name), len(content), content)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil))[:keyLength], err
}

// keyLength is enough hexadecimal digits to tell the versions of a lifetime apart.
const keyLength = 16
