// Package peer starts proxies to compare: each with a configuration that serves
// the same hosts from the same backends, and otherwise as its project or Debian
// sets it up. It must not import usher: the bench runs the real binary.
package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jovalle/usher/hack/testbed/process"
)

// A Site has the hosts and backends that a proxy must serve.
type Site struct {
	Dir      string // for configurations and logs
	Listen   string // the proxy's address, as host:port
	Admin    string // where it may serve its metrics
	Hosts    []string
	Backends []Address
}

// An Address is the address of a backend.
type Address struct {
	IP   string
	Port int
}

// String returns the address as host:port.
func (a Address) String() string { return fmt.Sprintf("%s:%d", a.IP, a.Port) }

// backendOf returns the index of the backend that serves host number i.
func (s Site) backendOf(i int) int { return i % len(s.Backends) }

// write stores a file under the site's directory and returns its path.
func (s Site) write(name, text string) (string, error) {
	path := filepath.Join(s.Dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// table returns a line for each host, with the index or address of its backend.
func (s Site) table(line func(host string, backend int) string) string {
	var text strings.Builder
	for i, host := range s.Hosts {
		text.WriteString(line(host, s.backendOf(i)))
	}
	return text.String()
}

// servers returns a line for each backend.
func (s Site) servers(line func(i int, backend Address) string) string {
	var text strings.Builder
	for i, backend := range s.Backends {
		text.WriteString(line(i, backend))
	}
	return text.String()
}

// A Peer is a proxy that can be started.
type Peer struct {
	Name string

	// Descriptors is how many an idle connection takes, at most.
	Descriptors int

	// MaxHosts is how many it can be given: beyond, it takes minutes to start,
	// or looks at each name in turn. 0 means any number.
	MaxHosts int

	// version prints the program's version.
	version []string

	// warm has the proxy do once what it does in any service, that what this
	// takes is not counted as a connection's; nil where there is nothing.
	warm func(context.Context, Site) error

	// command writes the configuration of a site and returns what serves it in
	// the foreground. It is nil for Direct.
	command func(Site) (process.Command, error)
}

// Direct is no proxy: the client connects to the backend.
const Direct = "direct"

// IsDirect reports whether there is no proxy to start.
func (p *Peer) IsDirect() bool { return p.command == nil }

// Version returns the first line of the program's version output; empty if it has no
// such command.
func (p *Peer) Version(ctx context.Context) string {
	if len(p.version) == 0 {
		return ""
	}
	out, err := exec.CommandContext(ctx, p.version[0], p.version[1:]...).CombinedOutput()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// Start starts the proxy and returns when probe succeeds. ctx bounds the wait.
func (p *Peer) Start(ctx context.Context, site Site, probe func(context.Context) error) (*Running, error) {
	command, err := p.command(site)
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", p.Name, err)
	}
	command.LogFile = filepath.Join(site.Dir, strings.ReplaceAll(p.Name, " ", "-")+".log")
	started, err := process.Start(command)
	if err != nil {
		return nil, err
	}
	running := &Running{started}
	err = started.AwaitReady(ctx, probe)
	if err == nil && p.warm != nil {
		err = p.warm(ctx, site)
	}
	if err != nil {
		running.Stop()
		return nil, err
	}
	return running, nil
}

// Running is a proxy that serves.
type Running struct {
	process *process.Process
}

// PID is the process's identifier; there may be others below it.
func (r *Running) PID() int { return r.process.PID() }

// stopTimeout is how long a proxy may take to end after SIGTERM.
const stopTimeout = 5 * time.Second

// Stop ends the proxy and all of its child processes.
func (r *Running) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	_ = r.process.Terminate(ctx)                   // how it ended says nothing of what was measured
	err := syscall.Kill(-r.PID(), syscall.SIGKILL) // its group: workers that it left behind
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		fmt.Fprintln(os.Stderr, "ending what a proxy left behind:", err)
	}
}
