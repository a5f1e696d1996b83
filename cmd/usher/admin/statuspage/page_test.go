package statuspage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/explain"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/history"
	"github.com/jovalle/usher/proxy/knocks"
	"github.com/jovalle/usher/proxy/routing"
)

// page returns a page of the server.
func page(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler(s).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return recorder.Code, recorder.Body.String()
}

func wantTexts(t *testing.T, what, body string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(body, text) {
			t.Errorf("%s lacks %q", what, text)
		}
	}
}

func TestListSaysWhatIsExposedAndWhatIsNot(t *testing.T) {
	s, _ := example(t)
	_, body := page(t, s, "/")
	wantTexts(t, "the page", body,
		`href="./hosts/whoami.techn.is"`, `href="./hosts/*.apps.techn.is"`, "IngressRoute default/app",
		"AllowedDomains", "names under techn.is only", "spec.allowedDomains, or choose another host", // with the cure
		"illmatic requests it too and is refused: <b>HeldByAnother</b>",
		"NoIngressAddress", "Unreachable", "i/o timeout", "Check that it runs and that the edge reaches it",
		"served by hades, not annotated", "203.0.113.0/24", "by IngressRoute default/app of hades", "v1.2.3",
	)
}

func TestSearchFilterAndOrder(t *testing.T) {
	s, _ := example(t)
	named := regexp.MustCompile(`<tbody id="h-([^"]+)"`)
	for query, want := range map[string]string{
		"":                              "*.apps.techn.is cold.techn.is media.techn.is outside.example.org whoami.techn.is",
		"?q=WHO":                        "whoami.techn.is",
		"?q=alloweddomains":             "outside.example.org",
		"?cluster=illmatic":             "cold.techn.is media.techn.is",
		"?state=refused":                "outside.example.org",
		"?state=notready":               "cold.techn.is",
		"?sort=-host":                   "whoami.techn.is outside.example.org media.techn.is cold.techn.is *.apps.techn.is",
		"?q=techn&cluster=hades":        "*.apps.techn.is whoami.techn.is",
		"?q=nothing":                    "",
		"?page=99":                      "*.apps.techn.is cold.techn.is media.techn.is outside.example.org whoami.techn.is",
		"?sort=nothing&state=x&page=-1": "*.apps.techn.is cold.techn.is media.techn.is outside.example.org whoami.techn.is",
	} {
		_, body := page(t, s, "/"+query)
		var hosts []string
		for _, match := range named.FindAllStringSubmatch(body, -1) {
			hosts = append(hosts, match[1])
		}
		if got := strings.Join(hosts, " "); got != want {
			t.Errorf("%s shows %q, want %q", query, got, want)
		}
	}
}

// Without JavaScript too, a page has at most rowsPerPage hosts, and links to the others.
func TestPages(t *testing.T) {
	s, objects := example(t)
	objects.hosts = many(10_000)
	s.Table = tableOf(objects.hosts)
	began := time.Now()
	_, body := page(t, s, "/")
	t.Logf("the first page of 10,000 hosts took %v and has %d bytes", time.Since(began), len(body))
	if got := strings.Count(body, "<tbody id=\"h-"); got != rowsPerPage {
		t.Errorf("the page has %d hosts", got)
	}
	wantTexts(t, "the first page", body, "1 to 30 of 10\u202f000", `href="./?page=2"`)
	began = time.Now()
	_, body = page(t, s, "/?page=334&sort=-host")
	t.Logf("the last page took %v", time.Since(began))
	wantTexts(t, "the last page", body, "app-00000.techn.is", "9991 to 10\u202f000 of", `page=333&amp;sort=-host`)
}

// Names and messages come from members and clients.
func TestHostileTexts(t *testing.T) {
	const script = `"><script src=//evil.example></script><img src=x onerror=alert(1)>`
	const control = "\x1b[31m\u202egnp.exe\x00"
	s, objects := example(t)
	hostile := hostOf("evil.techn.is", script, reason.RuleInvalid, script+control+strings.Repeat("x", 1<<20))
	hostile.Status.Sources[0] = v1alpha1.SourceRef{Cluster: script, Kind: script, Namespace: script + control, Name: strings.Repeat("y", 1<<20)}
	hostile.Status.Rivals = []v1alpha1.Rival{{SourceRef: hostile.Status.Sources[0], Reason: script}}
	hostile.Spec.Backends[0].Cluster = "javascript:alert(1)"
	hostile.Status.Conditions[0].Message = script + control
	hostile.Status.Backends = []string{script}
	objects.hosts = append(objects.hosts, hostile)
	member := memberNamed(script, condition(v1alpha1.ConditionConnected, false, script, script+control))
	member.Status.KubernetesVersion = script + control
	member.Status.Refusals = []v1alpha1.SourceRefusal{{Kind: script, Namespace: script, Name: control, Reason: script, Message: script}}
	objects.members = append(objects.members, member)
	s.Knocks = func() []knocks.Knock {
		return []knocks.Knock{{Host: script, Reason: script, ServedBy: []string{script}}}
	}
	s.Latest = func() []history.Line {
		return []history.Line{{Time: time.Now(), Event: history.Exposed, Host: script, By: &routing.Source{Kind: script, Name: control}, Reason: script}}
	}
	s.History = func(history.Query) (history.Answer, error) { return history.Answer{}, errors.New(script + control) }
	for _, path := range []string{"/", "/hosts/evil.techn.is", "/?q=" + url.QueryEscape(script) + "&cluster=" + url.QueryEscape(script)} {
		_, body := page(t, s, path)
		for _, never := range []string{"<script src=//", "<img src=x", "\x1b", "\u202e", "\x00", `href="javascript`} {
			if strings.Contains(body, never) {
				t.Errorf("%s has %q", path, never)
			}
		}
		if len(body) > 200<<10 {
			t.Errorf("%s has %d bytes", path, len(body))
		}
	}
	for _, path := range []string{"/hosts/" + url.PathEscape(script), "/hosts/127.0.0.1", "/hosts/..%2f..", "/events?host=" + url.QueryEscape(script)} {
		if status, body := page(t, s, path); status != http.StatusBadRequest || strings.Contains(body, "evil") {
			t.Errorf("%s answers %d %q", path, status, body)
		}
	}
}

// The policy allows the embedded files alone; therefore no page may have an inline script or
// style, or load anything else.
func TestPolicy(t *testing.T) {
	s, _ := example(t)
	recorder := httptest.NewRecorder()
	handler(s).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	got := recorder.Header().Get("Content-Security-Policy")
	for _, directive := range []string{"default-src 'none'", "style-src 'self'", "script-src 'self'", "connect-src 'self'", "img-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(got, directive) {
			t.Errorf("the policy %q lacks %q", got, directive)
		}
	}
	inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script(>| [^>]*>[^<])|(src|href)="(//|https?:)`)
	for _, path := range []string{"/", "/hosts/whoami.techn.is", "/hosts/vault.techn.is"} {
		_, body := page(t, s, path)
		for _, f := range files {
			if !strings.Contains(body, f.name+"?v="+f.version) {
				t.Errorf("%s does not load the version of %s", path, f.name)
			}
		}
		body = strings.ReplaceAll(body, `rel="noreferrer noopener" target="_blank" href="https://whoami.techn.is/"`, "")
		if found := inline.FindString(body); found != "" {
			t.Errorf("%s has %q", path, found)
		}
	}
	for _, f := range files {
		if found := regexp.MustCompile(`https?://[^w]|@import|url\(`).Find(f.content); found != nil {
			t.Errorf("%s has %q", f.name, found)
		}
		if status, body := page(t, s, "/static/"+f.name); status != http.StatusOK || body != string(f.content) {
			t.Errorf("%s answers %d", f.name, status)
		}
		for query, want := range map[string]string{"": "no-cache", "?v=other": "no-cache", "?v=" + f.version: "max-age=31536000, immutable"} {
			w := httptest.NewRecorder()
			f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/static/"+f.name+query, nil))
			if got := w.Header().Get("Cache-Control"); got != want {
				t.Errorf("%s%s may be kept: %s", f.name, query, got)
			}
		}
	}
}

func TestHostPage(t *testing.T) {
	s, _ := example(t)
	status, body := page(t, s, "/hosts/whoami.techn.is")
	if status != http.StatusOK {
		t.Errorf("an exposed host answers %d", status)
	}
	wantTexts(t, "the page of an exposed host", body, "IngressRoute default/app of hades", "192.0.2.10:443", "everyone", "Admitted", "Ingress default/same of illmatic", `data-events="../events?host=whoami.techn.is"`, ">42<")
	_, body = page(t, s, "/hosts/outside.example.org")
	wantTexts(t, "the page of a refused host", body, "AllowedDomains", "Cure")
	status, body = page(t, s, "/hosts/vault.techn.is")
	if status != http.StatusNotFound {
		t.Errorf("a host that nobody annotated answers %d", status)
	}
	wantTexts(t, "the page of a host that nobody annotated", body, "hades serves it, and no annotated object publishes it", "12 times")
}

// An explanation dials backends: it is made once for all who look, until an object changes.
func TestWhy(t *testing.T) {
	s, objects := example(t)
	made := 0
	s.Why = func(_ context.Context, host string) (explain.Explanation, error) {
		made++
		return explain.Explanation{
			Host: host, Verdict: explain.NotExposed, Summary: "no object asks for it", Cure: "Annotate it.", Command: "kubectl annotate <x>",
			Steps: []explain.Step{{Name: explain.StepObjects, Mark: explain.Failed, Summary: "one object", Details: []explain.Detail{{Mark: explain.OK, Of: "Ingress default/web", Text: "names it", Details: []explain.Detail{{Mark: explain.Unknown, Text: "\x1b[31m<script>"}}}}}},
		}, nil
	}
	for range 3 {
		_, body := page(t, s, "/hosts/vault.techn.is")
		wantTexts(t, "the explanation", body, "no object asks for it", "Annotate it.", "kubectl annotate &lt;x&gt;", "Ingress default/web", "&lt;script&gt;")
		if strings.Contains(body, "\x1b") {
			t.Error("the page has a control character")
		}
	}
	if made != 1 {
		t.Errorf("it was made %d times", made)
	}
	objects.changes++
	known := s.explanations["vault.techn.is"]
	known.at = known.at.Add(-2 * sampleEvery)
	s.explanations["vault.techn.is"] = known
	if page(t, s, "/hosts/vault.techn.is"); made != 2 {
		t.Errorf("after a change it was made %d times", made)
	}
	s.Why = func(context.Context, string) (explain.Explanation, error) {
		return explain.Explanation{}, errors.New("not now")
	}
	_, body := page(t, s, "/hosts/other.techn.is")
	wantTexts(t, "a page without an explanation", body, "The explanation could not be made: not now.")
}

// A process with one half shows what it has, and says what it lacks.
func TestOneHalf(t *testing.T) {
	all, objects := example(t)
	for name, test := range map[string]struct {
		server *Server
		want   []string
	}{
		"the controllers alone": {&Server{Objects: objects}, []string{"runs only the controllers", "whoami.techn.is", "hades"}},
		"manifests":             {&Server{Table: all.Table}, []string{"serves manifests", "whoami.techn.is", "AllowedDomains"}},
		"no API server":         {&Server{Table: all.Table, Objects: &fixed{err: errors.New("it is away")}}, []string{"it is away", "whoami.techn.is"}},
		"no history":            {&Server{Table: all.Table, Objects: objects}, []string{"There is no history"}},
		"nothing":               {&Server{}, []string{"No host is exposed yet"}},
	} {
		status, body := page(t, test.server, "/")
		if status != http.StatusOK {
			t.Errorf("%s: %d", name, status)
		}
		wantTexts(t, name, body, test.want...)
		for _, path := range []string{"/hosts/whoami.techn.is", "/hosts/other.techn.is"} {
			if status, _ := page(t, test.server, path); status != http.StatusOK && status != http.StatusNotFound {
				t.Errorf("%s: %s answers %d", name, path, status)
			}
		}
	}
}

// stream opens a stream of events.
func stream(t *testing.T, at string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at+"/events", http.NoBody)
	testkit.Must(t, err)
	response, err := http.DefaultClient.Do(request)
	testkit.Must(t, err)
	t.Cleanup(func() { response.Body.Close() })
	return response
}

// next returns the next event of a stream.
func next(t *testing.T, events *bufio.Scanner) string {
	t.Helper()
	for events.Scan() {
		if data, found := strings.CutPrefix(events.Text(), "data: "); found {
			return data
		}
	}
	t.Fatalf("the stream has ended: %v", events.Err())
	return ""
}

func scanner(r io.Reader) *bufio.Scanner {
	events := bufio.NewScanner(r)
	events.Buffer(nil, 1<<20)
	return events
}

func TestEventsFollowTheState(t *testing.T) {
	s, objects := example(t)
	server := httptest.NewServer(handler(s))
	t.Cleanup(server.Close)
	events := scanner(stream(t, server.URL).Body)
	if first := next(t, events); !strings.Contains(first, "whoami.techn.is") || strings.Contains(first, "<html") {
		t.Errorf("the first event is %s", first)
	}
	s.mu.Lock()
	objects.hosts = objects.hosts[1:]
	objects.changes++
	s.mu.Unlock()
	began := time.Now()
	for strings.Contains(next(t, events), `id="h-whoami.techn.is"`) {
		if time.Since(began) > 20*time.Second {
			t.Fatal("the host is still there")
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	s, _ := example(t)
	server := httptest.NewServer(handler(s))
	t.Cleanup(server.Close)
	var last *http.Response
	for range maxStreams {
		if last = stream(t, server.URL); last.StatusCode != http.StatusOK {
			t.Fatalf("a stream answers %d", last.StatusCode)
		}
	}
	if one := stream(t, server.URL); one.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one stream too many answers %d", one.StatusCode)
	}
	if status, _ := page(t, s, "/"); status != http.StatusOK {
		t.Errorf("the page answers %d", status)
	}
	last.Body.Close()
	testkit.WaitFor(t, "a place for another stream", func() bool { return len(s.streams) < maxStreams })
	if one := stream(t, server.URL); one.StatusCode != http.StatusOK {
		t.Errorf("after one has gone, another answers %d", one.StatusCode)
	}
}

func TestStreamsEndWhenTheServerDrains(t *testing.T) {
	s, _ := example(t)
	drains := make(chan struct{})
	s.Draining = drains
	server := httptest.NewServer(handler(s))
	t.Cleanup(server.Close)
	response := stream(t, server.URL)
	close(drains)
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Errorf("the stream ends with %v", err)
	}
}

// A client that reads nothing holds its stream until the time limit of a write, and delays
// no other.
func TestSlowReaderDelaysNobody(t *testing.T) {
	s, objects := example(t)
	objects.hosts = many(1000)
	server := httptest.NewUnstartedServer(handler(s))
	server.Start()
	t.Cleanup(server.Close)
	for range maxStreams - 1 {
		connection, err := net.Dial("tcp", server.Listener.Addr().String())
		testkit.Must(t, err)
		t.Cleanup(func() { connection.Close() })
		testkit.Must(t, connection.(*net.TCPConn).SetReadBuffer(1))
		_, err = fmt.Fprintf(connection, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
		testkit.Must(t, err)
	}
	testkit.WaitFor(t, "the slow readers' streams", func() bool { return len(s.streams) == maxStreams-1 })
	events := scanner(stream(t, server.URL).Body)
	began := time.Now()
	next(t, events)
	s.mu.Lock()
	objects.hosts = objects.hosts[1:]
	objects.changes++
	s.mu.Unlock()
	for strings.Contains(next(t, events), `id="h-app-00000.techn.is"`) {
	}
	t.Logf("the change was sent after %v", time.Since(began))
	if took := time.Since(began); took > writeTimeout/2 {
		t.Errorf("the change was sent after %v", took)
	}
}
