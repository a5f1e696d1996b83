package eventloop

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// faults is a kernel that fails now and then, as the real one may. After an
// EAGAIN, edge-triggered events oblige the kernel to tell when to try again: so
// does this one. A read that is cut short is no fault of TCP's.
type faults struct {
	one     func() bool // decides about one call
	mu      sync.Mutex
	watches map[int]func() // descriptor → announces its readiness again
}

func newFaults(oneIn int) *faults {
	return &faults{one: func() bool { return rand.IntN(oneIn) == 0 }, watches: make(map[int]func())}
}

// kernel returns the faulty calls.
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

// temporary fails one call in so many, for a moment.
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

// watch remembers how to announce a descriptor's events again.
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

// TestLikeTheReferenceUnderFaults is TestLikeTheReference with a kernel that
// interrupts, cuts short and puts off one call in eight.
func TestLikeTheReferenceUnderFaults(t *testing.T) {
	st := newStage(t)
	e := start(t, routeA(origin{t, st.listener}), func(f *Forwarder) { f.kernel = newFaults(8).kernel() })
	compare(t, e, st, *scriptCount/5)
	e.awaitMetric(0, "connections_open")
}

// failing returns an option that replaces one call of the kernel.
func failing(change func(k *kernel)) func(*Forwarder) {
	return func(f *Forwarder) {
		f.kernel = realKernel
		change(&f.kernel)
	}
}

// TestAcceptRests has accept fail for want of something: nobody must spin, and
// the client must be served once there is enough again.
func TestAcceptRests(t *testing.T) {
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
			eventually(t, func() error {
				if calls.Load() < 3 {
					return errors.New("accept was not tried again")
				}
				return nil
			})
			if took := time.Since(began); took < acceptRest {
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

// TestDialFaults has what a dial needs fail for good: the client must be told.
func TestDialFaults(t *testing.T) {
	for name, change := range map[string]func(k *kernel){
		"no socket: EMFILE":       func(k *kernel) { k.socket = func(int) (int, unix.Errno) { return -1, unix.EMFILE } },
		"no socket: ENOBUFS":      func(k *kernel) { k.socket = func(int) (int, unix.Errno) { return -1, unix.ENOBUFS } },
		"no port: EADDRNOTAVAIL":  func(k *kernel) { k.connect = func(int, *sockaddr) unix.Errno { return unix.EADDRNOTAVAIL } },
		"no route: ENETUNREACH":   func(k *kernel) { k.connect = func(int, *sockaddr) unix.Errno { return unix.ENETUNREACH } },
		"no watch left: ENOSPC":   func(k *kernel) { k.watch = failWatchOf(backend, unix.ENOSPC) },
		"refused by the firewall": func(k *kernel) { k.connect = func(int, *sockaddr) unix.Errno { return unix.EPERM } },
	} {
		t.Run(name, func(t *testing.T) {
			e := start(t, routeA(listen(t)), failing(change))
			client := dial(t, e.addr)
			send(t, client, helloFor(t, hostA))
			expect(t, client, alertRecord(internalError))
			expectEOF(t, client)
			e.awaitMetric(1, "dial_failures_total", "hades")
		})
	}
}

// failWatchOf fails to add the sockets of one side to the epoll set.
func failWatchOf(s side, errno unix.Errno) func(epoll, op, fd int, event *unix.EpollEvent) unix.Errno {
	return func(epoll, op, fd int, event *unix.EpollEvent) unix.Errno {
		if event.Fd >= 0 && side(event.Fd&1) == s {
			return errno
		}
		return sysWatch(epoll, op, fd, event)
	}
}

// TestStreamFaults has an established connection's calls fail for good: both
// ends must see that it is over.
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

// TestWithoutPipes has streams copied where there is no pipe to be had.
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

// TestStaleEvent brings a connection an event that was meant for the one before
// it in its slot: it must not be taken for its own.
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
			t.Errorf("%s: its event reached this one", name)
		}
	}
	c.state, c.generation = done, 7
	if l.dispatch(&unix.EpollEvent{Events: unix.EPOLLIN, Fd: 0, Pad: 7}); c.up.readable {
		t.Error("an event reached a connection that is done")
	}
}

// BenchmarkKernelSeam compares a system call with the same behind the seam.
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
