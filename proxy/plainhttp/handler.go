package plainhttp

import (
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"

	"github.com/jovalle/usher/proxy/endpoint"
	"github.com/jovalle/usher/proxy/limit"
	"github.com/jovalle/usher/proxy/routing"
)

// Handler serves the plain HTTP requests for all hosts. Set its fields before the
// first request; they must not change later.
type Handler struct {
	// Table is read once for each request.
	Table *routing.Live

	// Log records requests that no backend accepted, at V(1), and hosts whose
	// route leads back to this process, at a bounded rate.
	Log logr.Logger

	// Timeouts of each connection. The Handler uses Dial and Idle, the Server uses
	// Hello and Drain.
	Timeouts limit.Timeouts

	// Metrics counts the responses. Required: see NewMetrics.
	Metrics *Metrics

	// IsOwnAddress reports whether connections to an address reach a listener of
	// this process. Such an address of a backend is not dialled. May be nil.
	IsOwnAddress func(netip.AddrPort) bool

	// Endpoints remembers which addresses of backends do not answer. By default it is
	// a new memory.
	Endpoints *endpoint.Memory

	// Connections counts the requests to the addresses of routes whose strategy is
	// LeastConnections. By default it is a new count.
	Connections *endpoint.Connections

	// Refused is called for each refused request. host is empty if it could not
	// be parsed. routeRefusal is the Refusal of the host's route, or empty. May
	// be nil.
	Refused func(client netip.AddrPort, host, reason, routeRefusal string)

	// CDNLoops remembers redirected requests that a CDN has received over TLS. May be nil.
	CDNLoops *CDNLoops

	// IsSelfCheckHost is called for hosts that are not in the table. It reports
	// whether the self-check of this process sent the request. The response is
	// the same as for any unknown host, but it is neither counted nor reported as
	// a refusal. May be nil.
	IsSelfCheckHost func(host string) bool

	initOnce       sync.Once // sets the fields below
	via            string
	backends       *failover
	forwarder      http.Handler
	challenges     challengeLimiter
	loopLogLimiter *rate.Limiter
}

// Bounds on the log lines about loops, which any client can cause.
const (
	loopLogBurst    = 5
	loopLogInterval = 10 * time.Second
)

func (h *Handler) init() {
	h.via = newVia()
	if h.Endpoints == nil {
		h.Endpoints = endpoint.NewMemory()
	}
	if h.Connections == nil {
		h.Connections = new(endpoint.Connections)
	}
	h.backends = newFailover(newDialer(h.Timeouts.Dial, h.IsOwnAddress, h.Endpoints, h.Connections))
	h.forwarder = newForwarder(h)
	h.loopLogLimiter = rate.NewLimiter(rate.Every(loopLogInterval), loopLogBurst)
}

// closeIdle closes the idle connections to backends.
func (h *Handler) closeIdle() {
	h.initOnce.Do(h.init)
	h.backends.plain.CloseIdleConnections()
}

// refusal is the reason why a request is refused, with status 404, 503 or 508.
type refusal uint8

const (
	malformed refusal = iota
	unknownHost
	refusedHost
	clientNotAllowed
	denied
	tooManyChallenges
	loop
	tooManyConnections // these two are reasons of limitedListener, which sends no response
	tooManyOfClient
)

// String returns the name of the refusal in the access log.
func (r refusal) String() string {
	return [...]string{"bad_request", "unknown_host", "refused_host", "client_not_allowed", "plain_http_denied", "too_many_challenges", "loop",
		"too_many_connections", "too_many_of_client"}[r]
}

// status returns the status code of the response. It is the same for unknown
// hosts and for clients that are not allowed, which must not learn that a host
// exists.
func (r refusal) status() int {
	switch r {
	case tooManyChallenges:
		return http.StatusServiceUnavailable
	case loop:
		return http.StatusLoopDetected
	}
	return http.StatusNotFound
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.initOnce.Do(h.init)
	q, err := parseRequest(r)
	if err != nil {
		h.refuse(w, q, malformed)
		return
	}
	h.serve(w, q)
}

// serve answers a request according to the route of its host.
func (h *Handler) serve(w http.ResponseWriter, q *request) {
	route := h.Table.Load().Lookup(q.host)
	switch {
	case route == nil && h.IsSelfCheckHost != nil && h.IsSelfCheckHost(q.host):
		w.WriteHeader(unknownHost.status())
	case route == nil:
		h.refuse(w, q, unknownHost)
	case route.Refusal != "":
		q.routeRefusal = route.Refusal
		h.refuse(w, q, refusedHost)
	case !route.Allows(q.client.Addr()):
		h.refuse(w, q, clientNotAllowed)
	case q.passedThrough(h.via):
		h.refuse(w, q, loop)
	case q.isChallenge():
		h.challenge(w, q, route)
	case route.PlainHTTP == routing.Forward && q.method != http.MethodConnect:
		h.forward(w, q, route)
	case route.PlainHTTP == routing.Redirect && q.isRedirectable():
		h.redirect(w, q, route)
	default:
		h.refuse(w, q, denied)
	}
}

// redirect redirects the client to the same URL over HTTPS. With this status the
// client keeps the method and the body: RFC 9110, section 15.4.9.
func (h *Handler) redirect(w http.ResponseWriter, q *request, route *routing.Route) {
	w.Header().Set("Location", "https://"+q.host+q.path+q.query)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusPermanentRedirect)
	h.Metrics.count(redirected)
	if q.overTLS && h.CDNLoops != nil {
		h.CDNLoops.add(route.Host)
	}
}

// refuse sends an empty response and closes the connection.
func (h *Handler) refuse(w http.ResponseWriter, q *request, why refusal) {
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(why.status())
	h.Metrics.count(answerLabel(why))
	if why == loop {
		h.logLoop(q)
	}
	if h.Refused != nil {
		h.Refused(q.client, q.host, why.String(), q.routeRefusal)
	}
}

// answerLabel returns the value of the metric label answer.
func answerLabel(why refusal) string {
	switch why {
	case refusedHost:
		return refused
	case tooManyChallenges:
		return busy
	case loop:
		return looped
	}
	return notFound
}

// unreachable answers a request that no backend accepted.
func (h *Handler) unreachable(w http.ResponseWriter, q *request, err error) {
	if errors.Is(err, errOwnAddress) {
		h.refuse(w, q, loop)
		return
	}
	h.Log.V(1).Info("Request not forwarded", "host", q.host, "reason", err.Error())
	h.Metrics.count(failed)
	w.WriteHeader(http.StatusBadGateway)
}

func (h *Handler) logLoop(q *request) {
	if h.loopLogLimiter.Allow() {
		h.Log.Info("The route of a host leads back to usher", "host", q.host, "client", q.client)
	}
}
