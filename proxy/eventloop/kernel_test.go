package eventloop

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/hack/test/testkit"
)

// faults is a kernel with injected errors. After an EAGAIN, the kernel must report an
// edge-triggered event when the call can be repeated; so does this one. Short reads are
// injected too, because TCP permits them.
type faults struct {
	one     func() bool // whether a call fails
	mu      sync.Mutex
	watches map[int]func() // descriptor → reports its events again
}

func newFaults(oneIn int) *faults {
	return &faults{one: func() bool { return rand.IntN(oneIn) == 0 }, watches: make(map[int]func())}
}

// kernel returns the calls with injected errors.
func (f *faults) kernel() kernel {
	k := realKernel
	k.watch = f.watch
	k.read = func(fd int, p []byte) (int, unix.Errno) {
		if errno := f.temporary(fd); errno != 0 {
			return 0, errno
		}
		return sysRead(fd, p)
	}
	k.write = func(fd int, p []byte, more bool) (int, unix.Errno) {
		if errno := f.temporary(fd); errno != 0 {
			return 0, errno
		}
		if len(p) > 1 && f.one() {
			p = p[:1+rand.IntN(len(p)-1)]
		}
		return sysWrite(fd, p, more)
	}
	k.splice = func(from, to, limit int) (int, unix.Errno) {
		if errno := f.temporary(from, to); errno != 0 {
			return 0, errno
		}
		if limit > 1 && f.one() {
			limit = 1 + rand.IntN(limit-1)
		}
		return sysSplice(from, to, limit)
	}
	k.accept = func(listener int, peer *sockaddr) (int, unix.Errno) {
		if f.one() {
			return -1, unix.ECONNABORTED
		}
		return sysAccept(listener, peer)
	}
	k.pipe = func() (int, int, unix.Errno) {
		if f.one() {
			return -1, -1, unix.EMFILE
		}
		return sysPipe()
	}
	k.connect = func(fd int, peer *sockaddr) unix.Errno {
		errno := sysConnect(fd, peer)
		if errno == unix.EINPROGRESS && f.one() {
			return unix.EINTR
		}
		return errno
	}
	return k
}

// temporary lets one call in so many fail once.
func (f *faults) temporary(fds ...int) unix.Errno {
	if f.one() {
		return unix.EINTR
	}
	if f.one() {
		for _, fd := range fds {
			f.announce(fd)
		}
		return unix.EAGAIN
	}
	return 0
}

// watch records how to report the events of a descriptor again.
func (f *faults) watch(epoll, op, fd int, event *unix.EpollEvent) unix.Errno {
	kept := *event
	f.mu.Lock()
	f.watches[fd] = func() { _ = sysWatch(epoll, unix.EPOLL_CTL_MOD, fd, &kept) }
	f.mu.Unlock()
	return sysWatch(epoll, op, fd, event)
}

func (f *faults) announce(fd int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if again := f.watches[fd]; again != nil {
		again()
	}
}

// TestLikeTheReferenceUnderFaults is TestLikeTheReference with EINTR, EAGAIN or a short
// count in one call of eight.
func TestLikeTheReferenceUnderFaults(t *testing.T) {
	st := newStage(t)
	e := start(t, routeA(origin{t, st.listener}), func(f *Forwarder) { f.kernel = newFaults(8).kernel() })
	compare(t, e, st, *scriptCount/5)
	e.awaitMetric(0, "connections_open")
}

// failing returns an option that replaces a system call.
func failing(change func(k *kernel)) func(*Forwarder) {
	return func(f *Forwarder) {
		f.kernel = realKernel
		change(&f.kernel)
	}
}

// Accepting fails: the loop must not spin, and the client must be served when accepting
// succeeds again.
func TestAcceptBacksOff(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			o := listen(t)
			var calls atomic.Int32
			var over atomic.Bool
			e := start(t, routeA(o), failing(func(k *kernel) {
				k.accept = func(listener int, peer *sockaddr) (int, unix.Errno) {
					if !over.Load() {
						calls.Add(1)
						return -1, errno
					}
					return sysAccept(listener, peer)
				}
			}))
			client := dial(t, e.addr)
			hello := helloFor(t, hostA)
			send(t, client, hello)
			began := time.Now()
			testkit.WaitFor(t, "accept to be retried", func() bool { return calls.Load() >= 3 })
			if took := time.Since(began); took < acceptBackoff {
				t.Errorf("tried three times to accept in %v", took)
			}
			over.Store(true)
			expect(t, o.accept(), hello)
			if e.metric("accept_errors_total") == 0 {
				t.Error("no error was counted")
			}
		})
	}
}

// A system call of a dial always fails: the client must get an alert, and a lack of
// resources on usher's machine must not count as a failure of the cluster.
func TestDialFaults(t *testing.T) {
	socket := func(errno unix.Errno) func(k *kernel) {
		return func(k *kernel) { k.socket = func(int) (int, unix.Errno) { return -1, errno } }
	}
	connect := func(errno unix.Errno) func(k *kernel) {
		return func(k *kernel) { k.connect = func(int, *sockaddr) unix.Errno { return errno } }
	}
	for name, tt := range map[string]struct {
		change func(k *kernel)
		reason string
	}{
		"no socket: EMFILE":       {socket(unix.EMFILE), "no_resources"},
		"no socket: ENFILE":       {socket(unix.ENFILE), "no_resources"},
		"no socket: ENOMEM":       {socket(unix.ENOMEM), "no_resources"},
		"no socket: ENOBUFS":      {socket(unix.ENOBUFS), "no_resources"},
		"no port: EADDRNOTAVAIL":  {connect(unix.EADDRNOTAVAIL), "no_resources"},
		"no watch left: ENOSPC":   {func(k *kernel) { k.watch = failWatchOf(backend, unix.ENOSPC) }, "no_resources"},
		"no route: ENETUNREACH":   {connect(unix.ENETUNREACH), "no_backend"},
		"refused by the firewall": {connect(unix.EPERM), "no_backend"},
		"no IPv6: EAFNOSUPPORT":   {socket(unix.EAFNOSUPPORT), "no_backend"},
	} {
		t.Run(name, func(t *testing.T) {
			var log testkit.Log
			e := start(t, routeA(listen(t)), failing(tt.change), logTo(&log, 0))
			client := dial(t, e.addr)
			send(t, client, helloFor(t, hostA))
			expect(t, client, alertRecord(internalError))
			expectEOF(t, client)
			e.awaitMetric(1, "connections_refused_total", tt.reason)
			failures := 0.0
			if tt.reason == "no_backend" {
				failures = 1
			}
			e.awaitMetric(failures, "dial_failures_total", "hades")
			log.Await(t, "Backend cannot be dialled", hostA, "127.0.0.1")
		})
	}
}

// No local port is free for one address: the next address of the backend is dialled.
func TestLocalPortsExhaustedForOneAddress(t *testing.T) {
	o := listen(t)
	routes := routeA(o)
	routes[0].Backends[0].Addresses = []string{"127.0.0.2", "127.0.0.1"}
	e := start(t, routes, failing(func(k *kernel) {
		k.connect = func(fd int, peer *sockaddr) unix.Errno {
			if peer.addrPort().Addr() == netip.MustParseAddr("127.0.0.2") {
				return unix.EADDRNOTAVAIL
			}
			return sysConnect(fd, peer)
		}
	}))
	e.open(o)
	e.awaitMetric(0, "dial_failures_total")
}

// failWatchOf lets adding the sockets of one side to the epoll set fail.
func failWatchOf(s side, errno unix.Errno) func(epoll, op, fd int, event *unix.EpollEvent) unix.Errno {
	return func(epoll, op, fd int, event *unix.EpollEvent) unix.Errno {
		if event.Fd >= 0 && sideOf(event) == s {
			return errno
		}
		return sysWatch(epoll, op, fd, event)
	}
}

// The system calls of an established connection always fail: both ends must be
// disconnected.
func TestStreamFaults(t *testing.T) {
	for name, errno := range map[string]unix.Errno{"reset": unix.ECONNRESET, "timed out": unix.ETIMEDOUT, "unreachable": unix.EHOSTUNREACH, "no memory": unix.ENOBUFS} {
		t.Run(name, func(t *testing.T) {
			o := listen(t)
			var fail atomic.Bool
			e := start(t, routeA(o), failing(func(k *kernel) {
				k.write = func(fd int, p []byte, more bool) (int, unix.Errno) {
					if fail.Load() {
						return -1, errno
					}
					return sysWrite(fd, p, more)
				}
			}))
			client, backend := e.open(o)
			fail.Store(true)
			send(t, client, []byte("x"))
			expectReset(t, client)
			expectReset(t, backend)
			e.awaitMetric(1, "connections_closed_total", "reset")
		})
	}
}

// Streams are copied if no pipe can be created.
func TestWithoutPipes(t *testing.T) {
	o := listen(t)
	e := start(t, routeA(o), failing(func(k *kernel) {
		k.pipe = func() (int, int, unix.Errno) { return -1, -1, unix.EMFILE }
	}))
	client, backend := e.open(o)
	if err := transfer(client, backend); err != nil {
		t.Error(err)
	}
}

// An event for the previous connection in a slot must not reach the current one.
func TestStaleEvent(t *testing.T) {
	f := &Forwarder{kernel: realKernel}
	l, err := newLoop(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	c := &conn{loop: l, generation: 7, state: forwarding}
	l.conns = append(l.conns, c)
	for name, event := range map[string]unix.EpollEvent{
		"earlier connection": {Events: unix.EPOLLIN, Fd: 0, Pad: 6},
		"later connection":   {Events: unix.EPOLLIN, Fd: 0, Pad: 8},
	} {
		if l.dispatch(&event); c.up.readable {
			t.Errorf("%s: its event reached the current connection", name)
		}
	}
	// The second of two dials has won. An event of the first was reported before it was
	// closed.
	c.backendSide = backend + 1
	if l.dispatch(&unix.EpollEvent{Events: unix.EPOLLHUP, Fd: int32(backend), Pad: 7}); c.down.readable || c.up.writable {
		t.Error("an event of a closed dial was taken for one of the backend")
	}
	c.state, c.generation = done, 7
	if l.dispatch(&unix.EpollEvent{Events: unix.EPOLLIN, Fd: 0, Pad: 7}); c.up.readable {
		t.Error("an event reached a connection that is done")
	}
}

// BenchmarkKernelSeam compares a system call with one through a function value.
func BenchmarkKernelSeam(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	conn := dial(b, listener.Addr().(*net.TCPAddr).AddrPort())
	raw, err := conn.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, readBytes)
	k := realKernel
	err = raw.Control(func(fd uintptr) {
		b.Run("direct", func(b *testing.B) {
			for b.Loop() {
				_, _ = sysRead(int(fd), buf)
			}
		})
		b.Run("seam", func(b *testing.B) {
			for b.Loop() {
				_, _ = k.read(int(fd), buf)
			}
		})
	})
	if err != nil {
		b.Fatal(err)
	}
}
