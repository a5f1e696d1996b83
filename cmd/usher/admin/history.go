package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jovalle/usher/proxy/history"
)

// serveHistory answers a query of the history, one at a time: others get 429.
func (s *Server) serveHistory(w http.ResponseWriter, r *http.Request) {
	if !s.reading.TryLock() {
		http.Error(w, "the history is being read for another request", http.StatusTooManyRequests)
		return
	}
	defer s.reading.Unlock()
	values := r.URL.Query()
	query := history.Query{Host: values.Get(history.ParamHost)}
	for name, at := range map[string]*time.Time{history.ParamSince: &query.Since, history.ParamAt: &query.At} {
		text := values.Get(name)
		if text == "" {
			continue
		}
		var err error
		if *at, err = time.Parse(time.RFC3339, text); err != nil {
			http.Error(w, fmt.Sprintf("%s: %q is no time such as 2026-11-24T10:00:00Z", name, text), http.StatusBadRequest)
			return
		}
	}
	answer, err := s.History(query)
	switch {
	case errors.Is(err, history.ErrNotOpen):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, answer)
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the client has gone
}
