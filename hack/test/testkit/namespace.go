package testkit

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// InMountNamespace runs the test again in a process with a mount namespace of its own, in
// which the environment variable env is 1. It skips the test if a user namespace cannot be
// made.
func InMountNamespace(t *testing.T, env string) {
	t.Helper()
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	again.Env = append(os.Environ(), env+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	output, err := again.CombinedOutput()
	switch failed := new(exec.ExitError); {
	case errors.As(err, &failed):
		t.Errorf("%v\n%s", err, output)
	case err != nil:
		t.Skipf("a user namespace cannot be made here: %v", err)
	}
}
