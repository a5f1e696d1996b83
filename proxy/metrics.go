package proxy

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/jovalle/usher/proxy/eventloop"
)

var (
	routesDesc  = prometheus.NewDesc("usher_routes", "Hosts in the routing table that are served.", nil, nil)
	refusedDesc = prometheus.NewDesc("usher_routes_refused", "Hosts in the routing table that are refused.", nil, nil)
	portsDesc   = prometheus.NewDesc("usher_port_routes", "Hosts in the routing table that are served on a TLS port other than https; listening is false if this process does not listen on the port.", []string{"port", "listening"}, nil)
	limitDesc   = prometheus.NewDesc("usher_connections_limit", "Connections, TLS and plain HTTP, that may be open at once.", nil, nil)
	failingDesc = prometheus.NewDesc("usher_addresses_failing", "Addresses of backends that did not answer when they were last dialled, or do not pass their health check.", []string{"cluster"}, nil)
	usedDesc    = prometheus.NewDesc("usher_connections_used", "Connections, TLS and plain HTTP, that are open and count towards the limit.", nil, nil)
)

// collector collects the metrics of a Server and of its parts.
type collector struct{ *Server }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	out <- routesDesc
	out <- refusedDesc
	out <- portsDesc
	out <- limitDesc
	out <- usedDesc
	out <- failingDesc
	c.forwarder.Describe(out)
	c.metrics.Describe(out)
	c.check.Describe(out)
	c.health.Describe(out)
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	table := c.Table.Load()
	gauge(out, routesDesc, table.Len())
	gauge(out, refusedDesc, table.Refused())
	listening := c.TLSPorts()
	for port := range listening {
		gauge(out, portsDesc, table.Ports()[port], port, "true")
	}
	for _, port := range c.missingPorts() {
		gauge(out, portsDesc, table.Ports()[port], port, "false")
	}
	gauge(out, limitDesc, c.limits.Max)
	gauge(out, usedDesc, c.limits.Count())
	for cluster, n := range c.endpoints.Failing() {
		gauge(out, failingDesc, n, cluster)
	}
	c.forwarder.Collect(out)
	c.metrics.Collect(out)
	c.check.Collect(out)
	c.health.Collect(out)
}

func gauge(out chan<- prometheus.Metric, desc *prometheus.Desc, n int, labels ...string) {
	out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), labels...)
}

// Totals returns the counts of all TLS connections. Call it after Listen.
func (s *Server) Totals() eventloop.Totals { return s.forwarder.Totals() }

// portsInterval is the time between two checks for ports of hosts that no listener has.
const portsInterval = 10 * time.Second

// missingPorts returns the names of ports that hosts of the table are served on and this
// process does not listen on, sorted. Such hosts are unreachable there, and only the data
// plane knows it: the control plane may be another process.
func (s *Server) missingPorts() []string {
	listening := s.TLSPorts()
	var missing []string
	for _, port := range slices.Sorted(maps.Keys(s.Table.Load().Ports())) {
		if _, found := listening[port]; !found {
			missing = append(missing, port)
		}
	}
	return missing
}

// reportPorts logs the missing ports when they change, until ctx ends.
func (s *Server) reportPorts(ctx context.Context) {
	ticker := time.NewTicker(portsInterval)
	defer ticker.Stop()
	for reported := []string(nil); ; {
		if missing := s.missingPorts(); !slices.Equal(missing, reported) {
			if reported = missing; len(missing) == 0 {
				continue
			}
			s.Log.Info("Hosts are published on TLS ports that this process does not listen on: add --tls-listen for each, or correct the names", "ports", missing)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
