// Package admin is the admin listener: health, readiness and metrics. It is the
// one room that looks into both halves, and is meant for the operator's network,
// never for the internet.
package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/jovalle/usher/proxy/accept"
	"github.com/jovalle/usher/proxy/takeover"
)

// Server serves /healthz, /readyz and /metrics.
type Server struct {
	// Listen are the addresses to serve on, such as "127.0.0.1:8080".
	Listen []string
	// Process lets another process of the same service take the addresses over;
	// by default they are shared with none.
	Process *takeover.Process
	// Ready returns why usher is not ready to serve, or nil.
	Ready func() error
	// Metrics is what /metrics shows.
	Metrics prometheus.Gatherer

	draining  atomic.Bool
	drained   chan struct{} // closed when the addresses are to be let go
	listeners []net.Listener
}

// notice is how long a server that drains says so before it lets go of its
// addresses: long enough for a probe to see it, and then the process that takes
// over is asked.
const notice = 5 * time.Second

// Bind takes the addresses; nothing is served before Serve. Another process may
// hold them too, and is asked no more: a probe that is meant for a process that
// takes over must not be answered by the one that is ready already.
func (s *Server) Bind() error {
	s.drained = make(chan struct{})
	for _, address := range s.Listen {
		listener, err := s.Process.Listen(context.Background(), address, nil)
		if err != nil {
			return fmt.Errorf("--admin-listen: %w", err)
		}
		s.listeners = append(s.listeners, listener)
	}
	return nil
}

// Addrs returns the addresses that Bind took.
func (s *Server) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(s.listeners))
	for i, listener := range s.listeners {
		addrs[i] = listener.Addr().(*net.TCPAddr).AddrPort()
	}
	return addrs
}

// Drain makes the server report not ready from now on, and end soon. It is called at most once.
func (s *Server) Drain() {
	s.draining.Store(true)
	time.AfterFunc(notice, func() { close(s.drained) })
}

// Serve answers until ctx ends, or for a moment after Drain. No error of a
// listener ends it: see package accept.
func (s *Server) Serve(ctx context.Context) {
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	var accepting sync.WaitGroup
	for _, listener := range s.listeners {
		accepting.Go(func() { _ = server.Serve(accept.Retrying(listener, nil)) })
	}
	select {
	case <-ctx.Done():
	case <-s.drained:
	}
	_ = server.Close()
	accepting.Wait()
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.ready()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{}))
	return mux
}

func (s *Server) ready() error {
	if s.draining.Load() {
		return errors.New("draining")
	}
	return s.Ready()
}

// answer says ok, or 503 and why not.
func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(w, err)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}
