package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/jovalle/usher/cmd/usher/admin"
	"github.com/jovalle/usher/proxy/takeover"
)

// start serves until the test ends, on a free port unless one is given.
func start(t *testing.T, s *admin.Server) netip.AddrPort {
	t.Helper()
	s.Metrics = prometheus.NewRegistry()
	if s.Listen == nil {
		s.Listen = []string{"127.0.0.1:0"}
	}
	if err := s.Bind(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Serve(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return s.Addrs()[0]
}

// announce announces a process of the test's service.
func announce(t *testing.T) *takeover.Process {
	t.Helper()
	process, err := takeover.Announce(t.Context(), t.Name(), "v1", logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Close)
	return process
}

// probe makes a new connection for each request.
var probe = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func get(t *testing.T, at netip.AddrPort, path string) (status int, body string) {
	t.Helper()
	response, err := probe.Get(fmt.Sprintf("http://%s%s", at, path))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(data))
}

func TestReadinessFollowsTheFeedAndTheDrain(t *testing.T) {
	notReady := errors.New("the routing table has not been filled yet")
	s := &admin.Server{Ready: func() error { return notReady }}
	at := start(t, s)
	if status, body := get(t, at, "/readyz"); status != http.StatusServiceUnavailable || body != notReady.Error() {
		t.Errorf("not ready: %d %q", status, body)
	}
	notReady = nil
	if status, body := get(t, at, "/readyz"); status != http.StatusOK || body != "ok" {
		t.Errorf("ready: %d %q", status, body)
	}
	s.Drain()
	if status, body := get(t, at, "/readyz"); status != http.StatusServiceUnavailable || body != "draining" {
		t.Errorf("draining: %d %q", status, body)
	}
	if status, _ := get(t, at, "/healthz"); status != http.StatusOK {
		t.Errorf("a draining process should be healthy, and answers %d", status)
	}
}

func TestNothingElseIsServed(t *testing.T) {
	at := start(t, &admin.Server{Ready: func() error { return nil }})
	for _, path := range []string{"/", "/debug/pprof/", "/healthz/x"} {
		if status, _ := get(t, at, path); status != http.StatusNotFound {
			t.Errorf("%s answers %d", path, status)
		}
	}
	if status, _ := get(t, at, "/metrics"); status != http.StatusOK {
		t.Errorf("/metrics answers %d", status)
	}
}

// Probes reach the process that takes over from its start. If the older one, which is
// ready, answered them, the new one would seem ready too early.
func TestProbesReachTheNewProcess(t *testing.T) {
	at := start(t, &admin.Server{Process: announce(t), Ready: func() error { return nil }})
	notReady := errors.New("the routing table has not been filled yet")
	start(t, &admin.Server{Process: announce(t), Listen: []string{at.String()}, Ready: func() error { return notReady }})
	for range 20 { // if two processes shared the probes, one would answer all with a probability of 1 in 2^20
		if status, body := get(t, at, "/readyz"); status != http.StatusServiceUnavailable || body != notReady.Error() {
			t.Fatalf("while the new process is not ready: %d %q", status, body)
		}
	}
}
