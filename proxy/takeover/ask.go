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

// socketList holds all Unix sockets of the network namespace: see proc_net_unix in
// proc(5).
const socketList = "/proc/self/net/unix"

// mostAsked is how many processes are asked. A process that wants to be taken for usher
// can add as many names as he likes.
const mostAsked = 256

// other is another process of usher.
type other struct {
	name string // of its socket
	message
	silent bool // it did not answer in time, or is too old to be asked
}

// admitted returns the processes of this service that hold an address, or an error
// where it is not theirs to give.
func (p *Process) admitted(ctx context.Context, address string, wanted netip.AddrPort) ([]other, error) {
	if wanted.Port() == 0 {
		return nil, nil
	}
	others, err := p.ask(ctx, wanted)
	if err != nil {
		return nil, err
	}
	holders := slices.DeleteFunc(slices.Clone(others), func(o other) bool {
		return o.silent || len(overlapping(o.Addresses, []netip.AddrPort{wanted})) == 0
	})
	for _, o := range holders {
		if o.Service != p.service {
			return nil, fmt.Errorf("listen on %s: process %d, usher %s, holds %s for another service, %q, while this one is of %q: stop it, listen elsewhere, or give both the same --service",
				address, o.PID, o.Version, overlapping(o.Addresses, []netip.AddrPort{wanted})[0], o.Service, p.service)
		}
	}
	if len(holders) > 0 {
		return holders, nil
	}
	return p.unanswered(ctx, address, others)
}

// unanswered is admitted where no process says that it holds the address. A
// process of this service that hangs may be the holder, and must not hold up the one
// that replaces it.
func (p *Process) unanswered(ctx context.Context, address string, others []other) ([]other, error) {
	probe, err := bind(ctx, address, nil)
	if err == nil {
		return nil, probe.Close()
	}
	if !errors.Is(err, unix.EADDRINUSE) {
		return nil, err
	}
	hanging := slices.DeleteFunc(others, func(o other) bool {
		return !o.silent || !strings.HasPrefix(o.name, socketName(p.service))
	})
	switch {
	case len(hanging) > 0:
		return hanging, nil
	case p.older:
		return []other{{silent: true}}, nil
	}
	return nil, err
}

// ask asks all other processes of the same user who they are and what they hold.
func (p *Process) ask(ctx context.Context, wanted netip.AddrPort) ([]other, error) {
	names, err := socketNames()
	if err != nil {
		return nil, fmt.Errorf("look for other processes of usher: %w", err)
	}
	own := p.socket.Addr().String()
	question := p.message()
	question.Addresses = []netip.AddrPort{wanted}
	var asked sync.WaitGroup
	var mu sync.Mutex
	var found []other
	for _, name := range names {
		if name == own {
			continue
		}
		asked.Go(func() {
			conn, answer, err := exchange(ctx, name, question)
			if conn == nil {
				return
			}
			_ = conn.Close()
			mu.Lock()
			defer mu.Unlock()
			found = append(found, other{name: name, message: answer, silent: err != nil})
		})
	}
	asked.Wait()
	return found, nil
}

// socketNames returns the names of all sockets that may be a Process's.
func socketNames() ([]string, error) {
	list, err := os.ReadFile(socketList)
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(string(list)) {
		fields := strings.Fields(line) // number, references, protocol, flags, type, state, inode, path
		if len(fields) == 8 && strings.HasPrefix(fields[7], socketPrefix) && !slices.Contains(names, fields[7]) && len(names) < mostAsked {
			names = append(names, fields[7])
		}
	}
	return names, nil
}

// exchange says something to a process of the same user, and returns its answer.
// The connection is nil where there is no such process.
func exchange(ctx context.Context, name string, said message) (*net.UnixConn, message, error) {
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
	if err := json.NewEncoder(conn).Encode(said); err != nil {
		return conn, message{PID: pid}, err
	}
	answer, err := receive(conn, pid)
	return conn, answer, err
}

// tell tells processes that this one has taken an address over from them, and
// returns what tells them that it has let it go.
func (p *Process) tell(ctx context.Context, holders []other, held netip.AddrPort) (hangUp func()) {
	said := p.message()
	said.Addresses, said.TakesOver = []netip.AddrPort{held}, true
	var told []net.Conn
	for _, o := range holders {
		log := p.log.WithValues("address", held, "service", p.service)
		if o.silent {
			log.Info("Took over from another usher process, which does not say who it is: it hangs, or is of an older version", "process", o.PID)
			continue
		}
		log.Info("Took over from another usher process: new connections are this one's", "process", o.PID, "version", o.Version)
		if conn, _, _ := exchange(ctx, o.name, said); conn != nil {
			told = append(told, conn)
		}
	}
	return func() {
		for _, conn := range told {
			_ = conn.Close()
		}
	}
}
