package history

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"

	"github.com/jovalle/usher/proxy/routing"
)

const (
	// settle is how long changes wait, so that one write and one sync are enough for
	// many, and the status of a host can follow its spec.
	settle = 250 * time.Millisecond

	// retryAfter is the pause after a write that failed.
	retryAfter = 10 * time.Second

	// inUseRetry is the pause before the files are opened again that another process uses.
	inUseRetry = time.Second

	// countsEvery is how often the counts of connections are stored.
	countsEvery = time.Minute

	// maxLatest is how many lines Latest returns.
	maxLatest = 100

	// maxPending is the maximum number of changes that wait to be written.
	maxPending = 1 << 16

	// The changes of one cluster that are recorded: at once, and a day.
	clusterBurst  = 20_000
	clusterPerDay = 20_000
)

// Journal records what is public. Create it with New.
type Journal struct {
	log   logr.Logger
	table *routing.Live

	options Options
	memory  memory

	store *store // set by start
	burst int    // clusterBurst, except in tests

	// Only Run uses these.
	public    map[string]*host // host → what the journal says of it, if that is public
	limits    map[string]*rate.Limiter
	dropped   map[string]uint64 // cluster → changes without a line
	first     *routing.Table    // the first table, set before Run
	unwritten []byte            // lines that could not be written
	failing   bool

	mu       sync.Mutex
	pending  []change
	overflow uint64 // changes that did not fit into pending
	wake     chan struct{}
	carried  map[string]counts // host → what routes that are gone have counted
	latest   []Line            // the last lines, the oldest first
}

// host is a public host.
type host struct {
	state Line // how it is served
	since time.Time
	past  counts // before the current process
}

type counts struct {
	Connections uint64 `json:"connections"`
	Requests    uint64 `json:"requests,omitempty"`
}

func (c counts) plus(o counts) counts {
	return counts{c.Connections + o.Connections, c.Requests + o.Requests}
}

// change is a new route of a host; route is nil if it has none any more.
type change struct {
	at    time.Time
	host  string
	route *routing.Route
}

// Options are the options of a Journal.
type Options struct {
	// Dir is the state directory. If it is empty, the journal is in memory, and bounded
	// to 4096 lines.
	Dir string
	// Age and Size bound the journal: lines older than Age, and the oldest lines if there
	// are more than Size bytes, are removed, a file at a time.
	Age  time.Duration
	Size int64
	// Table is what the journal follows. New sets its field Changed.
	Table *routing.Live
	// Log gets each change as well.
	Log logr.Logger
}

// New returns a journal. Changes of the table are recorded from now on, and written when
// Run runs.
func New(o Options) *Journal {
	j := &Journal{
		options: o, log: o.Log, table: o.Table, public: map[string]*host{}, limits: map[string]*rate.Limiter{},
		burst: clusterBurst, dropped: map[string]uint64{}, wake: make(chan struct{}, 1), carried: map[string]counts{},
	}
	o.Table.Changed = j.changed
	return j
}

// start opens the files, and reads what was public when the journal ended. It returns
// errInUse while another process writes the journal: one that drains.
func (j *Journal) start() error {
	store, err := openStore(j.options, &j.memory)
	if err != nil {
		return err
	}
	if err := store.each(store.current(), j.replay); err != nil {
		store.close()
		return err
	}
	past := store.readCounts()
	for name, h := range j.public {
		if c, found := past.Hosts[name]; found {
			h.past = c
		}
	}
	j.store = store
	return nil
}

// startWhenPossible calls start until it succeeds. It returns false if ctx ends before.
func (j *Journal) startWhenPossible(ctx context.Context) bool {
	for logged := false; ; {
		err := j.start()
		if err == nil {
			return true
		}
		wait := inUseRetry
		if !errors.Is(err, errInUse) {
			wait = retryAfter
			if !logged {
				j.log.Error(err, "Cannot open the history; it is opened later")
			}
			logged = true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// replay applies a line of the newest file to what is public.
func (j *Journal) replay(l *Line) {
	j.keep(l)
	switch l.Event {
	case Exposed, Held:
		h := &host{state: *l, since: l.Time, past: counts{l.Connections, l.Requests}}
		if l.Since != nil {
			h.since = *l.Since
		}
		j.public[l.Host] = h
	case Moved, Changed, Source:
		if h := j.public[l.Host]; h != nil {
			h.state = *l
		}
	case Withdrawn:
		delete(j.public, l.Host)
	}
}

// keep keeps a line for Latest.
func (j *Journal) keep(l *Line) {
	if l.Event == Held {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.latest) == maxLatest {
		j.latest = slices.Delete(j.latest, 0, 1)
	}
	j.latest = append(j.latest, *l)
}

// Latest returns the last lines, at most 100, the oldest first. Unlike Answer it reads no
// files. After a start the lines of the newest file are among them.
func (j *Journal) Latest() []Line {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.latest)
}

// changed records the changes between two tables. It is Live.Changed.
func (j *Journal) changed(before, after *routing.Table) {
	if before == nil {
		j.first = after
		return
	}
	now := time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	for was, is := range after.Changes(before) {
		name := hostOf(was, is)
		if !isPublic(was) && !isPublic(is) {
			continue
		}
		if isPublic(was) && (is == nil || is.Reached != was.Reached) {
			j.carried[name] = j.carried[name].plus(countsOf(was))
		}
		if len(j.pending) < maxPending {
			j.pending = append(j.pending, change{now, name, is})
		} else {
			j.overflow++
		}
	}
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

func hostOf(was, is *routing.Route) string {
	if is != nil {
		return is.Host
	}
	return was.Host
}

func isPublic(r *routing.Route) bool { return r != nil && r.Refusal == "" }

func countsOf(r *routing.Route) counts {
	return counts{r.Reached.Connections.Load(), r.Reached.Requests.Load()}
}

// Run writes the changes until ctx ends, after filled was closed, which means that the first
// table was stored. What has changed while usher did not run is recorded first.
func (j *Journal) Run(ctx context.Context, filled <-chan struct{}) {
	select {
	case <-ctx.Done():
		return
	case <-filled:
	}
	if !j.startWhenPossible(ctx) {
		return
	}
	defer j.store.close()
	first := j.store.isNew
	j.write([]Line{{Time: time.Now(), Event: Started}})
	j.resync(j.first, !first)
	j.step()
	timer := time.NewTicker(countsEvery)
	defer timer.Stop()
	for {
		wait := settle
		select {
		case <-ctx.Done():
			j.step()
			j.write([]Line{{Time: time.Now(), Event: Stopped}})
			j.storeCounts()
			return
		case <-timer.C:
			j.report()
			j.store.expire(time.Now())
			j.storeCounts()
		case <-j.wake:
		}
		if j.failing {
			wait = retryAfter
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		j.step()
	}
}

// take returns the pending changes, and how many did not fit.
func (j *Journal) take() ([]change, uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	pending, overflow := j.pending, j.overflow
	j.pending, j.overflow = nil, 0
	return pending, overflow
}

// step writes the lines of the pending changes.
func (j *Journal) step() {
	pending, overflow := j.take()
	var lines []Line
	for i, c := range pending {
		if isPublic(c.route) && c.route.Source == nil {
			c.route = laterSource(c, pending[i+1:])
		}
		if line := j.apply(c, false); line != nil {
			lines = append(lines, *line)
		}
	}
	if overflow > 0 {
		j.dropped[""] += overflow
	}
	j.write(lines)
	if overflow > 0 {
		j.report()
	}
}

// report writes how many changes have no line, and what is public now.
func (j *Journal) report() {
	if lines := j.droppedLines(); len(lines) > 0 {
		j.write(lines)
		j.resync(j.table.Load(), true)
	}
}

// laterSource returns the route with which the next change of the host continues, if it
// adds the source only: the status of a host follows its spec.
func laterSource(c change, later []change) *routing.Route {
	at := slices.IndexFunc(later, func(l change) bool { return l.host == c.host })
	if at < 0 || !isPublic(later[at].route) {
		return c.route
	}
	var was, is Line
	was.describe(c.route)
	is.describe(later[at].route)
	if eventBetween(&was, &is) == Source {
		return later[at].route
	}
	return c.route
}

// resync records the differences between the journal and a table.
func (j *Journal) resync(table *routing.Table, away bool) {
	now := time.Now()
	var lines []Line
	add := func(name string, route *routing.Route) {
		if line := j.apply(change{now, name, route}, away); line != nil {
			lines = append(lines, *line)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(j.public)) {
		if route := table.Own(name); !isPublic(route) {
			add(name, route)
		}
	}
	for route := range table.All() {
		if isPublic(route) {
			add(route.Host, route)
		}
	}
	j.write(lines)
}

// apply makes the line of a change; nil if there is none. Changes of a cluster beyond its
// limit are counted, and report records later what is public then.
func (j *Journal) apply(c change, away bool) *Line {
	line := Line{Time: c.at.UTC(), Host: c.host, Away: away}
	known := j.public[c.host]
	switch {
	case known == nil && !isPublic(c.route):
		j.forget(c.host)
		return nil
	case known == nil:
		line.Event = Exposed
		line.describe(c.route)
	case !isPublic(c.route):
		line.Event, line.By, line.Clusters, line.Since = Withdrawn, known.state.By, known.state.Clusters, &known.since
		total := j.total(c.host, known, c.route)
		line.Connections, line.Requests = total.Connections, total.Requests
		if c.route != nil {
			line.Reason = c.route.Refusal
		}
	default:
		line.describe(c.route)
		if line.By == nil {
			line.By = known.state.By
		}
		if line.Event = eventBetween(&known.state, &line); line.Event == "" {
			return nil
		}
	}
	if !j.allow(&line) {
		return nil
	}
	switch line.Event {
	case Exposed:
		j.public[c.host] = &host{state: line, since: line.Time}
	case Withdrawn:
		delete(j.public, c.host)
		j.forget(c.host)
	default:
		known.state = line
	}
	return &line
}

// forget removes the counts of a host that is not public any more.
func (j *Journal) forget(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.carried, name)
}

// total returns what reached a host since it became public.
func (j *Journal) total(name string, h *host, route *routing.Route) counts {
	j.mu.Lock()
	total := h.past.plus(j.carried[name])
	j.mu.Unlock()
	if isPublic(route) {
		total = total.plus(countsOf(route))
	}
	return total
}

// allow reports whether a line is within the limit of its cluster, and counts it if not.
func (j *Journal) allow(l *Line) bool {
	cluster := l.cluster()
	limit := j.limits[cluster]
	if limit == nil {
		limit = rate.NewLimiter(rate.Limit(float64(clusterPerDay)/(24*60*60)), j.burst)
		j.limits[cluster] = limit
	}
	if limit.Allow() {
		return true
	}
	j.dropped[cluster]++
	return false
}

// droppedLines says what has no line. It resets the counts of the clusters that may have
// lines again, which is at most one line in some seconds for each.
func (j *Journal) droppedLines() []Line {
	var lines []Line
	for _, cluster := range slices.Sorted(maps.Keys(j.dropped)) {
		if limit := j.limits[cluster]; limit != nil && cluster != "" && !limit.Allow() {
			continue
		}
		lines = append(lines, Line{Time: time.Now().UTC(), Event: Dropped, Cluster: cluster, Count: j.dropped[cluster]})
		delete(j.dropped, cluster)
	}
	return lines
}

// write appends lines to the journal and the log. What cannot be written is kept and tried
// again, up to a bound.
func (j *Journal) write(lines []Line) {
	for i := range lines {
		text, err := json.Marshal(&lines[i])
		if err != nil {
			continue // a Line has no value that JSON does not have
		}
		if len(j.unwritten) > maxUnwritten {
			j.dropped[lines[i].cluster()]++
			continue
		}
		j.unwritten = append(append(j.unwritten, text...), '\n')
		j.keep(&lines[i])
		j.logLine(&lines[i])
	}
	if len(j.unwritten) == 0 {
		return
	}
	err := j.store.append(j.unwritten, j.held)
	if err != nil && !j.failing {
		j.log.Error(err, "Cannot write the history; it is written later")
	}
	if j.failing = err != nil; !j.failing {
		j.unwritten = j.unwritten[:0]
	}
}

// logLine logs a change of a host.
func (j *Journal) logLine(l *Line) {
	switch l.Event {
	case Started, Stopped:
	case Dropped:
		j.log.Info("Changes of hosts are not in the history: there are too many", "cluster", l.Cluster, "count", l.Count)
	default:
		by := ""
		if l.By != nil {
			by = l.By.String()
		}
		j.log.Info("What is public has changed", "event", l.Event, "host", l.Host, "by", by, "clusters", l.Clusters,
			"reason", l.Reason, "away", l.Away, "connections", l.Connections)
	}
}

// held returns a line for each public host: a new file begins with them.
func (j *Journal) held() []Line {
	table := j.table.Load()
	lines := make([]Line, 0, len(j.public))
	for _, name := range slices.Sorted(maps.Keys(j.public)) {
		h := j.public[name]
		line := h.state
		total := j.total(name, h, table.Own(name))
		line.Event, line.Time, line.Since, line.Away = Held, time.Now().UTC(), &h.since, false
		line.Connections, line.Requests = total.Connections, total.Requests
		lines = append(lines, line)
	}
	return lines
}

// storeCounts stores the counts of all public hosts, for the next start.
func (j *Journal) storeCounts() {
	table, all := j.table.Load(), map[string]counts{}
	for name, h := range j.public {
		if total := j.total(name, h, table.Own(name)); total != (counts{}) {
			all[name] = total
		}
	}
	j.store.writeCounts(storedCounts{Time: time.Now().UTC(), Hosts: all})
}
