package process

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// removeWhenOrphaned waits for the end of its input, which comes when the parent is gone, and
// removes a folder. Children that are dying may write there for a moment more: hence twice.
const removeWhenOrphaned = `read -r _; rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }`

// RemoveWhenOrphaned has a folder removed when this process is gone, however it ended. Release
// removes the folder at once.
func RemoveWhenOrphaned(dir string) (release func() error, err error) {
	input, held, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	defer input.Close()
	//nolint:noctx // it outlives this process, which is its purpose
	cmd := exec.Command("/bin/sh", "-c", removeWhenOrphaned, "sh", dir)
	cmd.Stdin = input
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		held.Close()
		return nil, fmt.Errorf("starting the shell that removes %s: %w", dir, err)
	}
	return func() error {
		held.Close()
		return cmd.Wait()
	}, nil
}
