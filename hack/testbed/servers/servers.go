// Package servers builds and locates the real servers of the test bed: etcd, kube-apiserver,
// kubectl, Traefik, helm, promtool, and on request the other programs of a node.
//
// Each is built from modules that a go.mod in a folder next to this file pins. The cache is shared
// by all checkouts: os.UserCacheDir()/usher/testbed/KEY/NAME, or $USHER_TESTBED_CACHE/KEY/NAME. KEY
// is a hash of that folder, so that each version has its own file and is built only once. Only Go
// modules are downloaded, and only while building.
//
// $TESTBED_ASSETS and $KUBEBUILDER_ASSETS may name folders with files that are there already.
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

// ErrNotBuilt is wrapped by the error of Locate if Build has not built the file.
var ErrNotBuilt = errors.New("not built yet")

// Locate returns the path of a file that the environment provides or Build has built. If it is missing, the error wraps
// ErrNotBuilt and names the command that builds it.
func Locate(name string) (string, error) {
	t, ok := find(name)
	if !ok {
		return "", fmt.Errorf("the test bed knows no %q", name)
	}
	if path := t.provided(); path != "" {
		return path, nil
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

func (t target) remedy() string { return "go run ./hack/testbed/cmd/testbed build " + t.name }

// assets are the variables whose folders may provide files, so that they are not built. setup-envtest
// makes folders for the first; they have etcd, kube-apiserver and kubectl.
var assets = []string{"TESTBED_ASSETS", "KUBEBUILDER_ASSETS"}

// provided returns the path of the target in a folder that the environment names; empty if there is
// none.
func (t target) provided() string {
	for _, variable := range assets {
		dir := os.Getenv(variable)
		if dir == "" {
			continue
		}
		path, err := filepath.Abs(filepath.Join(dir, t.name))
		if err != nil {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// path returns the path of the target in the cache, whether it exists or not.
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

// dir returns the folder whose go.mod pins the target.
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

// sources is the folder of the pinning modules, relative to the root of the repository. go:embed
// cannot include them, since they are separate modules.
const sources = "hack/testbed/servers"

// repository returns the root of the checkout that contains the working directory: `go test` runs
// each test in its package's folder, and the Makefile runs commands at the root.
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

// hashDir returns a hash of the paths and contents of all files in a folder.
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

// keyLength is the number of hexadecimal digits in a key. It is enough to avoid collisions.
const keyLength = 16
