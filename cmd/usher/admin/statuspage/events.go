package statuspage

import (
	"bytes"
	"hash/fnv"
	"net/http"
	"time"

	"github.com/jovalle/usher/proxy/routing"
)

const (
	// eventEvery is the shortest time between two events of a stream.
	eventEvery = time.Second
	// pingAfter is how long a stream is silent at most, so that a client that has gone is noticed.
	pingAfter = 15 * time.Second
	// maxStream is how long a stream lasts: the browser opens the next one, and must still
	// be allowed to.
	maxStream = 10 * time.Minute
)

// serveEvents sends the parts of a page that change: at once, and after each change. A
// client that does not receive them in time is disconnected; nothing waits for it.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	if host := values.Get(paramHost); host != "" {
		parsed, err := routing.ParseHost(host)
		if err != nil {
			http.Error(w, "that is no host name", http.StatusBadRequest)
			return
		}
		values.Set(paramHost, parsed)
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	connection := http.NewResponseController(w)
	send := func(text []byte) bool {
		_ = connection.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, err := w.Write(text) //nolint:gosec // G705: html/template has escaped it
		return err == nil && connection.Flush() == nil
	}
	ticker := time.NewTicker(eventEvery)
	defer ticker.Stop()
	end := time.After(maxStream)
	var sent uint64 // the hash of the last event
	var sentAt time.Time
	for {
		now := time.Now()
		fragment, err := s.shared(r.Context(), values, now)
		if err != nil {
			return
		}
		if sum := hashOf(fragment); sum != sent {
			if !send(event(fragment)) {
				return
			}
			sent, sentAt = sum, now
		} else if now.Sub(sentAt) >= pingAfter {
			if !send([]byte(": ping\n\n")) {
				return
			}
			sentAt = now
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.Draining:
			return
		case <-end:
			return
		case <-ticker.C:
		}
	}
}

func hashOf(data []byte) uint64 {
	sum := fnv.New64a()
	_, _ = sum.Write(data)
	return sum.Sum64()
}

// event returns an event with a text in one line: HTML reads a line break as a space.
func event(text []byte) []byte {
	text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r"), nil), []byte("\n"), []byte(" "))
	return append(append([]byte("data: "), text...), "\n\n"...)
}
