package routetable_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/proxy/routing"
)

// drained is clusters with a value of the annotation that drains hades.
func drained(value string) []v1alpha1.MemberCluster {
	with := append([]v1alpha1.MemberCluster(nil), clusters...)
	with[0].Annotations = map[string]string{v1alpha1.AnnotationDrain: value}
	return with
}

// order is the addresses of a route's backends, with their weights, and d for draining.
func order(backends []routing.Backend) string {
	var all []string
	for _, b := range backends {
		text := b.Addresses[0] + "=" + string(rune('0'+b.Weight/10))
		if b.Draining {
			text += "d"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func weighs(b v1alpha1.HostBackend, w int32) v1alpha1.HostBackend {
	b.Weight = &w
	return b
}

func TestSpread(t *testing.T) {
	hades, illmatic, nas := v1alpha1.HostBackend{Cluster: "hades"}, v1alpha1.HostBackend{Cluster: "illmatic"}, v1alpha1.HostBackend{Address: "nas.lan"}
	for _, test := range []struct {
		name     string
		backends []v1alpha1.HostBackend
		strategy v1alpha1.Strategy
		clusters []v1alpha1.MemberCluster
		want     string
		turns    bool
		because  string
	}{
		{"weights", []v1alpha1.HostBackend{weighs(hades, 90), weighs(nas, 10), illmatic}, "", clusters, "192.0.2.10=9 nas.lan=1 192.0.2.20=:", false, ""},
		{"no weight", []v1alpha1.HostBackend{weighs(hades, 0), illmatic}, "", clusters, "192.0.2.20=:", false, ""},
		{"no weight at all", []v1alpha1.HostBackend{weighs(hades, 0), weighs(nas, 0)}, "", clusters, "", false, "NoWeight"},
		{"drained", []v1alpha1.HostBackend{hades, nas, illmatic}, "", drained("true"), "nas.lan=: 192.0.2.20=: 192.0.2.10=:d", false, ""},
		{"drained alone", []v1alpha1.HostBackend{hades}, "", drained("true"), "192.0.2.10=:d", false, ""},
		{"not drained", []v1alpha1.HostBackend{hades, illmatic}, "", drained("false"), "192.0.2.10=: 192.0.2.20=:", false, ""},
		{"neither true nor false", []v1alpha1.HostBackend{hades, illmatic}, "", drained("yes"), "192.0.2.10=: 192.0.2.20=:", false, ""},
		{"turns", []v1alpha1.HostBackend{illmatic, nas}, v1alpha1.StrategyRoundRobin, clusters, "192.0.2.20=: nas.lan=:", true, ""},
		{"turns of the addresses of one cluster", []v1alpha1.HostBackend{hades}, v1alpha1.StrategyRoundRobin, clusters, "192.0.2.10=:", true, ""},
		{"turns of the addresses of a name", []v1alpha1.HostBackend{nas}, v1alpha1.StrategyRoundRobin, clusters, "nas.lan=:", true, ""},
		{"one address", []v1alpha1.HostBackend{illmatic}, v1alpha1.StrategyRoundRobin, clusters, "192.0.2.20=:", false, ""},
		{"another strategy", []v1alpha1.HostBackend{hades, illmatic}, v1alpha1.StrategyClientHash, clusters, "192.0.2.10=: 192.0.2.20=:", false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			eh := host("a.is", metav1.ConditionTrue, on(test.backends...))
			eh.Spec.Strategy = test.strategy
			table, problems := routetable.Build(routetable.Objects{Hosts: []v1alpha1.ExposedHost{eh}, Clusters: test.clusters})
			route := table.Lookup("a.is")
			if len(problems) > 0 || route.Refusal != test.because || order(route.Backends) != test.want || (route.Turns != nil) != test.turns {
				t.Fatalf("%v: route %+v, %s", problems, route, order(route.Backends))
			}
			if want := string(test.strategy); want != "" && route.Strategy.String() != want {
				t.Errorf("strategy %s", route.Strategy)
			}
		})
	}
}

// The counter of a route goes on in the next table, and makes no route another one.
func TestTurnsGoOn(t *testing.T) {
	eh := host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "hades"}))
	eh.Spec.Strategy = v1alpha1.StrategyRoundRobin
	all := routetable.Objects{Hosts: []v1alpha1.ExposedHost{eh}, Clusters: clusters}
	table, _ := routetable.Build(all)
	turns := table.Lookup("a.is").Turns
	turns.Add(3)
	if same, _ := routetable.Update(table, &eh, clusters, nil); same != table {
		t.Error("an update without a change makes another table")
	}
	eh.Spec.Backends = append(eh.Spec.Backends, v1alpha1.HostBackend{Cluster: "illmatic"})
	if next, _ := routetable.Update(table, &eh, clusters, nil); next == table || next.Lookup("a.is").Turns != turns {
		t.Error("a change of the route begins to count again")
	}
	all.Before = table
	if next, _ := routetable.Build(all); next.Lookup("a.is").Turns != turns {
		t.Error("a new table begins to count again")
	}
}

// Hosts of one cluster share their backends in memory, and those of other weights do not.
func TestHostsOfOtherWeightsShareNoBackend(t *testing.T) {
	table, _ := routetable.Build(routetable.Objects{Clusters: clusters, Hosts: []v1alpha1.ExposedHost{
		host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "hades"})),
		host("b.is", metav1.ConditionTrue, on(weighs(v1alpha1.HostBackend{Cluster: "hades"}, 50))),
	}})
	if a, b := table.Lookup("a.is").Backends[0].Weight, table.Lookup("b.is").Backends[0].Weight; a != 100 || b != 50 {
		t.Errorf("the weights are %d and %d", a, b)
	}
}

func TestStrategyInvalid(t *testing.T) {
	eh := host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Cluster: "hades"}))
	eh.Spec.Strategy = "Random"
	table, problems := routetable.Build(routetable.Objects{Hosts: []v1alpha1.ExposedHost{eh}, Clusters: clusters})
	if len(problems) != 1 || !strings.Contains(problems[0].Error(), "spec.strategy") || table.Lookup("a.is").Refusal != "SpecInvalid" {
		t.Errorf("problems %v, route %+v", problems, table.Lookup("a.is"))
	}
}

func TestHealthChecks(t *testing.T) {
	with := append([]v1alpha1.MemberCluster(nil), clusters...)
	with[1].Spec.Ingress.HealthCheck = &v1alpha1.HealthCheck{Type: v1alpha1.HealthCheckTLS, Interval: &metav1.Duration{Duration: time.Minute}, Fall: 5}
	table, _ := routetable.Build(routetable.Objects{Clusters: with, Hosts: []v1alpha1.ExposedHost{host("a.is", metav1.ConditionTrue, on(
		v1alpha1.HostBackend{Cluster: "illmatic"}, v1alpha1.HostBackend{Cluster: "hades"},
		v1alpha1.HostBackend{Address: "nas.lan", HealthCheck: &v1alpha1.HealthCheck{Type: v1alpha1.HealthCheckTCP, Timeout: new(metav1.Duration{Duration: time.Nanosecond})}},
	))}})
	for i, want := range []routing.HealthCheck{
		{Type: routing.CheckTLS, Interval: time.Minute, Timeout: 3 * time.Second, Rise: 2, Fall: 5}, {},
		{Type: routing.CheckTCP, Interval: 10 * time.Second, Timeout: 100 * time.Millisecond, Rise: 2, Fall: 3},
	} {
		if got := table.Lookup("a.is").Backends[i].Health; got != want {
			t.Errorf("backend %d is checked by %+v, want %+v", i, got, want)
		}
	}
}
