package controllers

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/jovalle/usher/controllers/doctor"
)

var (
	findingsDesc = prometheus.NewDesc("usher_doctor_findings", "Findings of the last audits of all exposed hosts, by kind.", []string{"kind"}, nil)
	auditsDesc   = prometheus.NewDesc("usher_doctor_audits_total", "Audits of exposed hosts that were made.", nil, nil)
)

// DescribeDoctor sends the descriptions of the metrics of the audits.
func DescribeDoctor(out chan<- *prometheus.Desc) { (*audits)(nil).Describe(out) }

// Describe implements prometheus.Collector.
func (*audits) Describe(out chan<- *prometheus.Desc) {
	out <- findingsDesc
	out <- auditsDesc
}

// Collect implements prometheus.Collector. Each kind is there, also with a count of 0.
func (a *audits) Collect(out chan<- prometheus.Metric) {
	counts := map[string]int{} // kind → findings
	for _, kind := range doctor.Kinds() {
		counts[kind] = 0
	}
	a.mu.Lock()
	for i := range a.machine {
		counts[a.machine[i].Kind]++
	}
	for _, last := range a.hosts {
		for i := range last.findings {
			counts[last.findings[i].Kind]++
		}
	}
	total := a.total
	a.mu.Unlock()
	for kind, n := range counts {
		out <- prometheus.MustNewConstMetric(findingsDesc, prometheus.GaugeValue, float64(n), kind)
	}
	out <- prometheus.MustNewConstMetric(auditsDesc, prometheus.CounterValue, float64(total))
}

// publishMetrics registers the metrics while the manager is the leader.
func (a *audits) publishMetrics() manager.Runnable {
	return manager.RunnableFunc(func(ctx context.Context) error {
		if err := metrics.Registry.Register(a); err != nil {
			return fmt.Errorf("register the metrics of the audits: %w", err)
		}
		<-ctx.Done()
		metrics.Registry.Unregister(a)
		return nil
	})
}
