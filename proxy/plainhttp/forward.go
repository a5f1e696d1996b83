package plainhttp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
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
	candidateKey                     // *candidate to dial
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
	dialer                   *dialer
	plain, withProxyProtocol *http.Transport // withProxyProtocol: each connection begins with a PROXY header
}

func newFailover(d *dialer) *failover {
	plain := &http.Transport{ // no Proxy: the environment variables do not apply
		DialContext:            d.dial,
		DisableCompression:     true,
		MaxIdleConns:           IdleDescriptors,
		MaxIdleConnsPerHost:    maxIdlePerBackend,
		IdleConnTimeout:        idleBackendTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
	}
	withProxyProtocol := plain.Clone()
	withProxyProtocol.DisableKeepAlives = true // the PROXY header of a connection names one client
	withProxyProtocol.DialContext = d.dialWithProxyHeader
	return &failover{dialer: d, plain: plain, withProxyProtocol: withProxyProtocol}
}

var errNoBackend = errors.New("the route has no backend")

// RoundTrip implements http.RoundTripper.
func (f *failover) RoundTrip(r *http.Request) (*http.Response, error) {
	err := errNoBackend
	route := r.Context().Value(routeKey).(*routing.Route)
	next := f.dialer.candidatesOf(route, requestOf(r).client.Addr())
	for len(next) > 0 {
		c := next[0]
		next = next[1:]
		var response *http.Response
		response, err = f.try(r, c)
		if err == nil {
			route.Reached.Requests.Add(1)
		}
		if err == nil || !isDialError(err) {
			f.dialer.count(r.Context(), c)
			return response, err
		}
		if errors.Is(err, errPutOff) {
			// A copy, because the transport may still dial for the first try.
			next = append(next, &candidate{backend: c.backend, address: c.address, counted: c.counted, final: true})
		}
	}
	closeBody(r)
	return nil, err
}

// try sends the request to one candidate. It leaves the body open if dialling fails,
// because the request to the next candidate needs it.
func (f *failover) try(r *http.Request, c *candidate) (*http.Response, error) {
	transport, ctx := f.plain, context.WithValue(r.Context(), candidateKey, c)
	if c.backend.HTTPProxyProtocol != routing.None {
		transport = f.withProxyProtocol
		ctx = withProxyHeader(ctx, requestOf(r), c.backend.HTTPProxyProtocol)
	}
	out := r.Clone(ctx)
	out.URL.Host = c.hostPort()
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
