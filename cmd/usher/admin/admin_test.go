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

// start serves, on a free port where none is given, until the test ends.
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

// announce stands for a process of a service that all are of.
func announce(t *testing.T) *takeover.Process {
	t.Helper()
	process, err := takeover.Announce(t.Context(), t.Name(), "v1", logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Close)
	return process
}

// fresh makes a connection for each request, as a probe does.
var fresh = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func get(t *testing.T, at netip.AddrPort, path string) (status int, body string) {
	t.Helper()
	response, err := fresh.Get(fmt.Sprintf("http://%s%s", at, path))
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
	waits := errors.New("the routing table has not been filled yet")
	s := &admin.Server{Ready: func() error { return waits }}
	at := start(t, s)
	if status, body := get(t, at, "/readyz"); status != http.StatusServiceUnavailable || body != waits.Error() {
		t.Errorf("not ready: %d %q", status, body)
	}
	waits = nil
	if status, body := get(t, at, "/readyz"); status != http.StatusOK || body != "ok" {
		t.Errorf("ready: %d %q", status, body)
	}
	s.Drain()
	if status, body := get(t, at, "/readyz"); status != http.StatusServiceUnavailable || body != "draining" {
		t.Errorf("draining: %d %q", status, body)
	}
	if status, _ := get(t, at, "/healthz"); status != http.StatusOK {
		t.Errorf("a process that drains is healthy, and answers %d", status)
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

// A process that takes over is the one that is asked from the start: were the former
// asked, which is ready, it would be taken for ready before it is.
func TestTheNewcomerIsAsked(t *testing.T) {
	at := start(t, &admin.Server{Process: announce(t), Ready: func() error { return nil }})
	waits := errors.New("the routing table has not been filled yet")
	start(t, &admin.Server{Process: announce(t), Listen: []string{at.String()}, Ready: func() error { return waits }})
	for range 20 { // of two that share the probes, one would answer all by a chance of 1 in 2^20
		if status, body := get(t, at, "/readyz"); status != http.StatusServiceUnavailable || body != waits.Error() {
			t.Fatalf("while the newcomer is not ready: %d %q", status, body)
		}
	}
}
