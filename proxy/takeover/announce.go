package takeover

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
)

const (
	// socketPrefix begins the name of each process's socket, which goes on with
	// the service and the process: see socketName.
	socketPrefix = "@usher-takeover/"

	// answerTimeout is how long another process may take for a question or an answer.
	answerTimeout = time.Second

	// longestMessage is how many bytes one may have.
	longestMessage = 4096

	// mostPeers are heard at once; one that took over is for as long as it listens.
	mostPeers = 64

	// soonStopped is how long after a take-over a process is usually told to stop.
	soonStopped = time.Minute
)

// Process is what this process says of itself to others that want its addresses,
// on an abstract Unix socket (unix(7)) in their common network namespace. Only
// processes of the same user are heard: those are the ones that the kernel lets
// share an address.
type Process struct {
	service, version string
	log              logr.Logger
	grace            time.Duration // see soonStopped
	older            bool          // an usher that does not announce itself is there
	socket           *net.UnixListener
	peers            sync.WaitGroup
	stopping         chan struct{}
	stop             func() // closes stopping, once

	mu     sync.Mutex
	held   []netip.AddrPort           // or about to be
	heard  map[*net.UnixConn]struct{} // peers that are heard now
	closed bool
}

// message is what one process says to another, as JSON. A question has what the
// newcomer wants, or has taken over; its answer what the other holds.
type message struct {
	Service   string           `json:"service"`
	Version   string           `json:"version"`
	PID       int              `json:"pid"`
	Addresses []netip.AddrPort `json:"addresses"`
	TakesOver bool             `json:"takesOver,omitempty"`
}

// Announce makes a Process that answers until Close. Processes of one service take
// over from one another; the version is for people. It fails where Unix sockets
// are forbidden, as by systemd's RestrictAddressFamilies, or cannot be listed.
func Announce(ctx context.Context, service, version string, log logr.Logger) (*Process, error) {
	return announce(ctx, service, version, log, soonStopped)
}

func announce(ctx context.Context, service, version string, log logr.Logger, grace time.Duration) (*Process, error) {
	if _, err := socketNames(); err != nil {
		return nil, fmt.Errorf("look for other processes of usher: %w", err)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", socketName(service)+rand.Text())
	if err != nil {
		return nil, fmt.Errorf("announce this process: %w", err)
	}
	stopping := make(chan struct{})
	p := &Process{
		service: service, version: version, log: log, grace: grace,
		socket:   listener.(*net.UnixListener),
		stopping: stopping, stop: sync.OnceFunc(func() { close(stopping) }),
		heard: map[*net.UnixConn]struct{}{},
	}
	p.peers.Go(p.accept)
	return p, nil
}

// socketName is what the names of a service's sockets begin with, so that a
// process which hangs is known by its name. It is short: unix(7) allows 107 bytes.
func socketName(service string) string {
	sum := sha256.Sum256([]byte(service))
	return fmt.Sprintf("%s%x/", socketPrefix, sum[:8])
}

// TakeOverFromOlder lets this process take over from one of the same user that
// does not say who it is. The caller must know that it is an usher of this service
// from before there was Announce.
func (p *Process) TakeOverFromOlder() { p.older = true }

// Stopping says that this process was told to stop, and gives its addresses away.
func (p *Process) Stopping() {
	if p != nil {
		p.stop()
	}
}

func (p *Process) isStopping() bool {
	select {
	case <-p.stopping:
		return true
	default:
		return false
	}
}

// Close stops answering.
func (p *Process) Close() {
	if p == nil {
		return
	}
	p.stop()
	_ = p.socket.Close()
	p.mu.Lock()
	p.closed = true
	for conn := range p.heard {
		_ = conn.Close()
	}
	p.mu.Unlock()
	p.peers.Wait()
}

// accept hears others until Close.
func (p *Process) accept() {
	for {
		conn, err := p.socket.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // no free descriptors, for example
			time.Sleep(answerTimeout / 10)
		case !p.listenTo(conn):
			_ = conn.Close()
		}
	}
}

// listenTo hears a peer, unless it is another user's, or there are too many.
func (p *Process) listenTo(conn *net.UnixConn) bool {
	pid, err := peerOf(conn)
	if err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.heard) >= mostPeers {
		return false
	}
	p.heard[conn] = struct{}{}
	p.peers.Go(func() {
		p.hear(conn, pid)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.heard, conn)
		_ = conn.Close()
	})
	return true
}

// errOtherUser is what comes of a peer that may not be heard.
var errOtherUser = errors.New("the process is another user's")

// peerOf returns the identifier of a process of the same user; 0 where it is of
// another PID namespace.
func peerOf(conn *net.UnixConn) (pid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = control(raw, func(fd int) error {
		peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return err
		}
		if int(peer.Uid) != os.Geteuid() {
			return errOtherUser
		}
		pid = int(peer.Pid)
		return nil
	})
	return pid, err
}

// hear answers a question, and follows a peer that has taken over.
func (p *Process) hear(conn *net.UnixConn, pid int) {
	if conn.SetDeadline(time.Now().Add(answerTimeout)) != nil {
		return
	}
	asked, err := receive(conn, pid)
	if err != nil || json.NewEncoder(conn).Encode(p.message()) != nil {
		return
	}
	shared := p.overlapping(asked.Addresses)
	if len(shared) == 0 {
		return
	}
	log := p.log.WithValues("addresses", shared, "process", asked.PID, "version", asked.Version, "service", asked.Service)
	switch {
	case asked.Service != p.service:
		log.Info("Refused an address to a process of another service")
	case asked.TakesOver:
		log.Info("Another usher process takes over: new connections are its own")
		p.follow(conn, log)
		if len(p.overlapping(shared)) > 0 {
			log.Info("The process that took over has ended: new connections are this one's again")
		}
	}
}

// follow waits until the process that took over listens no more, which closes its
// connection. Where two run on, somebody started one too many.
func (p *Process) follow(conn *net.UnixConn, log logr.Logger) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = conn.SetDeadline(time.Time{})
		_, _ = conn.Read(make([]byte, 1))
	}()
	select {
	case <-ended:
		return
	case <-p.stopping:
	case <-time.After(p.grace):
		if p.isStopping() {
			break
		}
		log.Error(nil, "Another usher process has taken over, and this one was not told to stop: it gets no new connections. Stop one of the two")
	}
	<-ended
}

// receive reads a message. A process identifier that the kernel knows is better
// than the one in it, which may be of another PID namespace.
func receive(conn *net.UnixConn, pid int) (message, error) {
	var m message
	err := json.NewDecoder(io.LimitReader(conn, longestMessage)).Decode(&m)
	if pid != 0 {
		m.PID = pid
	}
	return m, err
}

func (p *Process) message() message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return message{Service: p.service, Version: p.version, PID: os.Getpid(), Addresses: slices.Clone(p.held)}
}

// overlapping returns those of this process's addresses that others overlap with.
func (p *Process) overlapping(others []netip.AddrPort) []netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	return overlapping(p.held, others)
}

func overlapping(held, others []netip.AddrPort) []netip.AddrPort {
	return slices.DeleteFunc(slices.Clone(held), func(own netip.AddrPort) bool {
		return !slices.ContainsFunc(others, func(other netip.AddrPort) bool { return Overlap(own, other) })
	})
}

// add notes an address that this process is about to listen on, so that of two
// processes that start at once one sees the other.
func (p *Process) add(wanted netip.AddrPort) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if twice := overlapping(p.held, []netip.AddrPort{wanted}); len(twice) > 0 {
		return fmt.Errorf("listen on %s: this process listens on %s already", wanted, twice[0])
	}
	p.held = append(p.held, wanted)
	return nil
}

func (p *Process) remove(address netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.held, address); i >= 0 {
		p.held = slices.Delete(p.held, i, i+1)
	}
}

// replace notes the port that the kernel chose.
func (p *Process) replace(wanted, held netip.AddrPort) {
	p.remove(wanted)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = append(p.held, held)
}
