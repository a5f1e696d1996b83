package proxy

import "github.com/prometheus/client_golang/prometheus"

var (
	routesDesc  = prometheus.NewDesc("usher_routes", "Hosts in the routing table that are served.", nil, nil)
	refusedDesc = prometheus.NewDesc("usher_routes_refused", "Hosts in the routing table that are refused.", nil, nil)
	limitDesc   = prometheus.NewDesc("usher_connections_limit", "Connections, TLS and plain HTTP, that may be open at once.", nil, nil)
	failingDesc = prometheus.NewDesc("usher_addresses_failing", "Addresses of backends that did not answer when they were last dialled.", []string{"cluster"}, nil)
	usedDesc    = prometheus.NewDesc("usher_connections_used", "Connections, TLS and plain HTTP, that are open and count towards the limit.", nil, nil)
)

// collector collects the metrics of a Server and of its parts.
type collector struct{ *Server }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	out <- routesDesc
	out <- refusedDesc
	out <- limitDesc
	out <- usedDesc
	out <- failingDesc
	c.forwarder.Describe(out)
	c.metrics.Describe(out)
	c.check.Describe(out)
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	table := c.Table.Load()
	gauge(out, routesDesc, table.Len())
	gauge(out, refusedDesc, table.Refused())
	gauge(out, limitDesc, c.limits.Max)
	gauge(out, usedDesc, c.limits.Count())
	for cluster, n := range c.endpoints.Failing() {
		gauge(out, failingDesc, n, cluster)
	}
	c.forwarder.Collect(out)
	c.metrics.Collect(out)
	c.check.Collect(out)
}

func gauge(out chan<- prometheus.Metric, desc *prometheus.Desc, n int, labels ...string) {
	out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), labels...)
}
