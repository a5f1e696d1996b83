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

// Bounds on the idle connections to backends, which are kept for later requests.
const (
	maxIdlePerBackend  = 16
	idleBackendTimeout = 90 * time.Second
)

// IdleDescriptors is the maximum number of idle connections to backends. Their
// clients have disconnected; they are kept for later requests.
const IdleDescriptors = 128

// maxResponseHeader bounds the header of a backend's response, in bytes.
const maxResponseHeader = 64 << 10

// contextKey is the type of the keys below in a request's context.
type contextKey uint8

const (
	routeKey       contextKey = iota // *routing.Route
	requestKey                       // *request
	backendKey                       // *routing.Backend to dial
	proxyHeaderKey                   // *proxyproto.Header, if the backend expects one
)

func withRoute(ctx context.Context, route *routing.Route, q *request) context.Context {
	return context.WithValue(context.WithValue(ctx, routeKey, route), requestKey, q)
}

func requestOf(r *http.Request) *request { return r.Context().Value(requestKey).(*request) }

// newForwarder returns the handler of the requests that forward creates.
func newForwarder(h *Handler) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.RawQuery = r.In.URL.RawQuery // ReverseProxy drops parameters that it cannot parse
			requestOf(r.In).setForwarded(r.Out.Header, h.via)
		},
		Transport:     h.backends,
		FlushInterval: -1, // flush after each write: the response may be a stream
		ErrorLog:      discardLog,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			h.unreachable(w, requestOf(r), err)
		},
	}
}

// forward sends a request to the HTTP port of a backend of the route.
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

// failover sends a request to the first address of its route that accepts a
// connection.
type failover struct {
	plain, withProxyProtocol *http.Transport // withProxyProtocol: each connection begins with a PROXY header
}

// Reasons why an address of a backend is not dialled.
var (
	errOwnAddress = errors.New("the address is one of usher's own listeners")
	errNotAllowed = errors.New("this address is not allowed for the backend")
)

func newFailover(dialTimeout time.Duration, isOwnAddress func(netip.AddrPort) bool) *failover {
	dialer := &net.Dialer{Timeout: dialTimeout}
	dialer.ControlContext = func(ctx context.Context, _, address string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(address)
		switch {
		case err != nil:
			return err
		case isOwnAddress != nil && isOwnAddress(addr):
			return errOwnAddress
		case !ctx.Value(backendKey).(*routing.Backend).Dials(addr.Addr()):
			return errNotAllowed
		}
		return nil
	}
	plain := &http.Transport{ // no Proxy: the environment variables do not apply
		DialContext:            dialer.DialContext,
		DisableCompression:     true,
		MaxIdleConns:           IdleDescriptors,
		MaxIdleConnsPerHost:    maxIdlePerBackend,
		IdleConnTimeout:        idleBackendTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
	}
	withProxyProtocol := plain.Clone()
	withProxyProtocol.DisableKeepAlives = true // the PROXY header of a connection names one client
	withProxyProtocol.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dialWithProxyHeader(ctx, dialer, network, address)
	}
	return &failover{plain: plain, withProxyProtocol: withProxyProtocol}
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

// try sends the request to one address. It leaves the body open if dialling
// fails, because the request to the next address needs it.
func (f *failover) try(r *http.Request, backend *routing.Backend, address string) (*http.Response, error) {
	transport, ctx := f.plain, context.WithValue(r.Context(), backendKey, backend)
	if backend.HTTPProxyProtocol != routing.None {
		transport = f.withProxyProtocol
		ctx = withProxyHeader(ctx, requestOf(r), backend.HTTPProxyProtocol)
	}
	out := r.Clone(ctx)
	out.URL.Host = net.JoinHostPort(address, strconv.Itoa(int(backend.HTTPPort)))
	if r.Body != nil && r.Body != http.NoBody {
		out.Body = &reusableBody{ReadCloser: r.Body}
	}
	response, err := transport.RoundTrip(out)
	if err != nil && !isDialError(err) {
		closeBody(r)
	}
	return response, err
}

// reusableBody is a body that Close closes only after a Read: a transport closes
// the body when dialling fails, before it reads any of it.
type reusableBody struct {
	io.ReadCloser
	read bool
}

func (b *reusableBody) Read(p []byte) (int, error) {
	b.read = true
	return b.ReadCloser.Read(p)
}

// Close implements io.Closer.
func (b *reusableBody) Close() error {
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

// isDialError reports whether dialling failed, so that nothing was sent.
func isDialError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// withProxyHeader adds the PROXY header for a request to the context that
// dialWithProxyHeader gets.
func withProxyHeader(ctx context.Context, q *request, version routing.ProxyProtocol) context.Context {
	number := byte(1)
	if version == routing.V2 {
		number = 2
	}
	header := proxyproto.HeaderProxyFromAddrs(number, net.TCPAddrFromAddrPort(q.client), net.TCPAddrFromAddrPort(q.local))
	return context.WithValue(ctx, proxyHeaderKey, header)
}

// dialWithProxyHeader dials an address and sends the PROXY header of ctx.
func dialWithProxyHeader(ctx context.Context, dialer *net.Dialer, network, address string) (net.Conn, error) {
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	header := ctx.Value(proxyHeaderKey).(*proxyproto.Header)
	if _, err := header.WriteTo(conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
