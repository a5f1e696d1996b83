package eventloop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/jovalle/usher/proxy/endpoint"
	"github.com/jovalle/usher/proxy/knocks"
	"github.com/jovalle/usher/proxy/limit"
	"github.com/jovalle/usher/proxy/routing"
	"github.com/jovalle/usher/proxy/selfaddr"
	"github.com/jovalle/usher/proxy/trusted"
)

// Forwarder forwards TLS connections to the backends of their server names. Set its
// fields before Serve; they must not change later.
type Forwarder struct {
	// Table is read once for each connection.
	Table *routing.Live

	// Limits are checked first. Required.
	Limits *limit.Connections

	// Log records refusals at V(1) and backends that could not be dialled, both at
	// a bounded rate. A separate goroutine writes it.
	Log logr.Logger

	// AccessLog logs each connection when it ends.
	AccessLog bool

	// AccessLogRefused logs each refused client, at a bounded rate.
	AccessLogRefused bool

	// Timeouts of each connection. All must be positive.
	Timeouts limit.Timeouts

	// ProxyProtocolFrom are the clients that must send a PROXY header, v1 or
	// v2. A PROXY header of any other client is refused, as it is not TLS.
	ProxyProtocolFrom trusted.Networks

	// Self holds the addresses of this process, which are not dialled. May be nil.
	Self *selfaddr.Set

	// Endpoints remembers which addresses of backends do not answer. By default it is a
	// new memory.
	Endpoints *endpoint.Memory

	// Connections counts the connections to the addresses of routes whose strategy is
	// LeastConnections. By default it is a new count.
	Connections *endpoint.Connections

	// HelloMemory bounds the bytes that all connections together hold until the
	// ClientHello is sent to the backend; 0 means DefaultHelloMemory. If they need
	// more, the connections that have waited longest are refused.
	HelloMemory int64

	// IsSelfCheckHost is called for hosts that are not in the table. It reports
	// whether the self-check of this process opened the connection, which is then
	// closed and not counted as refused. May be nil.
	IsSelfCheckHost func(host string) bool

	// AccessOutput, if not nil, gets the lines of the access log as JSON, a batch in one
	// Write, in the form in which Log writes them. If it is nil, Log gets them.
	AccessOutput io.Writer

	// Knocks records what refused clients have asked for. May be nil.
	Knocks *knocks.Book

	// Loops is how many threads may serve connections; 0 means GOMAXPROCS.
	Loops int

	kernel       kernel    // realKernel, except in tests
	resolver     *resolver // uses the system's name servers, except in tests
	started      time.Time
	initOnce     sync.Once
	logQueue     *logQueue            // set by init
	accessLog    *accessLog           // set by init; nil without AccessLog
	helloSeconds prometheus.Histogram // set by init
	dialSeconds  prometheus.Histogram // set by init
	helloMemory  *helloMemory
	hellos       *hellos
	ports        []string                  // names of the listeners' TLS ports, each once; set by Serve
	races        atomic.Int64              // connections that have more than one socket to dial
	loops        atomic.Pointer[[]*shared] // one for each loop; set by Serve
	balanceLock  sync.Mutex                // held while accepting changes
	accepting    atomic.Int64              // the number of loops that accept
}

// lingerTimeout is how long a refused connection stays open, so that the client can
// read the alert.
const lingerTimeout = 2 * time.Second

// Serve serves listeners, which Listen returned, until ctx ends. It then closes
// them, waits up to Timeouts.DrainAfter for the open connections, aborts the remaining
// ones and returns. It returns an error if the loops cannot be created. Call it once.
func (f *Forwarder) Serve(ctx context.Context, listeners []*Listener) error {
	if f.kernel.read == nil {
		f.kernel = realKernel
	}
	f.started = time.Now()
	if f.resolver == nil {
		f.resolver = newResolver()
	}
	if f.Endpoints == nil {
		f.Endpoints = endpoint.NewMemory()
	}
	if f.Connections == nil {
		f.Connections = new(endpoint.Connections)
	}
	f.initOnce.Do(f.init)
	f.helloMemory = newHelloMemory(f.HelloMemory)
	f.hellos = newHellos()
	if err := f.setPorts(listeners); err != nil {
		return err
	}
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
	writer.Go(func() { f.accessLog.run(work) })
	writer.Go(func() { f.helloMemory.releaseToSystem(work) })
	for _, l := range loops {
		running.Go(l.run)
	}
	<-ctx.Done()
	f.drain(parts, listeners, &running, f.Timeouts.DrainAfter(ctx))

	stopWork()
	f.resolver.wait()
	writer.Wait()
	closeLoops(loops)
	return nil
}

// init sets the fields that may be used before Serve.
func (f *Forwarder) init() {
	f.logQueue = newLogQueue(f.Log, f.AccessLogRefused)
	if f.AccessLog {
		f.accessLog = newAccessLog(f.Log, f.AccessOutput)
	}
	f.helloSeconds = histogram("hello_seconds", "Time from accepting a connection to its whole ClientHello.")
	f.dialSeconds = histogram("dial_seconds", "Time that dialling a backend took, where it succeeded.")
}

// LogRefused logs a client that another listener has refused, in the same form as
// clients that the Forwarder refuses. routeRefusal is the Refusal of the host's route,
// or empty. It may be called by any goroutine, and before Serve.
func (f *Forwarder) LogRefused(client netip.AddrPort, host, reason, routeRefusal string) {
	f.initOnce.Do(f.init)
	f.logQueue.logRefused(client, host, reason, routeRefusal, "")
}

// maxPorts is the maximum number of TLS ports with different names.
const maxPorts = math.MaxUint8 + 1

// setPorts sets the names of the listeners' ports.
func (f *Forwarder) setPorts(listeners []*Listener) error {
	for _, listener := range listeners {
		if !slices.Contains(f.ports, listener.Port) {
			f.ports = append(f.ports, listener.Port)
		}
	}
	if len(f.ports) > maxPorts {
		return fmt.Errorf("there are more than %d TLS ports", maxPorts)
	}
	return nil
}

// makeLoops creates the loops. The first accepts from the start.
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
			port := uint8(slices.Index(f.ports, listener.Port))
			l.acceptor.listeners = append(l.acceptor.listeners, listeningSocket{listener.fd, port})
		}
		l.counters.ports = make([]portCounters, len(f.ports))
		loops = append(loops, l)
	}
	loops[0].acceptor.start(loops[0])
	f.accepting.Store(1)
	return loops, nil
}

// drain stops accepting and waits until the connections have ended, or the timeout is
// over and they are aborted.
func (f *Forwarder) drain(loops []*shared, listeners []*Listener, running *sync.WaitGroup, timeout time.Duration) {
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
	timer := time.AfterFunc(timeout, func() {
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

// clock returns the loop time: nanoseconds since Serve was called.
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
	errNotAllowed = errors.New("this address is not allowed for the backend")
)
