package plainhttp

import "github.com/prometheus/client_golang/prometheus"

// Values of the label answer.
const (
	redirected   = "redirected"
	forwarded    = "forwarded"
	failed       = "no_backend" // forwarded, but no backend could be reached
	notFound     = "not_found"
	refused      = "refused_host" // same response as for not_found
	busy         = "busy"         // too many ACME challenges at once
	looped       = "loop"         // the route leads back to this process
	limitReached = "limit"        // the connection was closed without a response
)

// Metrics counts the responses to plain HTTP requests.
type Metrics struct {
	answers      *prometheus.CounterVec
	acceptErrors prometheus.Counter
}

// NewMetrics returns metrics with zero counts.
func NewMetrics() *Metrics {
	m := &Metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_http_answers_total",
			Help: "Answers to plain HTTP requests.",
		}, []string{"answer"}),
		acceptErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "usher_http_accept_errors_total",
			Help: "Times that no plain HTTP connection could be accepted.",
		}),
	}
	for _, answer := range []string{redirected, forwarded, failed, notFound, refused, busy, looped, limitReached} {
		m.answers.WithLabelValues(answer)
	}
	return m
}

func (m *Metrics) count(answer string) { m.answers.WithLabelValues(answer).Inc() }

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	m.answers.Describe(out)
	m.acceptErrors.Describe(out)
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.answers.Collect(out)
	m.acceptErrors.Collect(out)
}
