package plainhttp

import (
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"

	"github.com/jovalle/usher/proxy/limit"
	"github.com/jovalle/usher/proxy/routing"
)

// Handler answers the plain HTTP requests of all hosts. Its fields are set
// before its first use and not changed after.
type Handler struct {
	// Table is asked once for each request.
	Table *routing.Live

	// Log gets requests that no backend could be found for, at V(1), and hosts
	// whose route leads back to this process, at a bounded rate.
	Log logr.Logger

	// Timeouts of each connection: Dial and Idle are the Handler's, Hello and Drain
	// its Server's.
	Timeouts limit.Timeouts

	// Metrics counts the answers. Required: see NewMetrics.
	Metrics *Metrics

	// LeadsHere reports whether an address is one of this process's own
	// listeners. A backend at such an address is not dialled. May be nil.
	LeadsHere func(netip.AddrPort) bool

	// Refused is told of each request that is refused: who asked, for which
	// host, which is empty where that could not be read, and why; because is what
	// the route of a refused host says, or empty. May be nil.
	Refused func(client netip.AddrPort, host, reason, because string)

	// Own is asked for hosts that are not in the table. It reports whether one
	// is the name by which this process itself looks whether requests reach it:
	// such a request is answered as any other, and is no refusal. May be nil.
	Own func(host string) bool

	prepare    sync.Once
	via        string // by prepare, as the fields below
	backends   *failover
	forwarder  http.Handler
	challenges challengeGate
	loops      *rate.Limiter // of log lines about them
}

// Bounds on the log lines about loops, which strangers can cause: one every ten
// seconds, and so many at once.
const (
	loopLines = 5
	loopEvery = 10 * time.Second
)

func (h *Handler) init() {
	h.via = newVia()
	h.backends = newFailover(h.Timeouts.Dial, h.LeadsHere)
	h.forwarder = newForwarder(h)
	h.loops = rate.NewLimiter(rate.Every(loopEvery), loopLines)
}

// closeIdle closes the connections to backends that are kept for the next request.
func (h *Handler) closeIdle() {
	h.prepare.Do(h.init)
	h.backends.plain.CloseIdleConnections()
}

// refusal is why a request is not answered but by 404, or by 503 or 508.
type refusal uint8

const (
	malformed refusal = iota
	unknownHost
	refusedHost
	clientNotAllowed
	denied
	tooManyChallenges
	loop
	tooManyConnections // those of the listener: they are closed without an answer
	tooManyOfClient
)

// String returns the refusal's name in the access log.
func (r refusal) String() string {
	return [...]string{"bad_request", "unknown_host", "refused_host", "client_not_allowed", "plain_http_denied", "too_many_challenges", "loop",
		"too_many_connections", "too_many_of_client"}[r]
}

// status returns the answer's status. It is the same for hosts that do not exist
// and for clients that may not know whether they do.
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
	h.prepare.Do(h.init)
	q, err := parseRequest(r)
	if err != nil {
		h.refuse(w, q, malformed)
		return
	}
	h.serve(w, q)
}

// serve answers a request by what its host's route says.
func (h *Handler) serve(w http.ResponseWriter, q *request) {
	route := h.Table.Load().Lookup(q.host)
	switch {
	case route == nil && h.Own != nil && h.Own(q.host):
		w.WriteHeader(unknownHost.status())
	case route == nil:
		h.refuse(w, q, unknownHost)
	case route.Refusal != "":
		q.because = route.Refusal
		h.refuse(w, q, refusedHost)
	case !route.Allows(q.client.Addr()):
		h.refuse(w, q, clientNotAllowed)
	case q.cameFrom(h.via):
		h.refuse(w, q, loop)
	case q.isChallenge():
		h.challenge(w, q, route)
	case route.PlainHTTP == routing.Forward && q.method != http.MethodConnect:
		h.forward(w, q, route)
	case route.PlainHTTP == routing.Redirect && q.isRedirectable():
		h.redirect(w, q)
	default:
		h.refuse(w, q, denied)
	}
}

// redirect sends the client to the same URL over HTTPS. The status keeps
// methods and bodies: RFC 9110, section 15.4.9.
func (h *Handler) redirect(w http.ResponseWriter, q *request) {
	w.Header().Set("Location", "https://"+q.host+q.path+q.query)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusPermanentRedirect)
	h.Metrics.count(redirected)
}

// refuse gives the client an empty answer and ends its connection.
func (h *Handler) refuse(w http.ResponseWriter, q *request, why refusal) {
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(why.status())
	h.Metrics.count(answerOf(why))
	if why == loop {
		h.logLoop(q)
	}
	if h.Refused != nil {
		h.Refused(q.client, q.host, why.String(), q.because)
	}
}

// answerOf returns the value of the metrics' label answer.
func answerOf(why refusal) string {
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

// unreachable answers a request that no backend took.
func (h *Handler) unreachable(w http.ResponseWriter, q *request, err error) {
	if errors.Is(err, errLeadsHere) {
		h.refuse(w, q, loop)
		return
	}
	h.Log.V(1).Info("Request not forwarded", "host", q.host, "reason", err.Error())
	h.Metrics.count(failed)
	w.WriteHeader(http.StatusBadGateway)
}

func (h *Handler) logLoop(q *request) {
	if h.loops.Allow() {
		h.Log.Info("The route of a host leads back to usher", "host", q.host, "client", q.client)
	}
}
