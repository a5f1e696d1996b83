package reach

import "github.com/prometheus/client_golang/prometheus"

var (
	shadowedDesc = prometheus.NewDesc("usher_shadowed", "1 where connections to this address of the machine reach another program.", []string{"address"}, nil)
	checksDesc   = prometheus.NewDesc("usher_self_checks_total", "Connections to the machine's own addresses, by what they showed.", []string{"result"}, nil)
)

// Describe implements prometheus.Collector.
func (c *Check) Describe(out chan<- *prometheus.Desc) {
	out <- shadowedDesc
	out <- checksDesc
}

// Collect implements prometheus.Collector.
func (c *Check) Collect(out chan<- prometheus.Metric) {
	for t, v := range c.known() {
		value := 0.0
		if v.shadowed {
			value = 1
		}
		out <- prometheus.MustNewConstMetric(shadowedDesc, prometheus.GaugeValue, value, t.at.String())
	}
	for i := range c.results {
		out <- prometheus.MustNewConstMetric(checksDesc, prometheus.CounterValue, float64(c.results[i].Load()), outcome(i).String())
	}
}
