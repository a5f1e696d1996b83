package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/doctor"
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
	if text := values.Get(doctor.ParamFor); text != "" {
		given, err := time.ParseDuration(text)
		if err != nil || given <= 0 || given > maxDoctorTime {
			http.Error(w, fmt.Sprintf("%s: %q is no duration of at most %s", doctor.ParamFor, text, maxDoctorTime), http.StatusBadRequest)
			return
		}
		limit = given
	}
	if len(values[doctor.ParamHost]) > maxDoctorHosts {
		http.Error(w, fmt.Sprintf("at most %d hosts can be named", maxDoctorHosts), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	report, err := audit(ctx, values[doctor.ParamHost])
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
