//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/proxy/takeover"
)

// notifySocket is the environment variable with the socket that a process tells its
// state: see sd_notify(3).
const notifySocket = "NOTIFY_SOCKET"

// reportReady tells systemd, or usher replace, that this process listens.
func reportReady(log logr.Logger) {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Error(err, "Could not tell systemd that usher is ready")
	}
}

// replace starts the new process, waits until it listens, and stops the old one.
func (o *replaceOptions) replace(cmd *cobra.Command) error {
	if err := checkRunFlags(o.run); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
	defer cancel()
	old, err := openProcess(ctx, o.pid)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(old) }()
	next, err := startSuccessor(ctx, o.run)
	if err != nil {
		return fmt.Errorf("process %d continues: %w", o.pid, err)
	}
	if _, err := daemon.SdNotify(false, fmt.Sprintf("MAINPID=%d", next)); err != nil {
		return fmt.Errorf("tell systemd that process %d is the main one: %w", next, err)
	}
	if err := unix.PidfdSendSignal(old, unix.SIGUSR1, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d has taken over, and process %d does not stop: %w", next, o.pid, err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "process %d has taken over; process %d ends with its open connections\n", next, o.pid)
	return nil
}

// checkRunFlags returns what usher run would say about its flags.
func checkRunFlags(args []string) error {
	run, options := newRunCommand()
	(&cobra.Command{Use: "usher"}).AddCommand(run) // by which its errors name it
	if err := run.ParseFlags(args); err != nil {
		return parseError(run, err)
	}
	if err := noArguments(run, run.Flags().Args()); err != nil {
		return err
	}
	_, err := options.settings()
	return err
}

// openProcess returns a descriptor of a process (pidfd_open(2)) that has announced itself
// as usher. Another program could end by the signal of replace.
func openProcess(ctx context.Context, pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, fmt.Errorf("process %d: %w", pid, err)
	}
	announced, err := takeover.IsAnnounced(ctx, pid)
	if err == nil && !announced {
		err = fmt.Errorf("process %d is no usher run of this user in this network namespace", pid)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// startSuccessor starts usher run and returns its PID when it listens. The new process is
// a sibling of this one: systemd waits for it as for each of its own processes, and
// stops it with its drain.
func startSuccessor(ctx context.Context, args []string) (int, error) {
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	ready, path, err := listenForReady()
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(filepath.Dir(path)) }()
	defer ready.Close()
	next := exec.Command(program, append([]string{"run"}, args...)...) //nolint:noctx,gosec // it outlives this process; G204: it is this program, with flags that were checked
	next.Env = append(os.Environ(), notifySocket+"="+path)
	next.Stdout, next.Stderr = os.Stdout, os.Stderr
	next.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT}
	if err := next.Start(); err != nil {
		return 0, err
	}
	pid := next.Process.Pid
	if err := awaitReady(ctx, ready, pid); err != nil {
		_ = next.Process.Kill()
		return 0, err
	}
	return pid, nil
}

// listenForReady listens for what the new process tells of its state. Only this user may
// write to the socket.
func listenForReady() (*net.UnixConn, string, error) {
	dir, err := os.MkdirTemp("", "usher-replace-")
	if err != nil {
		return nil, "", err
	}
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, "", errors.Join(err, os.RemoveAll(dir))
	}
	return conn, path, nil
}

const (
	// readyInterval is how often awaitReady looks whether the process has ended.
	readyInterval = 50 * time.Millisecond
	// maxNotification bounds a message of sd_notify, in bytes.
	maxNotification = 4096
)

// awaitReady waits until a process tells that it is ready.
func awaitReady(ctx context.Context, ready *net.UnixConn, pid int) error {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return errors.New("the new process has ended: its log says why")
	}
	defer func() { _ = unix.Close(process) }()
	message := make([]byte, maxNotification)
	for {
		if err := ready.SetReadDeadline(time.Now().Add(readyInterval)); err != nil {
			return err
		}
		n, err := ready.Read(message)
		if err == nil && isReady(message[:n]) {
			return nil
		}
		if hasEnded(process) {
			return errors.New("the new process has ended: its log says why")
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the new process does not listen yet: %w", context.Cause(ctx))
		}
	}
}

// isReady reports whether a message of sd_notify says that the process is ready.
func isReady(message []byte) bool {
	for line := range bytes.Lines(message) {
		if string(bytes.TrimSpace(line)) == daemon.SdNotifyReady {
			return true
		}
	}
	return false
}

// hasEnded reports whether a process has ended. A descriptor of it is readable then.
func hasEnded(process int) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, 0) //nolint:gosec // G115: a descriptor
	return err == nil && n > 0
}
