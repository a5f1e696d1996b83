package admin_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/jovalle/usher/cmd/usher/admin"
	"github.com/jovalle/usher/cmd/usher/admin/statuspage"
	"github.com/jovalle/usher/proxy/knocks"
)

// ask sends a GET request with headers; "Host" is the name that is asked.
func ask(t *testing.T, url string, headers map[string]string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	request.Host = headers["Host"]
	response, err := probe.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

// A page of another site that a person's browser shows must not read this listener: not by a
// name of its own that leads here, nor by a request to the address.
func TestOtherSitesReadNothing(t *testing.T) {
	at := start(t, &admin.Server{
		Ready: func() error { return nil }, Hosts: []string{"edge.home.arpa"},
		Knocks: func() []knocks.Knock { return nil }, Page: &statuspage.Server{},
	})
	local := fmt.Sprintf("127.0.0.1:%d", at.Port())
	for name, test := range map[string]struct {
		headers map[string]string
		want    int
	}{
		"an address":                       {map[string]string{"Host": local}, http.StatusOK},
		"an IPv6 address":                  {map[string]string{"Host": "[fe80::1]:8080"}, http.StatusOK},
		"localhost":                        {map[string]string{"Host": "localhost:8080"}, http.StatusOK},
		"a name without a dot":             {map[string]string{"Host": "edge:8080"}, http.StatusOK},
		"a Service":                        {map[string]string{"Host": "usher.usher-system.svc:8080"}, http.StatusOK},
		"a name of --admin-host":           {map[string]string{"Host": "Edge.Home.arpa.:8080"}, http.StatusOK},
		"a rebound name":                   {map[string]string{"Host": "evil.example:8080"}, http.StatusMisdirectedRequest},
		"a rebound name like an address":   {map[string]string{"Host": "127.0.0.1.evil.example"}, http.StatusMisdirectedRequest},
		"a rebound name like a Service":    {map[string]string{"Host": "usher.svc.evil.example"}, http.StatusMisdirectedRequest},
		"a request of the page itself":     {map[string]string{"Host": local, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, http.StatusOK},
		"an address that is typed":         {map[string]string{"Host": local, "Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, http.StatusOK},
		"a link on another site":           {map[string]string{"Host": local, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, http.StatusOK},
		"a frame on another site":          {map[string]string{"Host": local, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, http.StatusForbidden},
		"a script on another site":         {map[string]string{"Host": local, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, http.StatusForbidden},
		"another port of the host":         {map[string]string{"Host": local, "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, http.StatusForbidden},
		"an origin, from an older browser": {map[string]string{"Host": local, "Origin": "https://evil.example"}, http.StatusForbidden},
		"the null origin":                  {map[string]string{"Host": local, "Origin": "null"}, http.StatusForbidden},
		"the page's own origin":            {map[string]string{"Host": local, "Origin": "http://" + local}, http.StatusOK},
	} {
		for _, path := range []string{"/", "/knocks", "/metrics", "/hosts/a.example", "/static/page.js"} {
			want := test.want
			if path == "/hosts/a.example" && want == http.StatusOK {
				want = http.StatusNotFound // the page says so
			}
			if response := ask(t, fmt.Sprintf("http://%s%s", at, path), test.headers); response.StatusCode != want {
				t.Errorf("%s: %s answers %d, want %d", name, path, response.StatusCode, want)
			}
		}
		if response := ask(t, fmt.Sprintf("http://%s/healthz", at), test.headers); response.StatusCode != http.StatusOK {
			t.Errorf("%s: /healthz answers %d: probes ask by any name", name, response.StatusCode)
		}
	}
}

func TestMethodsAndHeaders(t *testing.T) {
	at := start(t, &admin.Server{Ready: func() error { return nil }, Page: &statuspage.Server{}})
	for _, path := range []string{"/", "/metrics", "/hosts/a.example", "/events", "/static/page.js"} {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions} {
			request, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("http://%s%s", at, path), http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			response, err := probe.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s %s answers %d", method, path, response.StatusCode)
			}
		}
	}
	for _, path := range []string{"/", "/metrics", "/hosts/a.example", "/events", "/static/style.css"} {
		response := ask(t, fmt.Sprintf("http://%s%s", at, path), nil)
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := response.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		if response.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s allows other origins", path)
		}
	}
}
