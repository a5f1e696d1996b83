package node

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupRoot is the folder in which the hierarchies are mounted: see cgroups(7).
const cgroupRoot = "/sys/fs/cgroup"

// cgroupPrefix begins the names of the nodes' cgroups. The PID of the process that created one follows.
const cgroupPrefix = "usher-node-"

// ownCgroups returns the folders of this process's cgroups in the hierarchies of version 1.
func ownCgroups() ([]string, error) {
	file, err := os.Open("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var folders []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.SplitN(lines.Text(), ":", 3) // hierarchy, controllers, path
		if len(fields) != 3 || fields[1] == "" {
			continue // that of version 2
		}
		folder := filepath.Join(cgroupRoot, strings.TrimPrefix(fields[1], "name="), fields[2])
		if _, err := os.Stat(folder); err != nil {
			return nil, err
		}
		folders = append(folders, folder)
	}
	return folders, lines.Err()
}

// makeCgroups creates a child of each of this process's cgroups, so that their limits apply to the node.
func makeCgroups() (made []string, err error) {
	parents, err := ownCgroups()
	if err != nil {
		return nil, err
	}
	for _, parent := range parents {
		sweep(parent)
		child := filepath.Join(parent, cgroupPrefix+strconv.Itoa(os.Getpid()))
		if err := os.Mkdir(child, 0o755); err != nil {
			return made, err
		}
		made = append(made, child)
		if err := inheritProcessors(parent, child); err != nil {
			return made, err
		}
	}
	return made, nil
}

// inheritProcessors sets the CPUs and memory nodes of a new cgroup in the hierarchy cpuset; others have no such files.
func inheritProcessors(parent, child string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(child, name), value, 0)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sweep removes the cgroups of nodes that were killed together with the process that created them.
func sweep(parent string) {
	left, _ := filepath.Glob(filepath.Join(parent, cgroupPrefix+"*")) // fails for a malformed pattern only
	for _, folder := range left {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(folder), cgroupPrefix))
		if err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			_ = removeCgroup(folder) // fails if a process is still in it
		}
	}
}

// removeTimeout is how long the processes of a killed node may take to end.
const removeTimeout = 20 * time.Second

func removeCgroups(folders []string) error {
	var errs []error
	deadline := time.Now().Add(removeTimeout)
	for _, folder := range folders {
		err := removeCgroup(folder)
		for err != nil && time.Now().Before(deadline) {
			time.Sleep(50 * time.Millisecond)
			err = removeCgroup(folder)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeCgroup removes a cgroup and its descendants, the innermost first. None may have a process.
func removeCgroup(folder string) error {
	var below []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			below = append(below, path)
		}
		return err
	})
	for _, path := range slices.Backward(below) {
		if err := unix.Rmdir(path); err != nil {
			return fmt.Errorf("removing cgroup %s: %w", path, err)
		}
	}
	return err
}
