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

	"github.com/prometheus/client_golang/prometheus"

	"github.com/jovalle/usher/cmd/usher/admin"
)

// start serves on a free port until the test ends.
func start(t *testing.T, s *admin.Server) netip.AddrPort {
	t.Helper()
	s.Listen, s.Metrics = []string{"127.0.0.1:0"}, prometheus.NewRegistry()
	if err := s.Bind(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s.Addrs()[0]
}

func get(t *testing.T, at netip.AddrPort, path string) (status int, body string) {
	t.Helper()
	response, err := http.Get(fmt.Sprintf("http://%s%s", at, path))
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

// Two processes may hold the address, for a hand-over.
func TestAddressIsShared(t *testing.T) {
	at := start(t, &admin.Server{Ready: func() error { return nil }})
	second := &admin.Server{Listen: []string{at.String()}, Metrics: prometheus.NewRegistry()}
	if err := second.Bind(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := second.Serve(ctx); err != nil {
		t.Error(err)
	}
}
