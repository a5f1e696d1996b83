package eventloop

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/jovalle/usher/proxy/limit"
	"github.com/jovalle/usher/proxy/routing"
	"github.com/jovalle/usher/proxy/selfaddr"
	"github.com/jovalle/usher/proxy/trusted"
)

// Forwarder passes TLS connections through to the backends that their server
// names lead to. Its fields are set before Serve and not changed after.
type Forwarder struct {
	// Table is asked once for each connection.
	Table *routing.Live

	// Limits are asked before anything else. Required.
	Limits *limit.Connections

	// Log gets refusals at V(1) and backends that could not be dialled, both
	// at a bounded rate, and written by a goroutine of its own.
	Log logr.Logger

	// AccessLog adds a line for each connection at its end.
	AccessLog bool

	// AccessLogRefused adds a line for each client that is refused, at a bounded
	// rate.
	AccessLogRefused bool

	// Timeouts of each connection. All must be positive.
	Timeouts limit.Timeouts

	// ProxyProtocolFrom are the clients that must send a PROXY header, v1 or
	// v2. From all others one is no ClientHello, and refused.
	ProxyProtocolFrom trusted.Networks

	// Self is the addresses of this process, which no route may lead to; nil is
	// none.
	Self *selfaddr.Set

	// HelloMemory bounds the bytes that all connections together hold until their
	// backends have their hellos; 0: DefaultHelloMemory. Where they need more,
	// those that have waited longest are refused.
	HelloMemory int64

	// IsSelfCheckHost is asked for hosts that are not in the table. It reports whether one
	// is the name by which this process itself looks whether connections reach
	// it: such a connection is closed and is no refusal. nil: none is.
	IsSelfCheckHost func(host string) bool

	// Loops is how many threads may serve connections; 0: one a processor.
	Loops int

	kernel       kernel    // realKernel, but for tests
	resolver     *resolver // of the system's name servers, but for tests
	started      time.Time
	initOnce     sync.Once
	logQueue     *logQueue            // by prepare
	helloSeconds prometheus.Histogram // by prepare
	dialSeconds  prometheus.Histogram // by prepare
	helloMemory  *helloMemory
	hellos       *hellos
	loops        atomic.Pointer[[]*shared] // a loop each; set by Serve
	balanceLock  sync.Mutex                // held where accepting changes
	accepting    atomic.Int64              // how many of the loops accept
}

// lingerTimeout is how long a refused client may take to read its alert.
const lingerTimeout = 2 * time.Second

// Serve serves the connections that come to listeners, which Listen returned,
// until ctx ends. It then closes the listeners, lets connections end by
// themselves for Timeouts.Drain at most, and returns when the last is gone. It
// is called once.
func (f *Forwarder) Serve(ctx context.Context, listeners []*Listener) error {
	if f.kernel.read == nil {
		f.kernel = realKernel
	}
	f.started = time.Now()
	if f.resolver == nil {
		f.resolver = newResolver()
	}
	f.initOnce.Do(f.init)
	f.helloMemory = newHelloMemory(f.HelloMemory)
	f.hellos = newHellos()
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	loops, err := f.makeLoops(work, listeners)
	if err != nil {
		return err
	}
	parts := make([]*shared, len(loops))
	for i, l := range loops {
		parts[i] = &l.shared
	}
	f.loops.Store(&parts)

	var writer, running sync.WaitGroup
	writer.Go(func() { f.logQueue.run(work) })
	writer.Go(func() { f.helloMemory.releaseToSystem(work) })
	for _, l := range loops {
		running.Go(l.run)
	}
	<-ctx.Done()
	f.drain(parts, listeners, &running)

	stopWork()
	f.resolver.wait()
	writer.Wait()
	closeLoops(loops)
	return nil
}

// init makes what may be used before Serve.
func (f *Forwarder) init() {
	f.logQueue = newLogQueue(f.Log, f.AccessLog, f.AccessLogRefused)
	f.helloSeconds = histogram("hello_seconds", "Time from accepting a connection to its whole ClientHello.")
	f.dialSeconds = histogram("dial_seconds", "Time that dialling a backend took, where it succeeded.")
}

// LogRefused adds a client to the log that another listener has refused, as the
// forwarder adds its own; because is what the route of a refused host says, or empty.
// It may be called by any goroutine, before Serve too.
func (f *Forwarder) LogRefused(client netip.AddrPort, host, reason, because string) {
	f.initOnce.Do(f.init)
	f.logQueue.logRefused(client, host, reason, because)
}

// makeLoops makes the loops, the first of which accepts from the start.
func (f *Forwarder) makeLoops(ctx context.Context, listeners []*Listener) ([]*loop, error) {
	count := f.Loops
	if count <= 0 {
		count = runtime.GOMAXPROCS(0)
	}
	var loops []*loop
	for range count {
		l, err := newLoop(ctx, f)
		if err != nil {
			closeLoops(loops)
			return nil, fmt.Errorf("make an event loop: %w", err)
		}
		for _, listener := range listeners {
			l.acceptor.listeners = append(l.acceptor.listeners, listener.fd)
		}
		loops = append(loops, l)
	}
	loops[0].acceptor.start(loops[0])
	f.accepting.Store(1)
	return loops, nil
}

// drain stops accepting and waits until the connections have ended, or
// Timeouts.Drain is over and they are aborted.
func (f *Forwarder) drain(loops []*shared, listeners []*Listener, running *sync.WaitGroup) {
	var stopped sync.WaitGroup
	for _, l := range loops {
		stopped.Add(1)
		l.post(func(l *loop) {
			l.drain()
			stopped.Done()
		})
	}
	stopped.Wait()
	for _, listener := range listeners {
		listener.Close()
	}
	timer := time.AfterFunc(f.Timeouts.Drain, func() {
		for _, l := range loops {
			l.post((*loop).abortAll)
		}
	})
	running.Wait()
	timer.Stop()
}

func closeLoops(loops []*loop) {
	for _, l := range loops {
		l.close()
	}
}

// clock returns the loops' time.
func (f *Forwarder) clock() int64 { return int64(time.Since(f.started)) }

// stateTimeouts returns how long a connection may stay in each state, in
// nanoseconds.
func (f *Forwarder) stateTimeouts() [states]int64 {
	t := f.Timeouts
	return [states]int64{
		hello:      int64(t.Hello),
		connecting: int64(t.Dial),
		forwarding: int64(t.Idle),
		halfClosed: int64(min(t.HalfClosed, t.Idle)),
		flushing:   int64(min(t.HalfClosed, t.Idle)),
		refusing:   int64(lingerTimeout),
	}
}

var (
	errNoAddress  = errors.New("the name has no address")
	errNotAllowed = errors.New("the backend must not lead to this address")
)
