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
	// challengeTimeout bounds a challenge from the request to its answer. A CA
	// waits as long, and asks again.
	challengeTimeout = 10 * time.Second

	// maxChallenges bounds the challenges that are with one cluster at once. A
	// CA makes a handful for each certificate.
	maxChallenges = 16

	// maxChallengeAnswer bounds an answer, in bytes. The key authorization that a
	// CA asks for takes about 90: RFC 8555, section 8.1.
	maxChallengeAnswer = 64 << 10
)

// Headers of a challenge that pass, in canonical form: those that a CA sends, and
// those of an answer or of a redirect to one.
var (
	challengeAsks    = []string{"Accept", "User-Agent"}
	challengeAnswers = []string{"Content-Type", "Location", "Retry-After"}
)

var (
	errAnswerTooLarge = errors.New("the answer to the challenge is too large")
	errUpgraded       = errors.New("the backend answered a challenge with an upgrade")
)

// challenge passes an ACME challenge to its backend. It holds a connection to the
// backend only until the whole answer is here, and none for longer than
// challengeTimeout, whatever the client does.
func (h *Handler) challenge(w http.ResponseWriter, q *request, route *routing.Route) {
	leave, ok := h.challenges.enter(route)
	if !ok {
		h.refuse(w, q, tooManyChallenges)
		return
	}
	answer, err := h.fetch(q, route)
	leave()
	if err != nil {
		h.unreachable(w, q, err)
		return
	}
	for _, name := range challengeAnswers {
		if value := answer.header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.body)
	h.Metrics.count(forwarded)
}

// challengeAnswer is a backend's whole answer.
type challengeAnswer struct {
	status int
	header http.Header
	body   []byte
}

// fetch asks the route's backends for the answer to a challenge.
func (h *Handler) fetch(q *request, route *routing.Route) (*challengeAnswer, error) {
	ctx, cancel := context.WithTimeout(withRoute(q.ctx, route, q), challengeTimeout)
	defer cancel()
	out := q.outgoing(ctx, "")
	for _, name := range challengeAsks {
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
	if response.StatusCode < http.StatusOK { // 101: its body is a connection, which no context ends
		return nil, errUpgraded
	}
	var body bytes.Buffer
	n, err := io.Copy(&body, io.LimitReader(response.Body, maxChallengeAnswer+1))
	if err == nil && n > maxChallengeAnswer {
		err = errAnswerTooLarge
	}
	return &challengeAnswer{response.StatusCode, response.Header, body.Bytes()}, err
}

// challengeGate counts the challenges that are with each cluster.
type challengeGate struct {
	mu     sync.Mutex
	inside map[string]int // cluster, or address of a backend without one → challenges
}

// enter counts one in, unless there are maxChallenges. Call leave once.
func (g *challengeGate) enter(route *routing.Route) (leave func(), ok bool) {
	key := gateOf(route)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside[key] >= maxChallenges {
		return nil, false
	}
	if g.inside == nil {
		g.inside = make(map[string]int)
	}
	g.inside[key]++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.inside[key]--; g.inside[key] == 0 {
			delete(g.inside, key)
		}
	}, true
}

// gateOf returns what a route's challenges are counted by: what one dead cluster
// holds up does not hold up another.
func gateOf(route *routing.Route) string {
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
