//go:build linux

package main

import (
	"context"
	"os"
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/cmd/usher/admin"
	"github.com/jovalle/usher/cmd/usher/admin/access"
	"github.com/jovalle/usher/cmd/usher/admin/statuspage"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/explain"
	"github.com/jovalle/usher/proxy/history"
	"github.com/jovalle/usher/proxy/knocks"
	"github.com/jovalle/usher/proxy/routing"
	"github.com/jovalle/usher/proxy/selfaddr"
)

// observed is what the admin listener shows besides health and metrics.
type observed struct {
	objects controllers.Objects
	journal *history.Journal // nil without a proxy, or with --history-size=0
	knocks  knocks.Book
	serving atomic.Pointer[func(host string) []string] // nil without the control plane
	audit   atomic.Pointer[controllers.Audit]          // nil without the control plane
	facts   atomic.Pointer[controllers.HostFacts]      // nil without the control plane
}

func (o *observed) setFacts(facts controllers.HostFacts) { o.facts.Store(&facts) }

func (o *observed) setServing(serving func(host string) []string) { o.serving.Store(&serving) }

// servedBy returns the members whose objects name a host and do not publish it.
func (o *observed) servedBy(host string) []string {
	if serving := o.serving.Load(); serving != nil {
		return (*serving)(host)
	}
	return nil
}

func (o *observed) setAudit(audit controllers.Audit) { o.audit.Store(&audit) }

// auditor returns the function that audits; nil before the control plane was set up.
func (o *observed) auditor() controllers.Audit {
	if audit := o.audit.Load(); audit != nil {
		return *audit
	}
	return nil
}

// latest returns the knocks, with the members that serve the names.
func (o *observed) latest() []knocks.Knock {
	all := o.knocks.Top(maxKnocks)
	for i := range all {
		if all[i].Host != "" {
			all[i].ServedBy = o.servedBy(all[i].Host)
		}
	}
	return all
}

// protect has the admin listener ask the API server who may read, with --admin-auth=kubernetes.
func (s *settings) protect(served *admin.Server, log logr.Logger) error {
	if s.adminAuth != adminAuthKubernetes {
		return nil
	}
	control, err := access.New(s.edge, log.WithName("admin"))
	if err != nil {
		return badFlag("admin-auth", "%w", err)
	}
	served.Protect = control.Protect
	return nil
}

// observe opens the history, and lets the proxy record and the admin listener serve what
// can be observed. It must be called before the table is filled.
func (s *settings) observe(table *routing.Live, self *selfaddr.Set, o *observed, served *admin.Server, log logr.Logger) {
	page := &statuspage.Server{Version: version, Serving: o.servedBy}
	served.Page = page
	if s.controllers {
		served.Doctor = o.auditor
	}
	if s.manifests == "" {
		page.Objects = &o.objects
	}
	why := &whyFacts{looks: o, manifests: s.manifests != "", ready: served.Ready}
	served.Why = why.of
	page.Why = func(ctx context.Context, host string) (explain.Explanation, error) {
		facts, err := why.of(ctx, host)
		return explain.Of(host, facts), err
	}
	if !s.proxy {
		return
	}
	why.table, why.own = table, self.Reaches
	page.Table, page.Totals, page.Knocks = table, s.server.Totals, o.latest
	s.server.Knocks, served.Knocks = &o.knocks, o.latest
	if s.logFormat == formatJSON {
		s.server.AccessOutput = os.Stderr
	}
	if s.history == 0 {
		return
	}
	o.journal = history.New(history.Options{Dir: s.stateDir, Age: s.historyAge, Size: s.history, Table: table, Log: log.WithName("history")})
	served.History = o.journal.Answer
	page.Latest, page.History = o.journal.Latest, o.journal.Answer
}
