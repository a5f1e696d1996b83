package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/jovalle/usher/proxy/history"
	"github.com/jovalle/usher/proxy/routing"
)

const (
	// maxExplaining bounds the explanations in progress: each may dial backends.
	maxExplaining = 4
	// whyTimeout bounds one explanation.
	whyTimeout = 15 * time.Second
)

// why returns the handler that answers what this process knows of a host. Requests beyond
// maxExplaining wait.
func (s *Server) why() http.HandlerFunc {
	slots := make(chan struct{}, maxExplaining)
	return func(w http.ResponseWriter, r *http.Request) {
		host, err := routing.ParseHost(r.URL.Query().Get(history.ParamHost))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), whyTimeout)
		defer cancel()
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			http.Error(w, "too many explanations are being made", http.StatusTooManyRequests)
			return
		}
		facts, err := s.Why(ctx, host)
		<-slots
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeJSON(w, facts)
	}
}
