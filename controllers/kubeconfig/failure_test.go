package kubeconfig_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"

	"github.com/jovalle/usher/controllers/kubeconfig"
	"github.com/jovalle/usher/hack/test/testkit"
)

// load returns the configuration of a server. The authority may be empty.
func load(t *testing.T, server string, authority []byte) *kubeconfig.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: home\ncontexts: [{name: home, context: {cluster: home}}]\nclusters: [{name: home, cluster: {server: %q", server)
	if authority != nil {
		ca := filepath.Join(t.TempDir(), "ca.crt")
		testkit.Must(t, os.WriteFile(ca, authority, 0o600))
		text += ", certificate-authority: " + ca
	}
	testkit.Must(t, os.WriteFile(file, []byte(text+"}}]\n"), 0o600))
	config, err := kubeconfig.Source{Cluster: "the member", File: file, FileFlag: "kubeconfig", ContextFlag: "context"}.Load()
	testkit.Must(t, err)
	return config
}

// ask sends a request, and returns what is said about its failure.
func ask(t *testing.T, config *kubeconfig.Config, timeout time.Duration) error {
	t.Helper()
	config.REST.Timeout = timeout
	client, err := discovery.NewDiscoveryClientForConfig(config.REST)
	testkit.Must(t, err)
	_, err = client.ServerVersion()
	if err == nil {
		t.Fatal("there is an answer")
	}
	failure := config.Failure(err)
	if failure != nil && !errors.Is(failure, errors.Unwrap(failure)) {
		t.Errorf("%v does not wrap its cause", failure)
	}
	return failure
}

func TestWhyAServerDoesNotAnswer(t *testing.T) {
	t.Parallel()
	statuses := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}))
	statuses.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(statuses.Close)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: statuses.Certificate().Raw})
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = silent.Close() })

	for name, test := range map[string]struct {
		server    string
		authority []byte
		want      []string
	}{
		"nothing listens":            {"https://127.0.0.1:1", nil, []string{"cannot be reached: connection refused", "that server is this machine", "or choose another context with --context"}},
		"it never answers":           {"https://" + silent.Addr().String(), nil, []string{"does not answer in time"}},
		"another certificate":        {statuses.URL, nil, []string{"has a certificate that is not trusted: x509:", "certificate-authority-data"}},
		"no TLS":                     {strings.Replace(plain.URL, "http:", "https:", 1), nil, []string{"does not answer: http: server gave HTTP response to HTTPS client"}},
		"a name without an address":  {"https://nowhere.invalid", nil, []string{"nowhere.invalid has no address", "correct the server of the context"}},
		"it refuses the credentials": {statuses.URL, authority, []string{"does not accept the credentials", "log in again"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := testkit.Timeout
			if test.server == "https://"+silent.Addr().String() {
				timeout = time.Second
			}
			said := ask(t, load(t, test.server, test.authority), timeout)
			want := slices.Concat(test.want, []string{"the member (context home, server " + test.server + ")"})
			if said == nil || !testkit.ContainsAll(said.Error(), want) || strings.Contains(said.Error(), "\n") {
				t.Errorf("%v; want one line with %q", said, want)
			}
		})
	}
}

// An answer of the API server is no failure to reach it.
func TestAnswersAreNoFailures(t *testing.T) {
	t.Parallel()
	config := load(t, "https://127.0.0.1:1", nil)
	for _, err := range []error{apierrors.NewBadRequest("no"), context.Canceled, context.DeadlineExceeded, errors.New("another")} {
		if failure := config.Failure(err); failure != nil {
			t.Errorf("%v is reported as %v", err, failure)
		}
	}
}
