//go:build linux

package main

import (
	"os"
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/cmd/usher/admin"
	"github.com/jovalle/usher/proxy/history"
	"github.com/jovalle/usher/proxy/knocks"
	"github.com/jovalle/usher/proxy/routing"
)

// observed is what the admin listener shows besides health and metrics.
type observed struct {
	journal *history.Journal // nil without a proxy, or with --history-size=0
	knocks  knocks.Book
	serving atomic.Pointer[func(host string) []string] // nil without the control plane
}

func (o *observed) setServing(serving func(host string) []string) { o.serving.Store(&serving) }

// latest returns the knocks, with the members that serve the names.
func (o *observed) latest() []knocks.Knock {
	all := o.knocks.Top(maxKnocks)
	if serving := o.serving.Load(); serving != nil {
		for i := range all {
			if all[i].Host != "" {
				all[i].ServedBy = (*serving)(all[i].Host)
			}
		}
	}
	return all
}

// observe opens the history, and lets the proxy record and the admin listener serve what
// can be observed. It must be called before the table is filled.
func (s *settings) observe(table *routing.Live, o *observed, served *admin.Server, log logr.Logger) {
	if !s.proxy {
		return
	}
	s.server.Knocks, served.Knocks = &o.knocks, o.latest
	if s.logFormat == formatJSON {
		s.server.AccessOutput = os.Stderr
	}
	if s.history == 0 {
		return
	}
	o.journal = history.New(history.Options{Dir: s.stateDir, Age: s.historyAge, Size: s.history, Table: table, Log: log.WithName("history")})
	served.History = o.journal.Answer
}
