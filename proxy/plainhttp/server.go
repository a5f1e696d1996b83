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
	// maxHeader bounds a request's header, in bytes.
	maxHeader = 16 << 10

	// answerTimeout bounds a request that is answered here: its header has
	// come, and its body is of no interest.
	answerTimeout = 10 * time.Second

	// keepAliveTimeout is how long a client may take for its next request.
	keepAliveTimeout = 60 * time.Second
)

// discardLog drops what net/http has to say about strangers' mistakes.
var discardLog = log.New(io.Discard, "", 0)

// Server serves a Handler. Its fields are set before Serve and not changed
// after.
type Server struct {
	// Handler answers the requests. Its timeouts are the Server's too.
	Handler *Handler

	// Limits are shared with the other listeners. The connections of
	// ProxyProtocolFrom count in all, but not as one client's.
	Limits *limit.Connections

	// ProxyProtocolFrom are the clients that must send a PROXY header, v1 or
	// v2. From all others one is no HTTP, and refused.
	ProxyProtocolFrom trusted.Networks

	acceptLines *rate.Limiter // of log lines about accepting, set by Serve
}

// acceptLine is how often at most the log says that nothing can be accepted.
const acceptLine = 10 * time.Second

// Serve answers the requests that come to listeners until ctx ends. It then
// closes them, lets requests end by themselves for Timeouts.Drain at most, and
// returns when the last is gone. No error of a listener ends it: see package
// accept.
func (s *Server) Serve(ctx context.Context, listeners []net.Listener) {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	requests := newRequestCount()
	server := s.server(base, requests)
	s.acceptLines = rate.NewLimiter(rate.Every(acceptLine), 1)

	var accepting sync.WaitGroup
	for _, listener := range listeners {
		accepting.Go(func() {
			_ = server.Serve(s.wrap(listener)) // it ends when the server is closed: its listener never fails
		})
	}
	<-ctx.Done()
	s.drain(server, requests, cancel)
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
		// OPTIONS * is a request like any other.
		DisableGeneralOptionsHandler: true,

		BaseContext: func(net.Listener) context.Context { return base },
		ConnContext: withHead,
	}
}

// drain waits for the requests under way, among them upgraded connections,
// which http.Server.Shutdown does not know.
func (s *Server) drain(server *http.Server, requests *requestCount, cancel func()) {
	deadline, stop := context.WithTimeout(context.Background(), s.Handler.Timeouts.Drain)
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

// requestCount counts the requests under way. A sync.WaitGroup must not begin to
// wait while its count may rise from zero, as this one's may.
type requestCount struct {
	mu      sync.Mutex
	none    *sync.Cond // count has become zero
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

// wait returns when no request is under way.
func (c *requestCount) wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.running > 0 {
		c.none.Wait()
	}
}

// wrap adds the limits and the PROXY protocol to a listener.
func (s *Server) wrap(listener net.Listener) net.Listener {
	listener = &limitedListener{Listener: accept.Resting(listener, s.acceptFailed), server: s}
	if len(s.ProxyProtocolFrom) == 0 {
		return headListener{listener}
	}
	return headListener{&proxyproto.Listener{
		Listener:          listener,
		ReadHeaderTimeout: s.Handler.Timeouts.Hello,
		ValidateHeader: func(header *proxyproto.Header) error {
			_, err := header.TLVs() // one may be longer than the header that it is in
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

// acceptFailed notes that connections wait because something has run out.
func (s *Server) acceptFailed(err error) {
	s.Handler.Metrics.acceptErrors.Inc()
	if s.acceptLines.Allow() {
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

// limitedListener closes connections beyond the limits as they come.
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

// admit counts a connection in; where there are enough it returns nil and which
// limit that is.
func (l *limitedListener) admit(conn net.Conn) (limited net.Conn, why refusal) {
	limits, client := l.server.Limits, addrOf(conn.RemoteAddr())
	if !limits.Open() {
		return nil, tooManyConnections
	}
	if l.server.ProxyProtocolFrom.Contain(client) {
		return &limitedConn{Conn: conn, leave: sync.OnceFunc(limits.Close)}, 0
	}
	if !limits.Join(client) {
		limits.Close()
		return nil, tooManyOfClient
	}
	return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() {
		limits.Leave(client)
		limits.Close()
	})}, 0
}

// limitedConn counts itself out when it is closed.
type limitedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
