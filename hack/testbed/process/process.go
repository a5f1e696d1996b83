// Package process runs child processes that never outlive the one that started them, however
// that one ends: a failed test, a panic, an interrupt, kill -9. It is for Linux only
// (PR_SET_PDEATHSIG, prctl(2)) and must import nothing of usher.
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

// A Command says what to run.
type Command struct {
	Path    string
	Args    []string // without the program's name
	Env     []string // in addition to this process's environment; KEY=value
	LogFile string   // where its output goes; made if absent, appended to otherwise
}

// A Process is a running or ended child. Its methods may be called from several goroutines.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error // what Wait said; to be read after done
}

// Start runs a command in a process group of its own, so that an interrupt at the terminal
// reaches only the parent, which can end its children in order.
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

// PID is the process's identifier.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends the process a signal. It is an error when the process has ended.
func (p *Process) Signal(signal os.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("sending %v to %s: %w", signal, p.name(), err)
	}
	return nil
}

// Kill ends the process at once, also one that is stopped, and returns when it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // fails only where there is nothing to kill
	<-p.done
}

// Terminate asks the process to end and waits until it has. The error tells how it ended, or
// that ctx ended first, and then the process is killed.
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

// probeInterval is how long AwaitReady leaves between two probes.
const probeInterval = 50 * time.Millisecond

// AwaitReady calls probe until it returns nil. The error of a process that ended first, or
// whose time was up, has the end of its log.
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

// whileRunning derives a context that ends with the process: no probe shall wait for an answer
// from a dead one.
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

// errExited is how a process ended that was content with itself.
var errExited = errors.New("exit status 0")

func (p *Process) ended() error {
	if p.err == nil {
		return errExited
	}
	return p.err
}

func (p *Process) name() string { return filepath.Base(p.cmd.Path) }
