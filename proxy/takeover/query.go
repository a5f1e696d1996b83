package takeover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// socketList lists all Unix sockets of the network namespace: see proc_net_unix(5).
const socketList = "/proc/self/net/unix"

// maxPeersQueried bounds the number of processes that are queried. Any process can
// create any number of sockets with such names.
const maxPeersQueried = 256

// peer is another usher process.
type peer struct {
	name string // of the socket
	message
	unresponsive bool // no response in time, or a version without Announce
}

// holdersOf returns the processes of this service that hold an address. It returns
// an error if a process of another service, or another program, holds it.
func (p *Process) holdersOf(ctx context.Context, address string, requested netip.AddrPort) ([]peer, error) {
	if requested.Port() == 0 {
		return nil, nil
	}
	peers, err := p.query(ctx, requested)
	if err != nil {
		return nil, err
	}
	holders := slices.DeleteFunc(slices.Clone(peers), func(candidate peer) bool {
		return candidate.unresponsive || len(overlapping(candidate.Addresses, []netip.AddrPort{requested})) == 0
	})
	for _, holder := range holders {
		if holder.Service != p.service {
			return nil, fmt.Errorf("listen on %s: process %d, usher %s, holds %s for another service, %q, while this one is of %q: stop it, listen elsewhere, or give both the same --service",
				address, holder.PID, holder.Version, overlapping(holder.Addresses, []netip.AddrPort{requested})[0], holder.Service, p.service)
		}
	}
	if len(holders) > 0 {
		return holders, nil
	}
	return p.unresponsiveHolders(ctx, address, peers)
}

// unresponsiveHolders returns the processes that may hold an address if no process
// has responded that it does. A process of this service that hangs may be the
// holder. It must not prevent a new process from replacing it.
func (p *Process) unresponsiveHolders(ctx context.Context, address string, peers []peer) ([]peer, error) {
	probe, err := bind(ctx, address, nil)
	if err == nil {
		return nil, probe.Close()
	}
	if !errors.Is(err, unix.EADDRINUSE) {
		return nil, err
	}
	hanging := slices.DeleteFunc(peers, func(candidate peer) bool {
		return !candidate.unresponsive || !strings.HasPrefix(candidate.name, socketName(p.service))
	})
	switch {
	case len(hanging) > 0:
		return hanging, nil
	case p.older:
		return []peer{{unresponsive: true}}, nil
	}
	return nil, err
}

// query sends the requested address to all other usher processes of the same user,
// and returns which service each belongs to and which addresses it holds.
func (p *Process) query(ctx context.Context, requested netip.AddrPort) ([]peer, error) {
	names, err := socketNames()
	if err != nil {
		return nil, fmt.Errorf("look for other processes of usher: %w", err)
	}
	own := p.socket.Addr().String()
	request := p.message()
	request.Addresses = []netip.AddrPort{requested}
	var queries sync.WaitGroup
	var mu sync.Mutex
	var found []peer
	for _, name := range names {
		if name == own {
			continue
		}
		queries.Go(func() {
			conn, response, err := exchange(ctx, name, request)
			if conn == nil {
				return
			}
			_ = conn.Close()
			mu.Lock()
			defer mu.Unlock()
			found = append(found, peer{name: name, message: response, unresponsive: err != nil})
		})
	}
	queries.Wait()
	return found, nil
}

// IsAnnounced reports whether the process with a PID has announced itself, as this user
// and in this network namespace, for whatever service.
func IsAnnounced(ctx context.Context, pid int) (bool, error) {
	names, err := socketNames()
	if err != nil {
		return false, fmt.Errorf("look for other processes of usher: %w", err)
	}
	for _, name := range names {
		conn, response, _ := exchange(ctx, name, message{})
		if conn == nil {
			continue
		}
		_ = conn.Close()
		if response.PID == pid {
			return true, nil
		}
	}
	return false, nil
}

// socketNames returns the names of all sockets that may belong to a Process.
func socketNames() ([]string, error) {
	list, err := os.ReadFile(socketList)
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(list)) {
		fields := strings.Fields(line) // number, references, protocol, flags, type, state, inode, path
		if len(fields) == 8 && strings.HasPrefix(fields[7], socketPrefix) && !slices.Contains(names, fields[7]) && len(names) < maxPeersQueried {
			names = append(names, fields[7])
		}
	}
	return names, nil
}

// exchange sends a message to a process of the same user and returns the response.
// The connection is nil if there is no such process.
func exchange(ctx context.Context, name string, request message) (*net.UnixConn, message, error) {
	dialer := net.Dialer{Timeout: answerTimeout}
	dialled, err := dialer.DialContext(ctx, "unix", name)
	if err != nil {
		return nil, message{}, err
	}
	conn := dialled.(*net.UnixConn)
	pid, err := peerOf(conn)
	if err != nil {
		_ = conn.Close()
		return nil, message{}, err
	}
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return conn, message{PID: pid}, err
	}
	if err := json.NewEncoder(conn).Encode(request); err != nil {
		return conn, message{PID: pid}, err
	}
	response, err := receive(conn, pid)
	return conn, response, err
}

// notify notifies processes that this one has taken over an address from them. The
// returned function notifies them that this process has released it.
func (p *Process) notify(ctx context.Context, holders []peer, held netip.AddrPort) (closeConns func()) {
	request := p.message()
	request.Addresses, request.TakesOver = []netip.AddrPort{held}, true
	var conns []net.Conn
	for _, holder := range holders {
		log := p.log.WithValues("address", held, "service", p.service)
		if holder.unresponsive {
			log.Info("Took over from another usher process, which does not respond: it hangs, or is an older version", "process", holder.PID)
			continue
		}
		log.Info("Took over from another usher process: new connections are this one's", "process", holder.PID, "version", holder.Version)
		if conn, _, _ := exchange(ctx, holder.name, request); conn != nil {
			conns = append(conns, conn)
		}
	}
	return func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
}
