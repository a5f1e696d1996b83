// Package process runs child processes that are killed when this process ends, for any reason: a
// failed test, a panic, an interrupt or SIGKILL. It is for Linux only (PR_SET_PDEATHSIG, prctl(2))
// and must import nothing of usher.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A Command is a program to run.
type Command struct {
	Path    string
	Args    []string // without the program's name
	Env     []string // in addition to this process's environment; KEY=value
	LogFile string   // the file that its output is appended to; it is created if it is missing
}

// A Process is a running or ended child. Its methods may be called from several goroutines.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // the result of Wait; valid after done is closed
}

// Start starts a command in its own process group, so that an interrupt from the terminal reaches
// only the parent, which can then stop its children in order.
func Start(c Command) (*Process, error) {
	log, err := os.OpenFile(c.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", c.Path, err)
	}
	defer log.Close()
	//nolint:noctx // a server outlives the call that started it; its caller ends it
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := onLastingThread(cmd.Start); err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Path, err)
	}
	p := &Process{cmd: cmd, log: c.LogFile, done: make(chan struct{})}
	go p.wait()
	return p, nil
}

func (p *Process) wait() {
	p.err = p.cmd.Wait()
	close(p.done)
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// PID returns the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process. It returns an error if the process has ended.
func (p *Process) Signal(signal os.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("sending %v to %s: %w", signal, p.name(), err)
	}
	return nil
}

// Kill sends SIGKILL, which also ends a stopped process, and returns when the process has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails only if the process has ended
	<-p.done
}

// Terminate sends SIGTERM and waits until the process has ended. It returns an error if the exit
// status is not 0. If ctx ends first, it kills the process and returns an error.
func (p *Process) Terminate(ctx context.Context) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("%s did not end in time: %w", p.name(), ctx.Err())
	}
}

// probeInterval is the pause of AwaitReady between two probes.
const probeInterval = 50 * time.Millisecond

// AwaitReady calls probe until it returns nil. It returns an error with the end of the log if the
// process or ctx ends first.
func (p *Process) AwaitReady(ctx context.Context, probe func(context.Context) error) error {
	running, cancel := p.whileRunning(ctx)
	defer cancel()
	for {
		err := probe(running)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended (%w); %s", p.name(), p.ended(), p.logTail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready (%w): %w; %s", p.name(), ctx.Err(), err, p.logTail())
		case <-time.After(probeInterval):
		}
	}
}

// whileRunning derives a context that ends with the process, so that no probe waits for an answer
// of a process that has ended.
func (p *Process) whileRunning(ctx context.Context) (context.Context, context.CancelFunc) {
	running, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-p.done:
			cancel()
		case <-running.Done():
		}
	}()
	return running, cancel
}

// errExited is the error of a process that ended with success while it was expected to run.
var errExited = errors.New("exit status 0")

func (p *Process) ended() error {
	if p.err == nil {
		return errExited
	}
	return p.err
}

func (p *Process) name() string { return filepath.Base(p.cmd.Path) }
