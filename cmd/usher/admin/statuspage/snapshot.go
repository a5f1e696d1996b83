package statuspage

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/proxy/routing"
)

const (
	// sampleEvery is the time between two readings of the counters, and of the state. It
	// bounds what the page costs, whatever changes and however many look.
	sampleEvery = time.Second

	// maxSampleAge is how old the last reading may be for a rate.
	maxSampleAge = 30 * time.Second
)

// snapshot is the state that the pages show. The server's mutex guards it.
type snapshot struct {
	changes uint64 // of the objects when they were read
	table   *routing.Table
	rows    []*row // by host
	byHost  map[string]*row
	members []*member
	counts  map[string]int // state → hosts
	problem string         // why the objects are not known

	sampled       time.Time
	open          int64
	up, down      meter
	clusterMeters map[string]*[2]meter // member → up and down
	accepted      uint64
	turnedAway    uint64
	counted       bool // the proxy counts
}

// refresh brings the snapshot up to date, at most once in sampleEvery.
func (s *Server) refresh(ctx context.Context, now time.Time) {
	if !s.state.sampled.IsZero() && now.Sub(s.state.sampled) < sampleEvery {
		return
	}
	table := s.table()
	if changes := s.changes(); s.state.byHost == nil || changes != s.state.changes || table != s.state.table || s.state.problem != "" {
		s.read(ctx, changes, table)
	}
	s.sample(now)
}

func (s *Server) table() *routing.Table {
	if s.Table == nil {
		return nil
	}
	return s.Table.Load()
}

func (s *Server) changes() uint64 {
	if s.Objects == nil {
		return 0
	}
	return s.Objects.Changes()
}

// read makes new rows and members, with the counters of the rows before.
func (s *Server) read(ctx context.Context, changes uint64, table *routing.Table) {
	before := s.state.byHost
	st := &s.state
	st.changes, st.table, st.problem = changes, table, ""
	st.rows, st.members, st.byHost = nil, nil, map[string]*row{}
	add := func(r *row) {
		if st.byHost[r.host] != nil {
			return
		}
		r.finish(table)
		if was := before[r.host]; was != nil && was.reached != nil && r.reached != nil && was.reached.Traffic == r.reached.Traffic {
			r.up, r.down = was.up, was.down
		} else {
			r.up.rate, r.down.rate = -1, -1
		}
		st.rows = append(st.rows, r)
		st.byHost[r.host] = r
	}
	known := false
	if s.Objects != nil {
		hosts, clusters, err := s.Objects.Read(ctx)
		if known = err == nil; !known {
			st.problem = message.Of(err)
		}
		for i := range hosts {
			add(rowOf(&hosts[i]))
		}
		for i := range clusters {
			st.members = append(st.members, memberOf(&clusters[i]))
		}
	}
	if !known {
		for route := range table.All() {
			add(rowOfRoute(route))
		}
	}
	slices.SortFunc(st.rows, func(a, b *row) int { return strings.Compare(a.host, b.host) })
	slices.SortFunc(st.members, func(a, b *member) int { return cmp.Compare(a.Name, b.Name) })
	st.counts = map[string]int{}
	for _, r := range st.rows {
		st.counts[r.state]++
	}
}

// sample reads the counters.
func (s *Server) sample(now time.Time) {
	st := &s.state
	seconds := now.Sub(st.sampled).Seconds()
	if st.sampled.IsZero() || now.Sub(st.sampled) > maxSampleAge {
		seconds = 0
	}
	st.sampled = now
	for _, r := range st.rows {
		r.sample(seconds)
	}
	if st.counted = s.Totals != nil; !st.counted {
		return
	}
	totals := s.Totals()
	st.open, st.accepted, st.turnedAway = totals.Open, totals.Accepted, totals.Refused
	st.up.sample(totals.Up, seconds)
	st.down.sample(totals.Down, seconds)
	meters := make(map[string]*[2]meter, len(st.members))
	for _, m := range st.members {
		rates, sum := st.clusterMeters[m.Name], totals.Clusters[m.Name]
		since := seconds
		if rates == nil {
			rates, since = new([2]meter), 0
		}
		rates[0].sample(sum.Up, since)
		rates[1].sample(sum.Down, since)
		meters[m.Name] = rates
		m.Open, m.up, m.down = sum.Open, rates[0], rates[1]
	}
	st.clusterMeters = meters
}

// names returns the clusters that the hosts can be filtered by.
func (st *snapshot) names() []string {
	names := map[string]bool{}
	for _, m := range st.members {
		names[m.Name] = true
	}
	if len(st.members) == 0 {
		for _, r := range st.rows {
			for _, name := range r.clusters {
				names[name] = true
			}
			if len(names) >= maxFilters {
				break
			}
		}
	}
	all := make([]string, 0, len(names))
	for name := range names {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// maxFilters is the maximum number of clusters to filter by, if the members are not known.
const maxFilters = 100
