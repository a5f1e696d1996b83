package redirect

import "github.com/prometheus/client_golang/prometheus"

// Values of the label answer.
const (
	redirected   = "redirected"
	forwarded    = "forwarded"
	failed       = "no_backend" // forwarded, but no backend could be reached
	notFound     = "not_found"
	limitReached = "limit" // the connection was closed without an answer
)

// Metrics counts the answers to plain HTTP requests.
type Metrics struct {
	answers *prometheus.CounterVec
}

// NewMetrics returns metrics whose counts are zero.
func NewMetrics() *Metrics {
	m := &Metrics{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "usher_http_answers_total",
		Help: "Answers to plain HTTP requests.",
	}, []string{"answer"})}
	for _, answer := range []string{redirected, forwarded, failed, notFound, limitReached} {
		m.answers.WithLabelValues(answer)
	}
	return m
}

func (m *Metrics) count(answer string) { m.answers.WithLabelValues(answer).Inc() }

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) { m.answers.Describe(out) }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) { m.answers.Collect(out) }
