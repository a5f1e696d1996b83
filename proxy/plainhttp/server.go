package plainhttp

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
	"golang.org/x/time/rate"

	"github.com/jovalle/usher/proxy/accept"
	"github.com/jovalle/usher/proxy/limit"
	"github.com/jovalle/usher/proxy/trusted"
)

const (
	// maxHeader bounds the header of a request, in bytes.
	maxHeader = 16 << 10

	// answerTimeout bounds a request that is not forwarded, after its header was
	// read. Its body is ignored.
	answerTimeout = 10 * time.Second

	// keepAliveTimeout is how long a connection waits for the next request.
	keepAliveTimeout = 60 * time.Second
)

// discardLog drops the messages of net/http about malformed requests.
var discardLog = log.New(io.Discard, "", 0)

// Server serves a Handler. Set its fields before Serve; they must not change
// later.
type Server struct {
	// Handler answers the requests. The Server uses its Timeouts.
	Handler *Handler

	// Limits are shared with the other listeners. The connections of
	// ProxyProtocolFrom count towards Max, but not towards PerClient.
	Limits *limit.Connections

	// ProxyProtocolFrom are the clients that must send a PROXY header, v1 or
	// v2. A PROXY header of any other client is refused as malformed HTTP.
	ProxyProtocolFrom trusted.Networks

	acceptLogLimiter *rate.Limiter // set by Serve
}

// acceptLogInterval is the minimum time between log lines about accept errors.
const acceptLogInterval = 10 * time.Second

// Serve serves listeners until ctx ends. It then closes them, waits up to
// Timeouts.DrainAfter for the requests in progress, closes all connections and returns.
// An error of a listener does not end it: see package accept.
func (s *Server) Serve(ctx context.Context, listeners []net.Listener) {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	requests := newRequestCount()
	server := s.server(base, requests)
	s.acceptLogLimiter = rate.NewLimiter(rate.Every(acceptLogInterval), 1)

	var accepting sync.WaitGroup
	for _, listener := range listeners {
		accepting.Go(func() {
			_ = server.Serve(s.wrap(listener)) // it returns when the server is closed: Accept of this listener does not fail before
		})
	}
	<-ctx.Done()
	s.drain(server, requests, cancel, s.Handler.Timeouts.DrainAfter(ctx))
	accepting.Wait()
	s.Handler.closeIdle()
}

func (s *Server) server(base context.Context, requests *requestCount) *http.Server {
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.begin()
			defer requests.end()
			s.Handler.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: s.Handler.Timeouts.Hello,
		ReadTimeout:       answerTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       keepAliveTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          discardLog,
		// The Handler answers OPTIONS * too.
		DisableGeneralOptionsHandler: true,

		BaseContext: func(net.Listener) context.Context { return base },
		ConnContext: withHead,
	}
}

// drain waits for the requests in progress, up to the timeout. These include
// upgraded connections, which http.Server.Shutdown ignores.
func (s *Server) drain(server *http.Server, requests *requestCount, cancel func(), timeout time.Duration) {
	deadline, stop := context.WithTimeout(context.Background(), timeout)
	defer stop()
	_ = server.Shutdown(deadline)
	finished := make(chan struct{})
	go func() {
		requests.wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-deadline.Done():
	}
	cancel()
	_ = server.Close()
	<-finished
}

// requestCount counts the requests in progress. It is no sync.WaitGroup, because
// the count may rise from zero while drain waits.
type requestCount struct {
	mu      sync.Mutex
	none    *sync.Cond // signals that running is zero
	running int
}

func newRequestCount() *requestCount {
	c := &requestCount{}
	c.none = sync.NewCond(&c.mu)
	return c
}

func (c *requestCount) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running++
}

func (c *requestCount) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running--; c.running == 0 {
		c.none.Broadcast()
	}
}

// wait returns when no request is in progress.
func (c *requestCount) wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.running > 0 {
		c.none.Wait()
	}
}

// wrap adds the limits and the PROXY protocol to a listener.
func (s *Server) wrap(listener net.Listener) net.Listener {
	listener = &limitedListener{Listener: accept.Retrying(listener, s.acceptFailed), server: s}
	if len(s.ProxyProtocolFrom) == 0 {
		return headListener{listener}
	}
	return headListener{&proxyproto.Listener{
		Listener:          listener,
		ReadHeaderTimeout: s.Handler.Timeouts.Hello,
		ValidateHeader: func(header *proxyproto.Header) error {
			_, err := header.TLVs() // fails if a TLV is longer than the header
			return err
		},
		ConnPolicy: func(options proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
			if s.ProxyProtocolFrom.Contain(addrOf(options.Upstream)) {
				return proxyproto.REQUIRE, nil
			}
			return proxyproto.SKIP, nil
		},
	}}
}

// acceptFailed counts and logs an accept error, such as a lack of descriptors.
func (s *Server) acceptFailed(err error) {
	s.Handler.Metrics.acceptErrors.Inc()
	if s.acceptLogLimiter.Allow() {
		s.Handler.Log.Error(err, "Cannot accept plain HTTP connections; they wait")
	}
}

func addrPortOf(addr net.Addr) netip.AddrPort {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(tcp.AddrPort().Addr().Unmap(), tcp.AddrPort().Port())
}

func addrOf(addr net.Addr) netip.Addr { return addrPortOf(addr).Addr() }

// limitedListener accepts connections and closes those that exceed the limits.
type limitedListener struct {
	net.Listener
	server *Server
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		limited, why := l.admit(conn)
		if limited != nil {
			return limited, nil
		}
		l.server.Handler.Metrics.count(limitReached)
		if refused := l.server.Handler.Refused; refused != nil {
			refused(addrPortOf(conn.RemoteAddr()), "", why.String(), "")
		}
		_ = conn.Close()
	}
}

// admit counts a connection. If a limit is reached, it returns nil and the reason.
func (l *limitedListener) admit(conn net.Conn) (limited net.Conn, why refusal) {
	limits, client := l.server.Limits, addrOf(conn.RemoteAddr())
	if !limits.Open() {
		return nil, tooManyConnections
	}
	if l.server.ProxyProtocolFrom.Contain(client) {
		return &limitedConn{Conn: conn, release: sync.OnceFunc(limits.Close)}, 0
	}
	if !limits.Join(client) {
		limits.Close()
		return nil, tooManyOfClient
	}
	return &limitedConn{Conn: conn, release: sync.OnceFunc(func() {
		limits.Leave(client)
		limits.Close()
	})}, 0
}

// limitedConn releases its share of the limits when it is closed.
type limitedConn struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	c.release()
	return c.Conn.Close()
}
