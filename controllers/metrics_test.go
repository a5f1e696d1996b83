package controllers_test

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// The leader's metrics say what stands in the objects' statuses, and end with it.
func TestMetricsSayWhatTheStatusesSay(t *testing.T) {
	c := edge(t)
	stop := startControllers(t, &routing.Live{})
	t.Cleanup(stop)
	addMember(t, c, "hades", nil)
	addMember(t, c, "illmatic", nil)
	apply(t, "hades", ingressRoute("counted-first", "Host(`counted.techn.is`)", exposed))
	awaitHost(t, c, "counted.techn.is", ready("hades"))
	apply(t, "illmatic", ingressRoute("counted-second", "Host(`counted.techn.is`)", exposed))
	apply(t, "hades", ingressRoute("counted-badly", "Host(`badly.techn.is`)", exposed, "usher.techn.is/allow-from: everyone"))
	apply(t, "hades", ingressRoute("counted-nowhere", "PathPrefix(`/`)", exposed))
	testkit.Must(t, bed.Cluster("edge").Apply(t.Context(), "{apiVersion: usher.techn.is/v1alpha1, kind: MemberCluster, metadata: {name: lost}, spec: {kubeconfig: {secretName: lost}}}"))
	t.Cleanup(func() {
		remove(t, "edge", "{apiVersion: usher.techn.is/v1alpha1, kind: MemberCluster, metadata: {name: lost}}")
	})
	want := map[string]float64{
		"usher_member_condition cluster=hades condition=Connected":                1,
		"usher_member_condition cluster=hades condition=Synced":                   1,
		"usher_member_condition cluster=hades condition=Ready":                    1,
		"usher_member_condition cluster=lost condition=Connected":                 0,
		"usher_exposed_hosts accepted=true ready=true reason=Ready":               1,
		"usher_exposed_hosts accepted=false ready=false reason=AnnotationInvalid": 1,
		"usher_rivals cluster=illmatic reason=HeldByAnother":                      1,
		"usher_member_refusals cluster=hades reason=UnknownHosts":                 1,
	}
	testkit.Eventually(t, "the metrics", func() error { return holds(samples(t), want) })
	stop()
	if left := samples(t); len(left) > 0 {
		t.Errorf("nobody leads, and the metrics are still %v", left)
	}
}

// holds returns the first of the wanted samples that is missing or has another value.
func holds(have, want map[string]float64) error {
	for sample, value := range want {
		if got, found := have[sample]; !found || got != value {
			return fmt.Errorf("%s: is %v, want %v; there are %v", sample, got, value, have)
		}
	}
	return nil
}

// samples are usher's own, as "name label=value…".
func samples(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	testkit.Must(t, err)
	found := map[string]float64{}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "usher_") {
			continue
		}
		for _, metric := range family.GetMetric() {
			sample := family.GetName()
			for _, label := range metric.GetLabel() {
				sample += " " + label.GetName() + "=" + label.GetValue()
			}
			found[sample] = metric.GetGauge().GetValue()
		}
	}
	return found
}
