package health

import "github.com/prometheus/client_golang/prometheus"

var (
	addressesDesc = prometheus.NewDesc("usher_health_addresses", "Addresses of backends that are checked, by cluster and by what the checks have shown.", []string{"cluster", "state"}, nil)
	checksDesc    = prometheus.NewDesc("usher_health_checks_total", "Health checks of addresses, by result.", []string{"result"}, nil)
)

// Describe implements prometheus.Collector.
func (c *Checks) Describe(out chan<- *prometheus.Desc) {
	out <- addressesDesc
	out <- checksDesc
}

// Collect implements prometheus.Collector.
func (c *Checks) Collect(out chan<- prometheus.Metric) {
	for cluster, sum := range c.Summary() {
		out <- prometheus.MustNewConstMetric(addressesDesc, prometheus.GaugeValue, float64(sum.Healthy), cluster, "healthy")
		out <- prometheus.MustNewConstMetric(addressesDesc, prometheus.GaugeValue, float64(sum.Total-sum.Healthy), cluster, "unhealthy")
	}
	for i := range c.results {
		out <- prometheus.MustNewConstMetric(checksDesc, prometheus.CounterValue, float64(c.results[i].Load()), result(i).String())
	}
}
