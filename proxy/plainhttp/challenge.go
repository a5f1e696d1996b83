package plainhttp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/jovalle/usher/proxy/routing"
)

const (
	// challengeTimeout bounds a challenge from the request to its response. A CA
	// waits about as long, and retries.
	challengeTimeout = 10 * time.Second

	// maxChallenges bounds the challenges that one cluster is answering at once.
	// A CA makes about five for each certificate.
	maxChallenges = 16

	// maxChallengeResponse bounds the body of a response, in bytes. A key
	// authorization takes about 90: RFC 8555, section 8.1.
	maxChallengeResponse = 64 << 10
)

// The headers of a challenge that are forwarded, in canonical form: those that a
// CA sends, and those of a response or a redirect.
var (
	challengeRequestHeaders  = []string{"Accept", "User-Agent"}
	challengeResponseHeaders = []string{"Content-Type", "Location", "Retry-After"}
)

var (
	errResponseTooLarge = errors.New("the response to the challenge is too large")
	errUpgraded         = errors.New("the backend answered a challenge with an upgrade")
)

// challenge forwards an ACME challenge to its backend. It closes the connection
// to the backend as soon as the whole response is read, and after
// challengeTimeout at the latest, so a slow client cannot hold it.
func (h *Handler) challenge(w http.ResponseWriter, q *request, route *routing.Route) {
	release, ok := h.challenges.acquire(route)
	if !ok {
		h.refuse(w, q, tooManyChallenges)
		return
	}
	response, err := h.fetch(q, route)
	release()
	if err != nil {
		h.unreachable(w, q, err)
		return
	}
	for _, name := range challengeResponseHeaders {
		if value := response.header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(response.status)
	_, _ = w.Write(response.body)
	h.Metrics.count(forwarded)
}

// challengeResponse is the whole response of a backend.
type challengeResponse struct {
	status int
	header http.Header
	body   []byte
}

// fetch sends a challenge to the backends of the route and reads the response.
func (h *Handler) fetch(q *request, route *routing.Route) (*challengeResponse, error) {
	ctx, cancel := context.WithTimeout(withRoute(q.ctx, route, q), challengeTimeout)
	defer cancel()
	out := q.outgoing(ctx, "")
	for _, name := range challengeRequestHeaders {
		if value := q.header.Get(name); value != "" {
			out.Header.Set(name, value)
		}
	}
	q.setForwarded(out.Header, h.via)
	response, err := h.backends.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode < http.StatusOK { // 101: the body is a connection, which the context does not close
		return nil, errUpgraded
	}
	var body bytes.Buffer
	n, err := io.Copy(&body, io.LimitReader(response.Body, maxChallengeResponse+1))
	if err == nil && n > maxChallengeResponse {
		err = errResponseTooLarge
	}
	return &challengeResponse{response.StatusCode, response.Header, body.Bytes()}, err
}

// challengeLimiter bounds the challenges that each cluster is answering at once.
type challengeLimiter struct {
	mu      sync.Mutex
	pending map[string]int // limiterKey → challenges in progress
}

// acquire counts a challenge. ok is false if maxChallenges are in progress. The
// caller calls release once.
func (l *challengeLimiter) acquire(route *routing.Route) (release func(), ok bool) {
	key := limiterKey(route)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending[key] >= maxChallenges {
		return nil, false
	}
	if l.pending == nil {
		l.pending = make(map[string]int)
	}
	l.pending[key]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.pending[key]--; l.pending[key] == 0 {
			delete(l.pending, key)
		}
	}, true
}

// limiterKey returns the key by which the challenges of a route are counted: the
// cluster, or the first address if the backend has no cluster. An unreachable
// cluster thus does not block the challenges of another.
func limiterKey(route *routing.Route) string {
	for i := range route.Backends {
		backend := &route.Backends[i]
		if backend.Cluster != "" {
			return backend.Cluster
		}
		if len(backend.Addresses) > 0 {
			return backend.Addresses[0]
		}
	}
	return ""
}
