package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jovalle/usher/controllers"
)

// Names of the parameters of /doctor.
const (
	// ParamHost is a host to audit; may be given several times. None: all of them.
	ParamHost = "host"
	// ParamFor is how long the audit may take, such as 30s.
	ParamFor = "for"
)

const (
	maxDoctorHosts = 256
	// maxDoctorTime bounds an audit, and is how long it may take if nothing is said.
	maxDoctorTime = 30 * time.Minute
)

// serveDoctor audits hosts, and answers with the report. It answers 404 if another process
// leads: that one audits.
func (s *Server) serveDoctor(w http.ResponseWriter, r *http.Request) {
	audit := s.Doctor()
	if audit == nil {
		http.Error(w, controllers.ErrNotLeading.Error(), http.StatusNotFound)
		return
	}
	values := r.URL.Query()
	limit := maxDoctorTime
	if text := values.Get(ParamFor); text != "" {
		given, err := time.ParseDuration(text)
		if err != nil || given <= 0 || given > maxDoctorTime {
			http.Error(w, fmt.Sprintf("%s: %q is no duration of at most %s", ParamFor, text, maxDoctorTime), http.StatusBadRequest)
			return
		}
		limit = given
	}
	if len(values[ParamHost]) > maxDoctorHosts {
		http.Error(w, fmt.Sprintf("at most %d hosts can be named", maxDoctorHosts), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	report, err := audit(ctx, values[ParamHost])
	switch {
	case errors.Is(err, controllers.ErrNotLeading):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.Is(err, controllers.ErrAuditing):
		http.Error(w, err.Error(), http.StatusTooManyRequests)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		writeJSON(w, report)
	}
}
