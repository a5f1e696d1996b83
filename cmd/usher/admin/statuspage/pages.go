package statuspage

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/explain"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/proxy/history"
	"github.com/jovalle/usher/proxy/knocks"
)

const (
	// maxShownKnocks, maxShownLines and maxPeriods bound the lists of a page.
	maxShownKnocks = 50
	maxShownLines  = 30
	maxPeriods     = 50
	// historyEvery is the shortest time between two readings of the history for hosts' pages.
	historyEvery = 5 * time.Second
)

// common is what all pages have.
type common struct {
	Version string
	Title   string
	Root    string // the relative URL of the list
	Events  string // the relative URL of the events
	Now     time.Time
	Notes   []string // what this process does not know
}

// listPage is the page of all hosts.
type listPage struct {
	common
	Query    query
	Counts   map[string]int
	All      int // hosts
	Matching int
	Rows     []rowView
	Pages    int
	First    int // number of the first row
	Names    []string
	Members  []memberView
	InSync   int
	Totals   *totalsView
	Knocks   []knocks.Knock
	History  []history.Line
	Knows    struct{ Members, Knocks, History bool }
}

// column is a column of the list.
type column struct {
	common
	Query                query
	Column, Label, Class string
}

// Columns returns the columns of the list.
func (p *listPage) Columns() []column {
	all := []column{
		{Column: "host", Label: "Host"}, {Column: "state", Label: "State"}, {Column: "cluster", Label: "Cluster"},
		{Column: "source", Label: "Source"}, {Column: "open", Label: "Connections", Class: "number"},
		{Column: "rate", Label: "Throughput", Class: "number"}, {Column: "since", Label: "Since", Class: "number"},
	}
	for i := range all {
		all[i].common, all[i].Query = p.common, p.Query
	}
	return all
}

// rowView is a host as the page shows it.
type rowView struct {
	Host, Cluster, Source, State, Reason, Message, Advice string
	Rival, RivalFor                                       string
	More                                                  int
	Since                                                 time.Time
	Counted                                               bool
	Open                                                  int64
	Up, Down                                              float64 // bytes a second; -1: not known
}

func (r *row) view() rowView {
	return rowView{
		Host: r.host, Cluster: message.Bound(r.cluster), Source: r.source, State: r.state, Reason: r.reason, Message: message.Bound(r.message),
		Advice: advice[r.reason], Rival: r.rival, RivalFor: r.rivalFor, More: r.more, Since: r.since, Counted: r.reached != nil, Open: r.open, Up: r.up.rate, Down: r.down.rate,
	}
}

// memberView is a member as the page shows it.
type memberView struct {
	member
	Up, Down float64
	Counted  bool
}

// totalsView are the connections of the proxy.
type totalsView struct {
	Open              int64
	Up, Down          float64
	Accepted, Refused uint64
}

// notes says what this process cannot show. The caller holds the mutex.
func (s *Server) notes() []string {
	var notes []string
	switch {
	case s.Objects == nil:
		notes = append(notes, "This usher serves manifests and has no controllers: there are no member clusters, and the page shows the routes.")
	case s.state.problem != "" && s.Table != nil:
		notes = append(notes, "The edge cluster is not known: "+s.state.problem+". The page shows the routes that the proxy serves.")
	case s.state.problem != "":
		notes = append(notes, "The edge cluster is not known: "+s.state.problem+".")
	}
	if s.Table == nil {
		notes = append(notes, "This process runs only the controllers: connections, knocks and history are on the pages of the processes that run the proxy.")
	} else if s.Latest == nil {
		notes = append(notes, "There is no history: usher runs with --history-size=0.")
	}
	return notes
}

// list returns the page of all hosts.
func (s *Server) list(ctx context.Context, values url.Values, now time.Time) *listPage {
	p := &listPage{common: common{Version: s.Version, Root: "./", Events: "events", Now: now}, Query: parseQuery(values)}
	s.fillHosts(ctx, p, now)
	p.Knows.Knocks, p.Knows.History = s.Knocks != nil, s.Latest != nil
	if s.Knocks != nil {
		p.Knocks = s.Knocks()
		p.Knocks = p.Knocks[:min(len(p.Knocks), maxShownKnocks)]
	}
	if s.Latest != nil {
		lines := s.Latest()
		p.History = lines[max(0, len(lines)-maxShownLines):]
		slices.Reverse(p.History)
	}
	return p
}

// fillHosts sets what the snapshot has.
func (s *Server) fillHosts(ctx context.Context, p *listPage, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(ctx, now)
	st := &s.state
	p.Notes = s.notes()
	p.Counts, p.All = st.counts, len(st.rows)
	rows, total := p.Query.choose(st.rows)
	p.Matching, p.Pages, p.First = total, pages(total), (p.Query.Page-1)*rowsPerPage+1
	for _, r := range rows {
		p.Rows = append(p.Rows, r.view())
	}
	p.Names = st.names()
	p.Knows.Members = s.Objects != nil && st.problem == ""
	for _, m := range st.members {
		p.Members = append(p.Members, memberView{*m, m.up.rate, m.down.rate, st.counted})
		if m.InSync {
			p.InSync++
		}
	}
	if st.counted {
		p.Totals = &totalsView{st.open, st.up.rate, st.down.rate, st.accepted, st.turnedAway}
	}
}

// hostPage is the page of one host.
type hostPage struct {
	common
	Host       string
	Row        *rowView // nil: no object and no route
	Wildcard   bool
	Why        *explain.Explanation
	WhyNot     string // why there is no explanation
	Facts      []fact
	Conditions []metav1.Condition
	Sources    []v1alpha1.SourceRef
	Rivals     []v1alpha1.Rival
	Serving    []string // members that serve it without the annotation
	Knock      *knocks.Knock
	Periods    []history.Period
	From       time.Time // since when the history is complete
	Cut        bool
	Problem    string // why there is no history
	Knows      struct{ Knocks, History bool }
}

// fact is a line of the page of a host.
type fact struct {
	Name   string
	Values []string
}

// host returns the page of a host, which is canonical.
func (s *Server) host(ctx context.Context, host string, now time.Time) *hostPage {
	p := &hostPage{
		common: common{Version: s.Version, Title: host, Root: "../", Events: "../events?" + url.Values{paramHost: {host}}.Encode(), Now: now},
		Host:   host, Wildcard: strings.HasPrefix(host, "*."),
	}
	s.fillHost(ctx, p, now)
	if s.Objects != nil {
		if eh, err := s.Objects.Host(ctx, host); err == nil && eh != nil {
			p.describe(eh)
		}
	}
	if s.Why != nil {
		made := s.explain(ctx, host, now)
		p.Why, p.WhyNot = made.value, made.problem
	}
	if s.Serving != nil && p.Row == nil {
		p.Serving = s.Serving(host)
	}
	if p.Knows.Knocks = s.Knocks != nil; p.Knows.Knocks {
		all := s.Knocks()
		if at := slices.IndexFunc(all, func(k knocks.Knock) bool { return k.Host == host }); at >= 0 {
			p.Knock = &all[at]
		}
	}
	if p.Knows.History = s.History != nil && s.Latest != nil; p.Knows.History {
		s.fillHistory(p, now)
	}
	return p
}

func (s *Server) fillHost(ctx context.Context, p *hostPage, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh(ctx, now)
	p.Notes = s.notes()
	if r := s.state.byHost[p.Host]; r != nil {
		p.Row = new(r.view())
	}
}

// describe sets what the object of the host says.
func (p *hostPage) describe(eh *v1alpha1.ExposedHost) {
	add := func(name string, values ...string) {
		values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
		if len(values) > 0 {
			p.Facts = append(p.Facts, fact{name, values})
		}
	}
	add("Connections go to", eh.Status.Backends...)
	add("Holder", eh.Spec.Holder)
	if len(eh.Spec.Backends) > 1 {
		add("Strategy", cmp.Or(string(eh.Spec.Strategy), string(v1alpha1.StrategyFailover)))
	}
	add("Ports", eh.Spec.Ports...)
	add("TLS", string(eh.Spec.TLS))
	add("Plain HTTP", string(eh.Spec.PlainHTTP))
	from := eh.Spec.AllowFrom
	if len(from) == 0 {
		from = []string{"everyone"}
	}
	add("Who may connect", from...)
	add("Except", eh.Spec.Except...)
	for _, record := range eh.Status.DNS {
		add("DNS "+string(record.View), record.Type+" "+strings.Join(record.Targets, " "))
	}
	p.Conditions = slices.Clone(eh.Status.Conditions)
	p.Sources, p.Rivals = eh.Status.Sources, eh.Status.Rivals
}

// past is what the history says of a host.
type past struct {
	newest time.Time // of the latest lines about the host
	read   time.Time
	answer history.Answer
	err    error
}

// fillHistory sets the times in which the host was public. The history may be long: it is
// read for one page at a time, and again only if it has changed or is a minute old.
func (s *Server) fillHistory(p *hostPage, now time.Time) {
	if !s.reading.TryLock() {
		p.Problem = "it is being read for another page"
		return
	}
	defer s.reading.Unlock()
	var newest time.Time
	for _, line := range s.Latest() {
		if line.Host == p.Host {
			newest = line.Time
		}
	}
	known := s.past[p.Host]
	age := now.Sub(known.read)
	if age > time.Minute || age > historyEvery && !known.newest.Equal(newest) {
		known = past{newest: newest, read: now}
		known.answer, known.err = s.History(history.Query{Host: p.Host})
		s.remember(p.Host, known)
	}
	if known.err != nil {
		p.Problem = message.Of(known.err)
		return
	}
	p.From, p.Cut = known.answer.From, known.answer.Cut
	p.Periods = slices.Clone(known.answer.Periods)
	slices.Reverse(p.Periods)
	p.Periods = p.Periods[:min(len(p.Periods), maxPeriods)]
}

// remember keeps the history of a host, and forgets the one that was read first if there
// are too many.
func (s *Server) remember(host string, known past) {
	if s.past == nil {
		s.past = map[string]past{}
	}
	s.past[host] = known
	if len(s.past) <= maxStreams {
		return
	}
	oldest := host
	for name, p := range s.past {
		if p.read.Before(s.past[oldest].read) {
			oldest = name
		}
	}
	delete(s.past, oldest)
}
