package adminclient

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	core "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// DefaultViewer is the ServiceAccount that the chart makes with adminAuth.
const DefaultViewer = "usher-viewer"

// viewerTokenLasts is how long a token of the viewer is valid.
const viewerTokenLasts = time.Hour

// Viewer sends GET requests to admin listeners. Of an usher with --admin-auth=kubernetes it
// requests a token of a ServiceAccount, and sends that: the credentials of the person do not
// leave the machine. The permission for it is to create serviceaccounts/token. Create it with
// NewViewer.
type Viewer struct {
	accounts core.ServiceAccountInterface
	account  string

	mu    sync.Mutex
	token string // empty until a request needs one
	until time.Time
}

// NewViewer returns a Viewer with a ServiceAccount of a namespace of usher.
func NewViewer(config *rest.Config, namespace, account string) (*Viewer, error) {
	client, err := core.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Viewer{accounts: client.ServiceAccounts(namespace), account: account}, nil
}

// RoundTrip implements http.RoundTripper: a request that needs a token is sent again with one.
func (v *Viewer) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := v.tokenFor(r.Context(), false)
	if err != nil {
		return nil, err
	}
	response, err := send(r, token)
	if err != nil || response.StatusCode != http.StatusUnauthorized || r.Method != http.MethodGet {
		return response, err
	}
	response.Body.Close()
	if token, err = v.tokenFor(r.Context(), true); err != nil {
		return nil, err
	}
	return send(r, token)
}

func send(r *http.Request, token string) (*http.Response, error) {
	r = r.Clone(r.Context())
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// tokenFor returns the token to send, which is empty if none was needed so far. It requests
// one if it is needed, or if the last one ends soon.
func (v *Viewer) tokenFor(ctx context.Context, needed bool) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !needed && (v.token == "" || time.Now().Before(v.until)) {
		return v.token, nil
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(viewerTokenLasts.Seconds()))}}
	made, err := v.accounts.CreateToken(ctx, v.account, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("request a token of the ServiceAccount %s: %w", v.account, err)
	}
	v.token, v.until = made.Status.Token, time.Now().Add(viewerTokenLasts/2)
	return v.token, nil
}
