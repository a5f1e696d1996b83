package process

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// removeWhenOrphaned waits for the end of its input, when the parent has ended, and removes a
// folder. It tries twice, since children that are being killed may still write there.
const removeWhenOrphaned = `read -r _; rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }`

// RemoveWhenOrphaned starts a shell that removes a folder when this process has ended, for any
// reason. Release removes the folder at once.
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
