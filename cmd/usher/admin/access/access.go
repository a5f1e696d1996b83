// Package access has the API server of the edge cluster decide who may read the admin
// listener: a TokenReview says who sends a request, a SubjectAccessReview whether they may get
// its path as a non-resource URL. This is what controller-runtime's filter for metrics does,
// without the packages of an API server that it links.
package access

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authentication "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorization "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

const (
	// reviewTimeout bounds the questions about one request.
	reviewTimeout = 10 * time.Second
	// maxReviews is how many requests may wait for the API server. Others get 503.
	maxReviews = 8
	// allowedFor and deniedFor are how long an answer counts. After a token was revoked, it
	// may be used for allowedFor.
	allowedFor, deniedFor = time.Minute, 10 * time.Second
	// maxAnswers is how many answers are kept, and maxToken the maximum length of a token.
	maxAnswers, maxToken = 1024, 16 << 10
)

// Control lets those requests through that the API server allows. Create it with New.
type Control struct {
	tokens   authentication.TokenReviewInterface
	subjects authorization.SubjectAccessReviewInterface
	log      logr.Logger

	reviews chan struct{}

	mu      sync.Mutex
	answers map[question]answer
}

// question is what the API server is asked.
type question struct {
	token [sha256.Size]byte // a hash
	path  string
}

// answer is the status of the response, and how long it counts.
type answer struct {
	status int
	until  time.Time
}

// New returns a Control that asks the API server of a configuration. The permissions for it
// are those of the ClusterRole system:auth-delegator.
func New(config *rest.Config, log logr.Logger) (*Control, error) {
	tokens, err := authentication.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	subjects, err := authorization.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Control{
		tokens: tokens.TokenReviews(), subjects: subjects.SubjectAccessReviews(), log: log,
		reviews: make(chan struct{}, maxReviews), answers: map[question]answer{},
	}, nil
}

// Protect returns a handler that passes on those requests that are allowed. All others get
// 401, 403, or 503 if the API server does not answer.
func (c *Control) Protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch status := c.check(r); status {
		case http.StatusOK:
			next.ServeHTTP(w, r)
		case http.StatusUnauthorized:
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "a token of the edge cluster is needed: use usher dashboard, or send the header Authorization: Bearer TOKEN", status)
		case http.StatusForbidden:
			http.Error(w, "the account of the token may not get this path as a non-resource URL", status)
		default:
			http.Error(w, "the API server does not answer whether this request is allowed", status)
		}
	})
}

// check returns 200 if a request is allowed, otherwise the status of the response.
func (c *Control) check(r *http.Request) int {
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token = strings.TrimSpace(token); !found || token == "" || len(token) > maxToken {
		return http.StatusUnauthorized
	}
	asked := question{sha256.Sum256([]byte(token)), r.URL.Path}
	if status := c.known(asked); status != 0 {
		return status
	}
	select {
	case c.reviews <- struct{}{}:
		defer func() { <-c.reviews }()
	default:
		return http.StatusServiceUnavailable
	}
	ctx, cancel := context.WithTimeout(r.Context(), reviewTimeout)
	defer cancel()
	status, err := c.review(ctx, token, asked.path)
	if err != nil {
		if r.Context().Err() == nil {
			c.log.Error(err, "Cannot ask the API server who may read the admin listener")
		}
		return http.StatusServiceUnavailable
	}
	c.remember(asked, status)
	return status
}

// review asks the API server.
func (c *Control) review(ctx context.Context, token, path string) (int, error) {
	who, err := c.tokens.Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	if !who.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	user := who.Status.User
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for name, values := range user.Extra {
		extra[name] = authorizationv1.ExtraValue(values)
	}
	may, err := c.subjects.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"},
	}}, metav1.CreateOptions{})
	if err != nil {
		return 0, err
	}
	if !may.Status.Allowed {
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
}

// known returns an earlier answer, or 0.
func (c *Control) known(asked question) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.answers[asked]; time.Now().Before(a.until) {
		return a.status
	}
	return 0
}

// remember keeps an answer. If there are too many, all others are forgotten.
func (c *Control) remember(asked question, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.answers) >= maxAnswers {
		clear(c.answers)
	}
	lasts := deniedFor
	if status == http.StatusOK {
		lasts = allowedFor
	}
	c.answers[asked] = answer{status, time.Now().Add(lasts)}
}
