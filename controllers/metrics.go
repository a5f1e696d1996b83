package controllers

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
)

// collectTimeout bounds what a scrape may wait for the cache.
const collectTimeout = 5 * time.Second

var (
	conditionDesc = prometheus.NewDesc("usher_member_condition", "Whether a condition of a MemberCluster is True.", []string{"cluster", "condition"}, nil)
	expiryDesc    = prometheus.NewDesc("usher_member_credentials_expiry_timestamp_seconds", "When the first certificate, or the token, of a MemberCluster's kubeconfig ends, in seconds of Unix time; missing if there is no end.", []string{"cluster"}, nil)
	hostsDesc     = prometheus.NewDesc("usher_exposed_hosts", "ExposedHosts, by whether they are accepted and ready, and the reason of that.", []string{"accepted", "ready", "reason"}, nil)
	rivalsDesc    = prometheus.NewDesc("usher_rivals", "Sources in the status.rivals of an ExposedHost: they ask for a host that others hold. The first 10 of each host.", []string{"cluster", "reason"}, nil)
	refusalsDesc  = prometheus.NewDesc("usher_member_refusals", "Sources in the status.refusals of a MemberCluster: annotated, but of no host. The latest 10 of each cluster.", []string{"cluster", "reason"}, nil)
)

// NewCollector returns the control plane's metrics: the conditions of the
// MemberClusters and ExposedHosts that reader lists.
func NewCollector(reader client.Reader) prometheus.Collector { return collector{reader} }

type collector struct{ reader client.Reader }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	out <- conditionDesc
	out <- expiryDesc
	out <- hostsDesc
	out <- rivalsDesc
	out <- refusalsDesc
}

// Collect implements prometheus.Collector. If the cache cannot be read it returns no
// metrics. The absence shows the problem, and an error would hide the proxy's metrics too.
func (c collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	clusters, err := listClusters(ctx, c.reader)
	if err != nil {
		return
	}
	var hosts v1alpha1.ExposedHostList
	if err := c.reader.List(ctx, &hosts, client.UnsafeDisableDeepCopy); err != nil {
		return
	}
	collectConditions(out, clusters)
	collectExpiries(out, clusters)
	collectRefusals(out, clusters)
	collectHosts(out, hosts.Items)
	collectRivals(out, hosts.Items)
}

// collectConditions counts a condition that is not known yet as not True.
func collectConditions(out chan<- prometheus.Metric, clusters map[string]*v1alpha1.MemberCluster) {
	for name, cluster := range clusters {
		for _, condition := range []string{v1alpha1.ConditionConnected, v1alpha1.ConditionSynced, v1alpha1.ConditionReady} {
			var value float64
			if meta.IsStatusConditionTrue(cluster.Status.Conditions, condition) {
				value = 1
			}
			out <- prometheus.MustNewConstMetric(conditionDesc, prometheus.GaugeValue, value, name, condition)
		}
	}
}

func collectExpiries(out chan<- prometheus.Metric, clusters map[string]*v1alpha1.MemberCluster) {
	for name, cluster := range clusters {
		if end := cluster.Status.CredentialsExpiry; end != nil {
			out <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(end.Unix()), name)
		}
	}
}

// hostState has the labels of usher_exposed_hosts.
type hostState struct {
	accepted, ready bool
	reason          string
}

// collectHosts counts the hosts by state. The state of ready hosts is there even with a
// count of 0: if it is missing, no leader decides about hosts.
func collectHosts(out chan<- prometheus.Metric, hosts []v1alpha1.ExposedHost) {
	counts := map[hostState]int{{true, true, reason.Ready}: 0} // state → hosts
	for i := range hosts {
		conditions := hosts[i].Status.Conditions
		ready := meta.FindStatusCondition(conditions, v1alpha1.ConditionReady)
		if ready == nil {
			continue // there is no decision on it yet
		}
		accepted := meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionAccepted)
		counts[hostState{accepted, ready.Status == metav1.ConditionTrue, ready.Reason}]++
	}
	for state, n := range counts {
		out <- prometheus.MustNewConstMetric(hostsDesc, prometheus.GaugeValue, float64(n),
			strconv.FormatBool(state.accepted), strconv.FormatBool(state.ready), state.reason)
	}
}

// refusal has the labels of usher_rivals and usher_member_refusals.
type refusal struct{ cluster, reason string }

func collectRivals(out chan<- prometheus.Metric, hosts []v1alpha1.ExposedHost) {
	counts := map[refusal]int{} // refusal → sources
	for i := range hosts {
		for _, rival := range hosts[i].Status.Rivals {
			counts[refusal{rival.Cluster, rival.Reason}]++
		}
	}
	collectCounts(out, rivalsDesc, counts)
}

func collectRefusals(out chan<- prometheus.Metric, clusters map[string]*v1alpha1.MemberCluster) {
	counts := map[refusal]int{} // refusal → sources
	for name, cluster := range clusters {
		for _, refused := range cluster.Status.Refusals {
			counts[refusal{name, refused.Reason}]++
		}
	}
	collectCounts(out, refusalsDesc, counts)
}

func collectCounts(out chan<- prometheus.Metric, desc *prometheus.Desc, counts map[refusal]int) {
	for r, n := range counts {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), r.cluster, r.reason)
	}
}

// publishMetrics registers the collector while the manager is the leader: another replica
// would count everything again.
func publishMetrics(mgr manager.Manager) manager.Runnable {
	return manager.RunnableFunc(func(ctx context.Context) error {
		c := NewCollector(mgr.GetCache())
		if err := metrics.Registry.Register(c); err != nil {
			return fmt.Errorf("register the control plane's metrics: %w", err)
		}
		<-ctx.Done()
		metrics.Registry.Unregister(c)
		return nil
	})
}
