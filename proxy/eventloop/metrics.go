package eventloop

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ending is how an established connection ended.
type ending uint8

const (
	closed         ending = iota // both sides have sent their end
	reset                        // a side has reset it, or is dead
	idle                         // no bytes for Timeouts.Idle
	halfClosedIdle               // no bytes for Timeouts.HalfClosed after one side had ended
	drained                      // Timeouts.Drain was over
	endings                      // the number of endings
)

// String returns the value of the metric label reason.
func (e ending) String() string {
	return [endings]string{"closed", "reset", "idle_timeout", "half_closed_timeout", "drain_timeout"}[e]
}

// counters are the counters of one loop. Only the loop writes them, so that
// processors do not contend for them. Collect adds them up. An ending is counted after
// what it releases is released, so that what a metric shows is over.
type counters struct {
	accepted     atomic.Uint64
	acceptErrors atomic.Uint64
	open         atomic.Int64
	refused      [refusals]atomic.Uint64
	closed       [endings]atomic.Uint64
	ports        []portCounters // by index in Forwarder.ports
	dials        [dialResults]atomic.Uint64

	mu       sync.Mutex          // held for writing clusters, and by others for reading it
	clusters map[string]*traffic // by cluster
}

// portCounters count the connections to one TLS port.
type portCounters struct{ forwarded, refused atomic.Uint64 }

// refuse counts a connection to a port that was refused.
func (c *counters) refuse(why refusal, port uint8) {
	c.refused[why].Add(1)
	c.ports[port].refused.Add(1)
}

// traffic counts what one loop has moved to and from one cluster.
type traffic struct {
	cluster      string
	open         atomic.Int64  // connections
	up, down     atomic.Uint64 // bytes
	dialFailures atomic.Uint64
}

// traffic returns the counters of a cluster. Clusters come from the routing
// table, so clients cannot add any.
func (c *counters) traffic(cluster string) *traffic {
	if t := c.clusters[cluster]; t != nil {
		return t
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clusters == nil {
		c.clusters = make(map[string]*traffic)
	}
	t := &traffic{cluster: cluster}
	c.clusters[cluster] = t
	return t
}

// histogram returns a histogram of durations in seconds. All loops share it: the
// contention of two observations for each connection cannot be measured.
func histogram(name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "usher_" + name, Help: help,
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})
}

func seconds(nanoseconds int64) float64 { return time.Duration(nanoseconds).Seconds() }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("usher_"+name, help, labels, nil)
}

var (
	acceptedDesc     = describe("connections_accepted_total", "TLS connections that were accepted.")
	acceptErrorsDesc = describe("accept_errors_total", "TLS connections that could not be accepted: no descriptors or memory were free.")
	openDesc         = describe("connections_open", "TLS connections that are open, by event loop.", "loop")
	clusterOpenDesc  = describe("cluster_connections_open", "TLS connections that are open to a cluster's addresses.", "cluster")
	refusedDesc      = describe("connections_refused_total", "TLS connections that never reached a backend.", "reason")
	portsDesc        = describe("port_connections_total", "TLS connections by the port of the edge: forwarded to a backend, or refused.", "port", "result")
	closedDesc       = describe("connections_closed_total", "Forwarded TLS connections that ended.", "reason")
	bytesDesc        = describe("bytes_total", "Bytes forwarded, by cluster; up is towards it.", "cluster", "direction")
	dialsDesc        = describe("dials_total", "Dials of backends, by result.", "result")
	dialFailuresDesc = describe("dial_failures_total", "Addresses of backends that could not be dialled, or did not answer soon, by cluster.", "cluster")
	loopsDesc        = describe("loops_accepting", "Event loops that accept connections now.")
	helloBytesDesc   = describe("hello_bytes", "Bytes that connections hold until their backends have their ClientHellos.")
	pendingBytesDesc = describe("pending_bytes", "Bytes held for clients and backends that have no room for them, by event loop.", "loop")
	droppedDesc      = describe("log_lines_dropped_total", "Log lines dropped because the log was too slow.")
)

// Describe implements prometheus.Collector.
func (f *Forwarder) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		acceptedDesc, acceptErrorsDesc, openDesc, clusterOpenDesc, refusedDesc, portsDesc, closedDesc, bytesDesc,
		dialsDesc, dialFailuresDesc, loopsDesc, droppedDesc, helloBytesDesc, pendingBytesDesc,
	} {
		out <- desc
	}
	f.initOnce.Do(f.init)
	f.helloSeconds.Describe(out)
	f.dialSeconds.Describe(out)
}

// Collect implements prometheus.Collector.
func (f *Forwarder) Collect(out chan<- prometheus.Metric) {
	loops := f.loops.Load()
	if loops == nil {
		return
	}
	t := newTotals()
	for i, port := range f.ports {
		var forwarded, refused uint64
		for _, l := range *loops {
			forwarded += l.counters.ports[i].forwarded.Load()
			refused += l.counters.ports[i].refused.Load()
		}
		counter(out, portsDesc, forwarded, port, "forwarded")
		counter(out, portsDesc, refused, port, "refused")
	}
	for i, l := range *loops {
		t.add(&l.counters)
		gauge(out, openDesc, float64(l.counters.open.Load()), strconv.Itoa(i))
		gauge(out, pendingBytesDesc, float64(l.pending.Load()), strconv.Itoa(i))
	}
	t.collect(out)
	f.helloSeconds.Collect(out)
	f.dialSeconds.Collect(out)
	gauge(out, loopsDesc, float64(f.accepting.Load()))
	gauge(out, helloBytesDesc, float64(f.helloMemory.held.Load()))
	counter(out, droppedDesc, f.logQueue.dropped.Load()+f.accessLog.droppedLines())
}

// Totals are the counts of all TLS connections of a Forwarder.
type Totals struct {
	// Open connections to a backend, and the bytes of all connections towards the backends
	// and back.
	Open     int64
	Up, Down uint64
	// Accepted and Refused connections since the start.
	Accepted, Refused uint64
	// Clusters are the connections to each cluster: name → counts, "" for addresses outside
	// of the clusters.
	Clusters map[string]ClusterTotals
}

// ClusterTotals are the counts of the TLS connections to one cluster.
type ClusterTotals struct {
	Open     int64
	Up, Down uint64
}

// Totals returns the counts; all are 0 before Serve.
func (f *Forwarder) Totals() Totals {
	sum := Totals{Clusters: map[string]ClusterTotals{}}
	loops := f.loops.Load()
	if loops == nil {
		return sum
	}
	t := newTotals()
	for _, l := range *loops {
		t.add(&l.counters)
	}
	sum.Accepted = t.accepted
	for _, n := range t.refused {
		sum.Refused += n
	}
	for name, c := range t.clusters {
		sum.Clusters[name] = ClusterTotals{c.open, c.up, c.down}
		sum.Open += c.open
		sum.Up += c.up
		sum.Down += c.down
	}
	return sum
}

// totals are the sums over all loops.
type totals struct {
	accepted, acceptErrors uint64
	refused                [refusals]uint64
	closed                 [endings]uint64
	dials                  [dialResults]uint64
	clusters               map[string]clusterTotals // by cluster
}

type clusterTotals struct {
	open                   int64
	up, down, dialFailures uint64
}

func newTotals() *totals { return &totals{clusters: make(map[string]clusterTotals)} }

func (t *totals) add(c *counters) {
	t.accepted += c.accepted.Load()
	t.acceptErrors += c.acceptErrors.Load()
	for i := range t.refused {
		t.refused[i] += c.refused[i].Load()
	}
	for i := range t.closed {
		t.closed[i] += c.closed[i].Load()
	}
	for i := range t.dials {
		t.dials[i] += c.dials[i].Load()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, traffic := range c.clusters {
		sum := t.clusters[name]
		sum.open += traffic.open.Load()
		sum.up += traffic.up.Load()
		sum.down += traffic.down.Load()
		sum.dialFailures += traffic.dialFailures.Load()
		t.clusters[name] = sum
	}
}

func (t *totals) collect(out chan<- prometheus.Metric) {
	counter(out, acceptedDesc, t.accepted)
	counter(out, acceptErrorsDesc, t.acceptErrors)
	for i, n := range t.refused {
		counter(out, refusedDesc, n, refusal(i).String())
	}
	for i, n := range t.closed {
		counter(out, closedDesc, n, ending(i).String())
	}
	for i, n := range t.dials {
		counter(out, dialsDesc, n, dialResult(i).String())
	}
	for name, sum := range t.clusters {
		gauge(out, clusterOpenDesc, float64(sum.open), name)
		counter(out, bytesDesc, sum.up, name, "up")
		counter(out, bytesDesc, sum.down, name, "down")
		counter(out, dialFailuresDesc, sum.dialFailures, name)
	}
}

func counter(out chan<- prometheus.Metric, desc *prometheus.Desc, n uint64, labels ...string) {
	out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
}

func gauge(out chan<- prometheus.Metric, desc *prometheus.Desc, n float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, n, labels...)
}
