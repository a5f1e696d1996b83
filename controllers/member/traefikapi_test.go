package member

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/hack/test/testkit"
)

// deaf is a listener that does nothing.
type deaf struct{}

func (deaf) rules() Rules                    { return Rules{} }
func (deaf) hostsChanged(*session, []string) {}
func (deaf) allChanged(*session)             {}
func (deaf) stateChanged(*session)           {}

// routersAt returns the routers of a session with the API that handler serves, over TLS.
func routersAt(t *testing.T, handler http.HandlerFunc) *routers {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	authorities.AddCert(server.Certificate())
	s, err := newSession(Config{Name: "nas", ServiceOptional: true, Traefik: &TraefikAPI{
		URL: at, Username: "usher", Password: "secret", Authorities: authorities, Interval: time.Second, PublicEntryPoint: "public",
	}}, Limits{SourceHosts: 100, MemberHosts: 1000}, deaf{})
	if err != nil {
		t.Fatal(err)
	}
	s.reader.session = s
	return s.routers
}

// What a hostile API, or another program at its address, may answer: each is an error, and
// none is taken for the absence of routers.
func TestHostileTraefikAPI(t *testing.T) {
	elsewhere := atomic.Bool{}
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Store(true) }))
	defer other.Close()
	page := func(next string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(nextPage, next)
			_, _ = io.WriteString(w, "[]")
		}
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		is     func(error) bool
	}{
		"a body without an end": {func(w http.ResponseWriter, _ *http.Request) {
			for _, err := io.WriteString(w, `[{"name": "`); err == nil; {
				_, err = io.WriteString(w, strings.Repeat("x", 1<<16))
			}
		}, func(err error) bool { return errors.Is(err, errTooLarge) }},
		"pages without an end": {func(w http.ResponseWriter, r *http.Request) {
			var n int
			_, _ = fmt.Sscan(r.URL.Query().Get("page"), &n)
			page(fmt.Sprint(n+1))(w, r)
		}, func(err error) bool { return errors.Is(err, errTooLarge) }},
		"the same page again": {page("2"), func(err error) bool { return errors.Is(err, errOtherProgram) }},
		"no next page":        {page(""), func(err error) bool { return errors.Is(err, errOtherProgram) }},
		"no JSON":             {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, func(err error) bool { return errors.Is(err, errOtherProgram) }},
		"an object":           {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }, func(err error) bool { return errors.Is(err, errOtherProgram) }},
		"not found":           {http.NotFound, apierrors.IsNotFound},
		"no credentials":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, apierrors.IsUnauthorized},
		"another address":     {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) }, func(err error) bool { return errors.Is(err, errRedirect) }},
	} {
		t.Run(name, func(t *testing.T) {
			r := routersAt(t, test.answer)
			if found, _, err := r.fetch(t.Context()); err == nil || !test.is(err) || found != nil {
				t.Errorf("it is %v, and %d routers", err, len(found))
			}
			if _, _, err := r.version(t.Context()); err == nil {
				t.Error("it is taken for a version")
			}
		})
	}
	if elsewhere.Load() {
		t.Error("a redirect was followed, with the credentials")
	}
}

// Names, statuses and errors of routers come from the labels of containers.
func TestHostileRouters(t *testing.T) {
	const routers = `[
		{"name": "a\u001b[31m\n@docker", "provider": "docker", "rule": "Host(` + "`a.techn.is`" + `)", "status": "enabled", "using": ["public"], "tls": {}},
		{"name": "b@internal", "provider": "internal", "rule": "Host(` + "`b.techn.is`" + `)", "status": "enabled", "using": ["public"], "tls": {}},
		{"name": "public@docker", "provider": "docker", "rule": "Host(` + "`c.techn.is`" + `)", "status": "enabled", "using": ["private"], "tls": {}},
		{"name": "d@docker", "provider": "docker", "rule": "Host(` + "`d.techn.is`" + `)", "status": "disabled", "error": ["\u001b[2J"], "using": ["public"], "tls": {}},
		{"name": "e@../../x", "provider": "p", "rule": "Host(` + "`e.techn.is`" + `)", "status": "enabled", "using": ["public"], "tls": {}}
	]`
	r := routersAt(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(nextPage, "1")
		if strings.HasPrefix(r.URL.Path, "/api/http/") {
			_, _ = io.WriteString(w, routers)
			return
		}
		_, _ = io.WriteString(w, "[]")
	})
	found, _, err := r.fetch(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string]client.Object{}
	for key, o := range found[routerKind] {
		objects[o.(*traefik.Router).Spec.Routes[0].Match] = o
		if strings.ContainsAny(key, "\x1b\n") {
			t.Errorf("a source has the name %q", key)
		}
	}
	if len(objects) != 4 {
		t.Errorf("%d routers were read, want 4: those of Traefik itself are none", len(objects))
	}
	for rule, want := range map[string]struct{ consents, problem bool }{"Host(`a.techn.is`)": {true, true}, "Host(`c.techn.is`)": {false, false}, "Host(`d.techn.is`)": {true, true}, "Host(`e.techn.is`)": {true, true}} {
		o := objects[rule].(*traefik.Router)
		consents, problem := o.Annotations[v1alpha1.AnnotationExpose] == "true", o.Status.Problem
		if consents != want.consents || (problem != "") != want.problem || strings.ContainsAny(problem, "\x1b\n") {
			t.Errorf("%s: it consents: %t, and its problem is %q", rule, consents, problem)
		}
	}
}

// The reader runs while routers are handed to it: none is lost, however the two interleave.
func TestRoutersAreNotLost(t *testing.T) {
	const hosts = 300
	var all []string
	for i := range hosts {
		all = append(all, fmt.Sprintf(`{"name": "r%d@docker", "provider": "docker", "rule": "Host(`+"`h%d.techn.is`"+`)", "status": "enabled", "using": ["public"], "tls": {}}`, i, i))
	}
	r := routersAt(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(nextPage, "1")
		if strings.HasPrefix(r.URL.Path, "/api/http/") {
			_, _ = io.WriteString(w, "["+strings.Join(all, ",")+"]")
			return
		}
		_, _ = io.WriteString(w, "[]")
	})
	s := r.session
	s.start(t.Context())
	defer s.close()
	found, _, err := r.fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.apply(found, true)
	testkit.Eventually(t, "all routers should be read", func() error {
		if !s.synced() {
			return errors.New("they are not")
		}
		return nil
	})
	if got := len(s.hosts()); got != hosts {
		t.Errorf("%d hosts are claimed, want %d", got, hosts)
	}
}
