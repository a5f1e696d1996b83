package history

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jovalle/usher/proxy/routing"
)

// maxChanges is the maximum number of changes in an Answer.
const maxChanges = 10_000

// ErrNone means that a directory has no journal.
var ErrNone = errors.New("there is no history in this directory")

// ErrNotOpen means that a process has not written to its journal yet.
var ErrNotOpen = errors.New("the history is not written yet: usher has just started, or it cannot write to its state directory, as its log says")

// The parameters of a query in a URL: a host, and times in the form of RFC 3339.
const (
	ParamHost  = "host"
	ParamSince = "since"
	ParamAt    = "at"
)

// Query selects what an Answer has.
type Query struct {
	// Host is one host; empty for all.
	Host string
	// Since leaves out what was before.
	Since time.Time
	// At selects the hosts that were public then; zero for changes.
	At time.Time
}

// Answer is a part of the journal.
type Answer struct {
	// From is the time from which on everything is known. What was public before is not.
	From time.Time `json:"from"`
	// Changes are lines of the journal, the oldest first.
	Changes []Line `json:"changes"`
	// Periods are the times in which hosts were public, the oldest first.
	Periods []Period `json:"periods"`
	// Cut means that there are more changes or periods: the oldest are left out.
	Cut bool `json:"cut,omitempty"`
}

// Period is a time in which a host was public in one way.
type Period struct {
	Host string    `json:"host"`
	From time.Time `json:"from"`
	// To is nil while the host is public.
	To *time.Time `json:"to,omitempty"`
	// Before means that the host was public before From already: From is where the
	// journal begins. About means that usher did not run when the period ended or began,
	// so that the times are those at which it noticed.
	Before bool `json:"before,omitempty"`
	About  bool `json:"about,omitempty"`

	By          *routing.Source `json:"by,omitempty"`
	Clusters    []string        `json:"clusters,omitempty"`
	Backends    []string        `json:"backends,omitempty"`
	AllowFrom   []string        `json:"allowFrom,omitempty"`
	Connections uint64          `json:"connections"`
	Requests    uint64          `json:"requests,omitempty"`
}

// Lasted returns how long the period has lasted until now.
func (p *Period) Lasted(now time.Time) time.Duration {
	if p.To != nil {
		now = *p.To
	}
	return now.Sub(p.From)
}

// Read answers a query from the files of a directory, while usher runs or not.
func Read(dir string, q Query) (Answer, error) {
	names := filesIn(dir)
	if len(names) == 0 {
		return Answer{}, ErrNone
	}
	a := newAnswering(q)
	for _, name := range names {
		if err := eachLine(name, a.add); err != nil {
			return Answer{}, err
		}
	}
	stored := readCounts(dir)
	return a.answer(func(host string) counts { return stored.Hosts[host] }), nil
}

// Answer answers a query from the journal of this process. The error is ErrNotOpen until the
// process has written to it.
func (j *Journal) Answer(q Query) (Answer, error) {
	if dir := j.options.Dir; dir != "" {
		answer, err := Read(dir, q)
		if errors.Is(err, ErrNone) {
			err = ErrNotOpen
		}
		return answer, err
	}
	a := newAnswering(q)
	j.memory.mu.Lock()
	lines := slices.Clone(j.memory.lines)
	j.memory.mu.Unlock()
	for _, text := range lines {
		readLine(text, a.add)
	}
	table := j.table.Load()
	return a.answer(func(host string) counts {
		j.mu.Lock()
		total := j.carried[host]
		j.mu.Unlock()
		if route := table.Own(host); isPublic(route) {
			total = total.plus(countsOf(route))
		}
		return total
	}), nil
}

// answering makes an Answer from lines.
type answering struct {
	Query
	Answer
	open map[string]*Period // host → the period that has not ended
	past []*Period
}

func newAnswering(q Query) *answering {
	return &answering{Query: q, open: map[string]*Period{}}
}

// add adds the next line.
func (a *answering) add(l *Line) {
	if a.Answer.From.IsZero() {
		a.Answer.From = l.Time
	}
	if a.Host != "" && l.Host != a.Host && l.Host != "" {
		return
	}
	if l.Event != Held && !l.Time.Before(a.Since) && a.At.IsZero() {
		a.Changes = append(a.Changes, *l)
	}
	if len(a.Changes) > maxChanges {
		a.Changes, a.Cut = slices.Delete(a.Changes, 0, maxChanges/2), true
	}
	p := a.open[l.Host]
	switch l.Event {
	case Exposed, Moved, Changed:
		a.end(p, l)
		a.begin(l, l.Time)
	case Source:
		if p != nil {
			p.By = l.By
		}
	case Held:
		if p == nil {
			p = a.begin(l, l.Time)
			if l.Since != nil {
				p.From = *l.Since
			}
		}
		p.Connections, p.Requests = l.Connections, l.Requests
	case Withdrawn:
		if p != nil {
			p.Connections, p.Requests = l.Connections, l.Requests
		}
		a.end(p, l)
	}
}

func (a *answering) begin(l *Line, from time.Time) *Period {
	p := &Period{Host: l.Host, From: from, Before: l.Event == Held && l.Since == nil, About: l.Away, By: l.By, Clusters: l.Clusters, Backends: l.Backends, AllowFrom: l.AllowFrom}
	a.open[l.Host] = p
	return p
}

func (a *answering) end(p *Period, l *Line) {
	if p == nil {
		return
	}
	p.To, p.About = new(l.Time), p.About || l.Away
	delete(a.open, p.Host)
	if !l.Time.Before(a.Since) {
		a.past = append(a.past, p)
	}
	if len(a.past) > maxChanges {
		a.past, a.Cut = slices.Delete(a.past, 0, maxChanges/2), true
	}
}

// answer returns the answer. Reached returns the counts of a host that is public.
func (a *answering) answer(reached func(host string) counts) Answer {
	all := a.past
	for host, p := range a.open {
		if c := reached(host); c != (counts{}) {
			p.Connections, p.Requests = c.Connections, c.Requests
		}
		all = append(all, p)
	}
	a.Periods = []Period{}
	for _, p := range all {
		if a.At.IsZero() || !p.From.After(a.At) && (p.To == nil || p.To.After(a.At)) {
			a.Periods = append(a.Periods, *p)
		}
	}
	slices.SortFunc(a.Periods, byTime)
	if a.Changes == nil {
		a.Changes = []Line{}
	}
	return a.Answer
}

// Merge returns one answer from those of several processes, which have followed the same
// routing table: the one that knows most, with the connections of all. There must be at
// least one answer.
func Merge(answers []Answer) Answer {
	slices.SortStableFunc(answers, func(a, b Answer) int { return a.From.Compare(b.From) })
	merged := answers[0]
	known := map[string][]int{} // host → the indices of its periods
	for i := range merged.Periods {
		known[merged.Periods[i].Host] = append(known[merged.Periods[i].Host], i)
	}
	for _, other := range answers[1:] {
		for i := range other.Periods {
			p := &other.Periods[i]
			if same := overlapping(merged.Periods, known[p.Host], p); same >= 0 {
				merged.Periods[same].Connections += p.Connections
				merged.Periods[same].Requests += p.Requests
				continue
			}
			known[p.Host] = append(known[p.Host], len(merged.Periods))
			merged.Periods = append(merged.Periods, *p)
		}
	}
	slices.SortFunc(merged.Periods, byTime)
	return merged
}

func byTime(a, b Period) int {
	return cmp.Or(a.From.Compare(b.From), strings.Compare(a.Host, b.Host))
}

// overlapping returns the index of the period of a host that has the most time in common
// with p; -1 if none has.
func overlapping(periods []Period, ofHost []int, p *Period) int {
	best, most := -1, time.Duration(0)
	for _, i := range ofHost {
		if common := inCommon(&periods[i], p); common > most {
			best, most = i, common
		}
	}
	return best
}

// inCommon returns the time that two periods have in common.
func inCommon(a, b *Period) time.Duration {
	from := a.From
	if b.From.After(from) {
		from = b.From
	}
	switch {
	case a.To == nil && b.To == nil:
		return math.MaxInt64
	case a.To == nil || b.To != nil && b.To.Before(*a.To):
		return b.To.Sub(from)
	}
	return a.To.Sub(from)
}
