package plainhttp_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/proxy/plainhttp"
	"github.com/jovalle/usher/proxy/routing"
)

// FuzzTarget checks for any request target that the location of a redirect is one
// line with an HTTPS URL of the same host.
func FuzzTarget(f *testing.F) {
	for _, target := range []string{
		"/", "//b.is/", "/\\b.is", "http://a.is@b.is/", "http://a.is\\@b.is/x", "*", "a.is:443", "/%0d%0a", "http://a.is?x", "http:///x", "/.well-known/acme-challenge/../x",
	} {
		f.Add(target)
	}
	var live routing.Live
	live.Store(routing.NewTable([]routing.Route{{Host: "a.is"}}))
	handler := &plainhttp.Handler{Table: &live, Log: logr.Discard(), Metrics: plainhttp.NewMetrics()}
	f.Fuzz(func(t *testing.T, target string) {
		request, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: a.is\r\n\r\n")))
		if err != nil {
			return
		}
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		location := recorder.Header().Get("Location")
		if (recorder.Code == http.StatusPermanentRedirect) != (location != "") {
			t.Fatalf("answered %d to %q", recorder.Code, location)
		}
		if location == "" {
			return
		}
		if !strings.HasPrefix(location, "https://a.is/") || strings.ContainsAny(location, "\r\n \t") {
			t.Errorf("redirected to %q", location)
		}
		if u, err := url.Parse(location); err == nil && u.Host != "a.is" {
			t.Errorf("redirected to %q on %q", location, u.Host)
		}
	})
}
