package statuspage

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/explain"
	"github.com/jovalle/usher/proxy/eventloop"
	"github.com/jovalle/usher/proxy/history"
	"github.com/jovalle/usher/proxy/knocks"
	"github.com/jovalle/usher/proxy/routing"
)

// Objects are ExposedHosts and MemberClusters: *controllers.Objects, or a fixed list in tests.
// They must not be changed.
type Objects interface {
	// Changes returns a number that is another one after each change.
	Changes() uint64
	// Read returns all objects.
	Read(context.Context) ([]v1alpha1.ExposedHost, []v1alpha1.MemberCluster, error)
	// Host returns the ExposedHost of a host, or nil.
	Host(ctx context.Context, host string) (*v1alpha1.ExposedHost, error)
}

// Server serves the status page. What is nil is not shown, and the page says so.
type Server struct {
	// Version of usher.
	Version string
	// Objects of the edge cluster.
	Objects Objects
	// Table is the routing table of the proxy in this process.
	Table *routing.Live
	// Totals are the counts of the proxy's connections.
	Totals func() eventloop.Totals
	// Knocks are the names that refused clients asked for.
	Knocks func() []knocks.Knock
	// Latest are the latest lines of the history, the oldest first.
	Latest func() []history.Line
	// History answers a query of the history. It may read files.
	History func(history.Query) (history.Answer, error)
	// Serving returns the members whose objects name a host and do not publish it.
	Serving func(host string) []string
	// Why explains a host: it is asked once in 30 seconds, or after a change.
	Why func(ctx context.Context, host string) (explain.Explanation, error)
	// Draining is closed when the streams of events have to end. It must not be nil.
	Draining <-chan struct{}

	mu    sync.Mutex
	state snapshot

	reading sync.Mutex      // held while the history is read
	past    map[string]past // host → its history

	explanations map[string]explained // host → its explanation; mu guards it
	explaining   chan struct{}        // has a place for each that is being made

	fragments map[string]rendered // query of a stream → what it has got; mu guards it

	streams chan struct{}
	once    sync.Once
}

const (
	// maxStreams is the maximum number of streams of events.
	maxStreams = 16
	// writeTimeout is how long a client may take to receive a page, or an event.
	writeTimeout = 20 * time.Second
)

// policy lets the page load its own files, and nothing else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

// Register registers the pages.
func (s *Server) Register(mux *http.ServeMux) {
	s.once.Do(func() {
		s.streams, s.explaining = make(chan struct{}, maxStreams), make(chan struct{}, maxExplaining)
	})
	mux.HandleFunc("GET /{$}", s.serveList)
	mux.HandleFunc("GET /hosts/{host}", s.serveHost)
	mux.HandleFunc("GET /events", s.serveEvents)
	for _, file := range files {
		mux.Handle("GET /static/"+file.name, file)
	}
}

// serveList serves the page of all hosts.
func (s *Server) serveList(w http.ResponseWriter, r *http.Request) {
	s.write(w, http.StatusOK, "list.html", s.list(r.Context(), r.URL.Query(), time.Now()))
}

// serveHost serves the page of one host.
func (s *Server) serveHost(w http.ResponseWriter, r *http.Request) {
	host, err := routing.ParseHost(r.PathValue("host"))
	if err != nil {
		http.Error(w, "that is no host name", http.StatusBadRequest)
		return
	}
	page := s.host(r.Context(), host, time.Now())
	status := http.StatusOK
	if page.Row == nil {
		status = http.StatusNotFound
	}
	s.write(w, status, "host.html", page)
}

// write renders a page, and then sends it. Nothing is locked while a client receives it.
func (s *Server) write(w http.ResponseWriter, status int, name string, page any) {
	var body bytes.Buffer
	if err := pageTemplates.ExecuteTemplate(&body, name, page); err != nil {
		http.Error(w, "the page cannot be rendered", http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(body.Len()))
	header.Set("Content-Security-Policy", policy)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the client has gone
}

// rendered is what fragment has made at a time.
type rendered struct {
	at   time.Time
	body []byte
}

// shared returns the parts of a page that change. Streams that show the same share what one
// of them has made within a second.
func (s *Server) shared(ctx context.Context, values url.Values, now time.Time) ([]byte, error) {
	key := values.Encode()
	s.mu.Lock()
	known, found := s.fragments[key]
	s.mu.Unlock()
	if found && now.Sub(known.at) < eventEvery {
		return known.body, nil
	}
	body, err := s.fragment(ctx, values, now)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.fragments) >= maxStreams || s.fragments == nil {
		s.fragments = map[string]rendered{}
	}
	s.fragments[key] = rendered{now, body}
	return body, nil
}

// fragment renders the parts of a page that change: of one host if a host is given.
func (s *Server) fragment(ctx context.Context, values url.Values, now time.Time) ([]byte, error) {
	var body bytes.Buffer
	var err error
	if host := values.Get(paramHost); host != "" {
		err = pageTemplates.ExecuteTemplate(&body, "host-live", s.host(ctx, host, now))
	} else {
		err = pageTemplates.ExecuteTemplate(&body, "list-live", s.list(ctx, values, now))
	}
	return body.Bytes(), err
}
