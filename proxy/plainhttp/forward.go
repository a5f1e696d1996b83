package plainhttp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/jovalle/usher/proxy/routing"
)

// Bounds on the connections to backends that are kept for the next request.
const (
	idlePerBackend = 16
	keptIdle       = 90 * time.Second
)

// KeptDescriptors is how many connections to backends are kept at most, for the
// next request, whose client has gone.
const KeptDescriptors = 128

// maxAnswerHeader bounds the header of a backend's answer, in bytes.
const maxAnswerHeader = 64 << 10

// contextKey is the type of the keys below in a request's context.
type contextKey uint8

const (
	routeKey   contextKey = iota // *routing.Route
	requestKey                   // *request
	backendKey                   // *routing.Backend that is dialled
	headerKey                    // *proxyproto.Header, where the backend wants one
)

func withRoute(ctx context.Context, route *routing.Route, q *request) context.Context {
	return context.WithValue(context.WithValue(ctx, routeKey, route), requestKey, q)
}

func requestOf(r *http.Request) *request { return r.Context().Value(requestKey).(*request) }

// newForwarder returns the handler that passes on requests that forward made.
func newForwarder(h *Handler) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.RawQuery = r.In.URL.RawQuery // ReverseProxy drops what it cannot parse
			requestOf(r.In).setForwarded(r.Out.Header, h.via)
		},
		Transport:     h.backends,
		FlushInterval: -1, // at once: the answer may be a stream
		ErrorLog:      discardLog,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			h.unreachable(w, requestOf(r), err)
		},
	}
}

// forward passes a request to the HTTP port of a route's backend.
func (h *Handler) forward(w http.ResponseWriter, q *request, route *routing.Route) {
	h.Metrics.count(forwarded)
	out := q.outgoing(withRoute(q.ctx, route, q), q.query)
	out.Header = q.header
	if q.upgrade {
		out.Header.Set("Connection", "Upgrade")
		out.Header.Set("Upgrade", "websocket")
	}
	w, out.Body = withIdleTimeout(w, q.body, h.Timeouts.Idle)
	out.ContentLength = q.length
	h.forwarder.ServeHTTP(w, out)
}

// failover sends a request to the first address of its route that can be
// dialled.
type failover struct {
	plain, announced *http.Transport // announced: each connection has a PROXY header
}

// Why an address of a backend is not dialled.
var (
	errLeadsHere  = errors.New("the address is one of usher's own listeners")
	errNotAllowed = errors.New("the backend must not lead to this address")
)

func newFailover(dialTimeout time.Duration, leadsHere func(netip.AddrPort) bool) *failover {
	dialer := &net.Dialer{Timeout: dialTimeout}
	dialer.ControlContext = func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(address)
		switch {
		case err != nil:
			return err
		case leadsHere != nil && leadsHere(addr):
			return errLeadsHere
		case !ctx.Value(backendKey).(*routing.Backend).Dials(addr.Addr()):
			return errNotAllowed
		}
		return nil
	}
	plain := &http.Transport{ // no Proxy: the environment has no say
		DialContext:            dialer.DialContext,
		DisableCompression:     true,
		MaxIdleConns:           KeptDescriptors,
		MaxIdleConnsPerHost:    idlePerBackend,
		IdleConnTimeout:        keptIdle,
		MaxResponseHeaderBytes: maxAnswerHeader,
	}
	announced := plain.Clone()
	announced.DisableKeepAlives = true // a connection speaks for one client
	announced.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dialAnnounced(ctx, dialer, network, address)
	}
	return &failover{plain: plain, announced: announced}
}

var errNoBackend = errors.New("the route has no backend")

// RoundTrip implements http.RoundTripper.
func (f *failover) RoundTrip(r *http.Request) (*http.Response, error) {
	route := r.Context().Value(routeKey).(*routing.Route)
	err := errNoBackend
	for i := range route.Backends {
		backend := &route.Backends[i]
		for _, address := range backend.Addresses {
			var response *http.Response
			response, err = f.try(r, backend, address)
			if err == nil || !isDialError(err) {
				return response, err
			}
		}
	}
	closeBody(r)
	return nil, err
}

// try sends the request to one address. It leaves the body open if the address
// could not be dialled: the next one will want it.
func (f *failover) try(r *http.Request, backend *routing.Backend, address string) (*http.Response, error) {
	transport, ctx := f.plain, context.WithValue(r.Context(), backendKey, backend)
	if backend.ProxyProtocol != routing.None {
		transport = f.announced
		ctx = withHeader(ctx, requestOf(r), backend.ProxyProtocol)
	}
	out := r.Clone(ctx)
	out.URL.Host = net.JoinHostPort(address, strconv.Itoa(int(backend.HTTPPort)))
	if r.Body != nil && r.Body != http.NoBody {
		out.Body = &keptBody{ReadCloser: r.Body}
	}
	response, err := transport.RoundTrip(out)
	if err != nil && !isDialError(err) {
		closeBody(r)
	}
	return response, err
}

// keptBody is a body that a failed dial does not close.
type keptBody struct {
	io.ReadCloser
	read bool
}

func (b *keptBody) Read(p []byte) (int, error) {
	b.read = true
	return b.ReadCloser.Read(p)
}

// Close implements io.Closer.
func (b *keptBody) Close() error {
	if b.read {
		return b.ReadCloser.Close()
	}
	return nil
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// isDialError reports whether err means that nothing was sent yet.
func isDialError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// withHeader puts the PROXY header of a request into its context, for the dial.
func withHeader(ctx context.Context, q *request, version routing.ProxyProtocol) context.Context {
	number := byte(1)
	if version == routing.V2 {
		number = 2
	}
	header := proxyproto.HeaderProxyFromAddrs(number, net.TCPAddrFromAddrPort(q.client), net.TCPAddrFromAddrPort(q.local))
	return context.WithValue(ctx, headerKey, header)
}

// dialAnnounced dials and sends the PROXY header in ctx.
func dialAnnounced(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	header := ctx.Value(headerKey).(*proxyproto.Header)
	if _, err := header.WriteTo(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
