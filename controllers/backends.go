package controllers

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/routetable"
)

// withSpread adds to the Ready condition of a host that is served how its connections are
// spread over several backends, and which of its clusters are drained.
func withSpread(ready metav1.Condition, spec v1alpha1.ExposedHostSpec, clusters map[string]*v1alpha1.MemberCluster) metav1.Condition {
	if ready.Status != metav1.ConditionTrue {
		return ready
	}
	if len(spec.Backends) > 1 || spec.Strategy != "" {
		ready.Message = message.Format("%s; strategy %s", ready.Message, cmp.Or(spec.Strategy, v1alpha1.StrategyFailover))
	}
	drained := drainedClusters(spec, clusters)
	switch {
	case len(drained) == 0:
	case routetable.HasUndrained(spec.Backends, clusters):
		ready.Message = message.Format("%s; no new connections go to cluster %s while another backend answers, because it is drained", ready.Message, strings.Join(drained, ", "))
	default:
		ready.Message = message.Format("%s; cluster %s is drained, but keeps the host, which has no other backend", ready.Message, strings.Join(drained, ", "))
	}
	return ready
}

// drainedClusters returns the drained clusters among the backends of a host.
func drainedClusters(spec v1alpha1.ExposedHostSpec, clusters map[string]*v1alpha1.MemberCluster) []string {
	var names []string
	for _, b := range spec.Backends {
		if drains, _ := routetable.Drains(clusters[b.Cluster]); drains && !slices.Contains(names, b.Cluster) {
			names = append(names, b.Cluster)
		}
	}
	return names
}

// saysWhy returns the reason of a rival, with its sentence if the decision has one.
func saysWhy(rival v1alpha1.Rival, decision admission.Decision) string {
	for _, apart := range decision.Apart {
		if apart.Cluster == rival.Cluster && apart.Reason == rival.Reason {
			return apart.Reason + ": " + apart.Message
		}
	}
	return rival.Reason
}

// recordBackends records Events for the clusters that serve a host from now on, and for
// those that no longer do.
func (r *ExposedHostReconciler) recordBackends(before, after *v1alpha1.ExposedHost, decision admission.Decision) {
	held := holding(before)
	if held == nil || held.Holder == "" || !decision.Accepted || isManual(after) {
		return
	}
	normal := func(why, note string, args ...any) {
		r.Events.Eventf(after, nil, corev1.EventTypeNormal, why, "Decide", note, args...)
	}
	handedOver := held.Holder != decision.Holder
	if handedOver {
		normal(reason.HandedOver, "the host went from cluster %s to %s", held.Holder, decision.Holder)
	}
	was, is := clustersOf(before.Spec), clustersOf(after.Spec)
	for _, cluster := range is {
		if !slices.Contains(was, cluster) && cluster != decision.Holder {
			normal(reason.Joined, "cluster %s shares the host", cluster)
		}
	}
	for _, cluster := range was {
		if !slices.Contains(is, cluster) && (cluster != held.Holder || !handedOver) {
			normal(reason.Left, "cluster %s no longer shares the host", cluster)
		}
	}
}

// clustersOf returns the clusters among the backends of a host.
func clustersOf(spec v1alpha1.ExposedHostSpec) []string {
	var names []string
	for _, b := range spec.Backends {
		if b.Cluster != "" {
			names = append(names, b.Cluster)
		}
	}
	return names
}
