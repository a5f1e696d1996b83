// Package admin serves health, readiness, metrics, refused names, the history, audits and the
// status page of both the control plane and the data plane. It has no authentication unless it
// is given one: its addresses belong in the operator's network, never on the internet.
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

	"github.com/jovalle/usher/cmd/usher/admin/statuspage"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/explain"
	"github.com/jovalle/usher/proxy/accept"
	"github.com/jovalle/usher/proxy/history"
	"github.com/jovalle/usher/proxy/knocks"
	"github.com/jovalle/usher/proxy/takeover"
)

// Server serves /healthz, /readyz, /metrics, /knocks, /history, /doctor, /why and the status page.
type Server struct {
	// Listen are the addresses to serve on, such as "127.0.0.1:8080".
	Listen []string
	// Process lets another process of the same service take over the addresses; if it
	// is nil, they are not shared.
	Process *takeover.Process
	// Ready returns an error that says why usher is not ready, or nil.
	Ready func() error
	// Metrics are served at /metrics.
	Metrics prometheus.Gatherer
	// Knocks are served at /knocks; nil: they are not.
	Knocks func() []knocks.Knock
	// History is served at /history; nil: it is not.
	History func(history.Query) (history.Answer, error)
	// Why is served at /why; nil: it is not.
	Why func(ctx context.Context, host string) (explain.Facts, error)
	// Page is served at / and below; nil: it is not. Bind sets its Draining.
	Page *statuspage.Server
	// Hosts are names of this address, in lower case, besides IP addresses, localhost and
	// names that public DNS does not have. Requests for other names are refused.
	Hosts []string
	// Protect, if not nil, lets only those through to everything but health and readiness
	// who may ask.
	Protect func(http.Handler) http.Handler
	// Doctor is served at /doctor; nil: it is not.
	Doctor func() controllers.Audit

	reading   sync.Mutex // held while the history is read, which may take a second
	draining  atomic.Bool
	drains    chan struct{} // closed by Drain
	drained   chan struct{} // closed when Serve must close the listeners
	listeners []net.Listener
}

// drainNotice is how long a draining server answers "draining" before it closes its
// listeners. It is long enough for a probe to see it. After that, probes reach the
// process that takes over.
const drainNotice = 5 * time.Second

// Bind listens on the addresses; nothing is served before Serve. Another process of
// the service may listen on them, too: it receives no new connections from then on,
// since it is ready already and must not answer the probes of the process that takes
// over.
func (s *Server) Bind() error {
	s.drains, s.drained = make(chan struct{}), make(chan struct{})
	if s.Page != nil {
		s.Page.Draining = s.drains
	}
	for _, address := range s.Listen {
		listener, err := s.Process.Listen(context.Background(), address, nil)
		if err != nil {
			return fmt.Errorf("--admin-listen: %w", err)
		}
		s.listeners = append(s.listeners, listener)
	}
	return nil
}

// Addrs returns the addresses that Bind listens on.
func (s *Server) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(s.listeners))
	for i, listener := range s.listeners {
		addrs[i] = listener.Addr().(*net.TCPAddr).AddrPort()
	}
	return addrs
}

// Drain makes the server report not ready from now on, and makes Serve return 5 s later. It must be called at most once.
func (s *Server) Drain() {
	s.draining.Store(true)
	close(s.drains)
	time.AfterFunc(drainNotice, func() { close(s.drained) })
}

// Serve answers requests until ctx ends, or until 5 s after Drain. An error of a
// listener does not end it: see package accept.
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
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { writeHealth(w, s.ready()) })
	private := http.NewServeMux()
	private.Handle("GET /metrics", promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{}))
	if s.Knocks != nil {
		private.HandleFunc("GET /knocks", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Knocks()) })
	}
	if s.History != nil {
		private.HandleFunc("GET /history", s.serveHistory)
	}
	if s.Doctor != nil {
		private.HandleFunc("GET /doctor", s.serveDoctor)
	}
	if s.Why != nil {
		private.Handle("GET /why", s.why())
	}
	if s.Page != nil {
		s.Page.Register(private)
	}
	var protected http.Handler = private
	if s.Protect != nil {
		protected = s.Protect(protected)
	}
	mux.Handle("/", s.guard(protected))
	return mux
}

func (s *Server) ready() error {
	if s.draining.Load() {
		return errors.New("draining")
	}
	return s.Ready()
}

// writeHealth answers 200 and ok, or 503 and the error.
func writeHealth(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(w, err)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}
