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
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
)

const (
	// socketPrefix begins the name of the socket of each process. The service and a
	// random text follow: see socketName.
	socketPrefix = "@usher-takeover/"

	// answerTimeout bounds the time for a request or a response of another process.
	answerTimeout = time.Second

	// maxMessageSize bounds a message, in bytes.
	maxMessageSize = 4096

	// maxPeers bounds the connections of other processes. A process that took over
	// keeps its connection for as long as it listens.
	maxPeers = 64

	// defaultGrace is the time after a take-over in which the former process is
	// normally told to stop. Later, it logs an error.
	defaultGrace = time.Minute
)

// Process announces this process to other usher processes that want its addresses,
// on an abstract Unix socket (unix(7)) in the network namespace. It accepts only
// processes of the same user, because only those can share an address.
type Process struct {
	service, version string
	log              logr.Logger
	grace            time.Duration // see defaultGrace
	older            bool          // a version of usher without Announce may hold the addresses
	socket           *net.UnixListener
	goroutines       sync.WaitGroup
	stopping         chan struct{}
	stop             func()       // closes stopping, once
	successors       atomic.Int64 // processes that have taken over from this one, and still listen

	mu        sync.Mutex
	held      []netip.AddrPort           // addresses that it listens on, or is about to
	peerConns map[*net.UnixConn]struct{} // open connections of other processes
	closed    bool
}

// message is sent as JSON in both directions. The addresses of a request are those
// that the sender requests, or has taken over; those of the response are all that
// the responder holds.
type message struct {
	Service   string           `json:"service"`
	Version   string           `json:"version"`
	PID       int              `json:"pid"`
	Addresses []netip.AddrPort `json:"addresses"`
	TakesOver bool             `json:"takesOver,omitempty"`
}

// Announce creates a Process, which responds to others until Close. A process takes
// over only from processes of the same service. The version appears in logs.
// Announce fails if Unix sockets cannot be listed or are forbidden, for example by
// RestrictAddressFamilies of systemd.
func Announce(ctx context.Context, service, version string, log logr.Logger) (*Process, error) {
	return announce(ctx, service, version, log, defaultGrace)
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
		peerConns: map[*net.UnixConn]struct{}{},
	}
	p.goroutines.Go(p.acceptPeers)
	return p, nil
}

// socketName returns the prefix of the names of a service's sockets, by which the
// service of a process that hangs is known. It is short, because unix(7) allows
// 107 bytes.
func socketName(service string) string {
	sum := sha256.Sum256([]byte(service))
	return fmt.Sprintf("%s%x/", socketPrefix, sum[:8])
}

// TakeOverFromOlder lets this process take over from a process of the same user that
// has not announced itself. The caller must know that it is a version of usher
// without Announce, and of this service.
func (p *Process) TakeOverFromOlder() { p.older = true }

// Stopping records that this process was told to stop. It is then normal that
// another process takes over its addresses for good.
func (p *Process) Stopping() {
	if p != nil {
		p.stop()
	}
}

// TakenOver reports whether another process has taken over an address of this one, and
// still listens.
func (p *Process) TakenOver() bool { return p != nil && p.successors.Load() > 0 }

func (p *Process) isStopping() bool {
	select {
	case <-p.stopping:
		return true
	default:
		return false
	}
}

// Close closes the socket and all connections of other processes.
func (p *Process) Close() {
	if p == nil {
		return
	}
	p.stop()
	_ = p.socket.Close()
	p.mu.Lock()
	p.closed = true
	for conn := range p.peerConns {
		_ = conn.Close()
	}
	p.mu.Unlock()
	p.goroutines.Wait()
}

// acceptPeers accepts connections of other processes until Close.
func (p *Process) acceptPeers() {
	for {
		conn, err := p.socket.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // no free descriptors, for example
			time.Sleep(answerTimeout / 10)
		case !p.startPeer(conn):
			_ = conn.Close()
		}
	}
}

// startPeer starts to handle the connection of a peer. It returns false if the peer
// runs as another user, or if there are too many connections.
func (p *Process) startPeer(conn *net.UnixConn) bool {
	pid, err := peerOf(conn)
	if err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.peerConns) >= maxPeers {
		return false
	}
	p.peerConns[conn] = struct{}{}
	p.goroutines.Go(func() {
		p.handle(conn, pid)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.peerConns, conn)
		_ = conn.Close()
	})
	return true
}

var errOtherUser = errors.New("the process runs as another user")

// peerOf returns the PID of the peer, or 0 if it is in another PID namespace. It
// returns an error if the peer runs as another user.
func peerOf(conn *net.UnixConn) (pid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	err = control(raw, func(fd int) error {
		credentials, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return err
		}
		if int(credentials.Uid) != os.Geteuid() {
			return errOtherUser
		}
		pid = int(credentials.Pid)
		return nil
	})
	return pid, err
}

// handle responds to a request. If the peer has taken over an address, handle waits
// until that peer ends.
func (p *Process) handle(conn *net.UnixConn, pid int) {
	if conn.SetDeadline(time.Now().Add(answerTimeout)) != nil {
		return
	}
	request, err := receive(conn, pid)
	if err != nil || json.NewEncoder(conn).Encode(p.message()) != nil {
		return
	}
	shared := p.overlapping(request.Addresses)
	if len(shared) == 0 {
		return
	}
	log := p.log.WithValues("addresses", shared, "process", request.PID, "version", request.Version, "service", request.Service)
	switch {
	case request.Service != p.service:
		log.Info("Refused an address to a process of another service")
	case request.TakesOver:
		log.Info("Another usher process takes over: new connections are its own")
		p.successors.Add(1)
		p.waitForEnd(conn, log)
		p.successors.Add(-1)
		if len(p.overlapping(shared)) > 0 {
			log.Info("The process that took over has ended: new connections are this one's again")
		}
	}
}

// waitForEnd waits until the process that took over closes its connection, which
// means that it no longer listens. It logs an error if both processes keep running,
// because one of the two is superfluous.
func (p *Process) waitForEnd(conn *net.UnixConn, log logr.Logger) {
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

// receive reads a message. The PID from the kernel, if it is not 0, replaces the
// one in the message, which may be of another PID namespace.
func receive(conn *net.UnixConn, pid int) (message, error) {
	var m message
	err := json.NewDecoder(io.LimitReader(conn, maxMessageSize)).Decode(&m)
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

// overlapping returns the addresses of this process that overlap with any of others.
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

// add adds an address before this process listens on it, so that of two processes
// that start at the same time, one sees the other.
func (p *Process) add(requested netip.AddrPort) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if twice := overlapping(p.held, []netip.AddrPort{requested}); len(twice) > 0 {
		return fmt.Errorf("listen on %s: this process listens on %s already", requested, twice[0])
	}
	p.held = append(p.held, requested)
	return nil
}

func (p *Process) remove(address netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.held, address); i >= 0 {
		p.held = slices.Delete(p.held, i, i+1)
	}
}

// replace replaces a requested address by the one with the port that the kernel
// chose.
func (p *Process) replace(requested, held netip.AddrPort) {
	p.remove(requested)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = append(p.held, held)
}
