package controllers_test

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
)

// hostile implements enough of an API server that usher lists its Ingresses. It then
// sends what the test needs.
type hostile struct {
	server   *httptest.Server
	sent     atomic.Int64 // bytes
	requests atomic.Int64 // lists and watches of Ingresses
}

// answers are what a hostile API server says; nil: as a sound one of no objects does.
type answers struct {
	version, list, stream, watch func(w io.Writer, r *http.Request)
}

func startHostile(t *testing.T, a answers) *hostile {
	t.Helper()
	h := &hostile{}
	sound := func(answer string) func(io.Writer, *http.Request) {
		return func(w io.Writer, _ *http.Request) { _, _ = io.WriteString(w, answer) }
	}
	or := func(answer, otherwise func(io.Writer, *http.Request)) func(io.Writer, *http.Request) {
		if answer != nil {
			return answer
		}
		return otherwise
	}
	h.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		out := &counting{w, &h.sent}
		const group = "/apis/networking.k8s.io/v1"
		query := r.URL.Query()
		switch {
		case r.URL.Path == "/version":
			or(a.version, sound(`{"gitVersion": "v1.37.0"}`))(out, r)
		case r.URL.Path == "/readyz":
			_, _ = io.WriteString(out, "ok")
		case r.URL.Path == group:
			sound(`{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "networking.k8s.io/v1", "resources": [{"name": "ingresses", "namespaced": true, "kind": "Ingress", "verbs": ["list", "watch"]}]}`)(out, r)
		case r.URL.Path != group+"/ingresses":
			w.WriteHeader(http.StatusNotFound)
		case query.Get("sendInitialEvents") == "true" && a.stream == nil:
			h.requests.Add(1)
			w.WriteHeader(http.StatusBadRequest)
			sound(`{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "BadRequest", "code": 400, "message": "no streams here"}`)(out, r)
		case query.Get("sendInitialEvents") == "true":
			h.requests.Add(1)
			a.stream(out, r)
		case query.Get("watch") != "":
			or(a.watch, func(_ io.Writer, r *http.Request) { w.(http.Flusher).Flush(); <-r.Context().Done() })(out, r)
		default:
			h.requests.Add(1)
			or(a.list, sound(`{"kind": "IngressList", "apiVersion": "networking.k8s.io/v1", "metadata": {"resourceVersion": "1"}, "items": []}`))(out, r)
		}
	}))
	h.server.StartTLS()
	t.Cleanup(func() { h.server.CloseClientConnections(); h.server.Close() })
	return h
}

// counting counts what is written.
type counting struct {
	w    http.ResponseWriter
	sent *atomic.Int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

func (h *hostile) kubeconfig() []byte {
	return []byte(fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}], clusters: [{name: a, cluster: {server: %q, certificate-authority-data: %q}}], users: [{name: a, user: {token: x}}]}",
		h.server.URL, base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.server.Certificate().Raw}))))
}

// hostileIngress is the nth of many.
func hostileIngress(n int, more string) string {
	return fmt.Sprintf(`{"kind": "Ingress", "apiVersion": "networking.k8s.io/v1", "metadata": {"name": "i%d", "namespace": "default", "uid": "%d", "resourceVersion": "%d"%s}}`, n, n, n+1, more)
}

// A member that sends too much, or sends without end, is reported and retried later. It
// uses a bounded amount of memory, and other members are not affected.
func TestMemberThatSendsTooMuch(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	p := publish(t, table, "hades")
	event := func(kind string, n int, more string) string {
		return fmt.Sprintf(`{"type": %q, "object": %s}`+"\n", kind, hostileIngress(n, more))
	}
	filling := strings.Repeat("x", 64<<10)
	endless := func(begin string, next func(n int) string) func(io.Writer, *http.Request) {
		return func(w io.Writer, r *http.Request) {
			_, err := io.WriteString(w, begin)
			for n := 0; next != nil && err == nil && r.Context().Err() == nil; n++ {
				_, err = io.WriteString(w, next(n))
			}
		}
	}
	const list = `{"kind": "IngressList", "apiVersion": "networking.k8s.io/v1", "metadata": {"resourceVersion": "1"%s}, "items": [`
	// An empty rule takes eight times as many bytes in memory as it has on the wire.
	manyRules := `}, "spec": {"rules": [{}` + strings.Repeat(",{}", 20_000) + `]`
	const kept = `{"metadata": {"name": "kept", "namespace": "default", "uid": "k", "resourceVersion": "1", "annotations": {"usher.techn.is/expose": "true"}}, "spec": {"rules": [{"host": "large.techn.is", "http": {"paths": [{"path": "/"}]}}]}}]}`
	member := 0
	for name, test := range map[string]struct {
		answers
		condition string
		says      string
	}{
		"a version without an end": {answers{version: endless(`{"gitVersion": "`, func(int) string { return filling })}, v1alpha1.ConditionConnected, "an answer of more than 8 MiB"},
		"a list without an end":    {answers{list: endless(fmt.Sprintf(list, ""), func(n int) string { return hostileIngress(n, "") + "," })}, v1alpha1.ConditionSynced, "an answer of more than 8 MiB"},
		"an object without an end": {answers{list: endless(fmt.Sprintf(list, "")+`{"metadata": {"name": "`, func(int) string { return filling })}, v1alpha1.ConditionSynced, "an answer of more than 8 MiB"},
		"pages without an end": {answers{list: func(w io.Writer, r *http.Request) {
			var first int
			_, _ = fmt.Sscan(r.URL.Query().Get("continue"), &first)
			var items []string
			for n := range 500 {
				items = append(items, hostileIngress(first+n, ""))
			}
			_, _ = fmt.Fprintf(w, list+"%s]}", fmt.Sprintf(`, "continue": "%d"`, first+500), strings.Join(items, ","))
		}}, v1alpha1.ConditionSynced, "64 MiB of objects"},
		"a hundred thousand objects": {answers{stream: func(w io.Writer, r *http.Request) {
			for n := range 100_000 {
				if _, err := io.WriteString(w, event("ADDED", n, `, "annotations": {"usher.techn.is/expose": "true"}`)); err != nil {
					return
				}
			}
			<-r.Context().Done()
		}}, v1alpha1.ConditionSynced, "64 MiB of objects"},
		"a stream without an end": {answers{stream: endless("", func(n int) string { return event("ADDED", n, manyRules) })}, v1alpha1.ConditionSynced, "64 MiB of objects"},
		"an event without an end": {answers{stream: endless(`{"type": "ADDED", "object": {"a": "`, func(int) string { return filling })}, v1alpha1.ConditionSynced, "an event of more than 8 MiB"},
		"changes without an end":  {answers{list: endless(fmt.Sprintf(list, "")+kept, nil), watch: endless("", func(n int) string { return event("ADDED", n, manyRules) })}, v1alpha1.ConditionSynced, "64 MiB of objects"},
		"a change without an end": {answers{watch: endless(`{"type": "ADDED", "object": {`, func(n int) string { return fmt.Sprintf("\"{%d\": %q,\n", n, filling) })}, v1alpha1.ConditionSynced, "an event of more than 8 MiB"},
		"a way elsewhere": {answers{version: func(w io.Writer, _ *http.Request) {
			response := w.(*counting).w
			response.Header().Set("Location", "https://127.0.0.1:1/version")
			response.WriteHeader(http.StatusFound)
		}}, v1alpha1.ConditionConnected, "redirects the edge"},
	} {
		t.Run(name, func(t *testing.T) {
			h := startHostile(t, test.answers)
			member++
			name := fmt.Sprintf("hostile%d", member)
			create(t, c, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{"kubeconfig": h.kubeconfig()}})
			create(t, c, &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.MemberClusterSpec{
				Kubeconfig: &v1alpha1.KubeconfigRef{SecretName: name}, Ingress: v1alpha1.IngressEndpoint{Addresses: []string{"192.0.2.99"}},
			}})
			reason := "TooLarge"
			if strings.Contains(test.says, "redirects") {
				reason = "Error"
			}
			mc := awaitMember(t, c, name, test.condition, metav1.ConditionFalse, reason)
			if said := meta.FindStatusCondition(mc.Status.Conditions, test.condition).Message; !strings.Contains(said, test.says) {
				t.Errorf("it says %q", said)
			}
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			sent, requests := h.sent.Load(), h.requests.Load()
			t.Logf("%d MiB were sent in %d answers; %d MiB in use", sent>>20, requests, memory.HeapInuse>>20)
			if sent > 512<<20 || memory.HeapInuse > 768<<20 {
				t.Error("that is too much")
			}
			if test.watch != nil && test.list != nil { // what it served before, it serves
				routed(t, table, "large.techn.is", name)
			}
			p.change(t)
			p.caughtUp(t, table)
			testkit.Consistently(t, 2*time.Second, "the member should be left alone", func() error {
				if again := h.requests.Load() - requests; again > 4 {
					return fmt.Errorf("it got %d more requests", again)
				}
				return nil
			})
		})
	}
}
