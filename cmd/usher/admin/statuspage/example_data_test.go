package statuspage

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/proxy/eventloop"
	"github.com/jovalle/usher/proxy/history"
	"github.com/jovalle/usher/proxy/knocks"
	"github.com/jovalle/usher/proxy/routing"
)

// fixed are objects that change only when a test changes them.
type fixed struct {
	hosts   []v1alpha1.ExposedHost
	members []v1alpha1.MemberCluster
	changes uint64
	err     error
}

func (f *fixed) Changes() uint64 { return f.changes }

func (f *fixed) Read(context.Context) ([]v1alpha1.ExposedHost, []v1alpha1.MemberCluster, error) {
	return f.hosts, f.members, f.err
}

func (f *fixed) Host(_ context.Context, host string) (*v1alpha1.ExposedHost, error) {
	for i := range f.hosts {
		if f.hosts[i].Spec.Host == host {
			return &f.hosts[i], f.err
		}
	}
	return nil, f.err
}

func condition(kind string, good bool, why, text string) metav1.Condition {
	c := metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: why, Message: text, LastTransitionTime: metav1.NewTime(time.Now().Add(-3 * time.Hour))}
	if good {
		c.Status = metav1.ConditionTrue
	}
	return c
}

// hostOf returns an ExposedHost; why is the reason of its refusal, or empty.
func hostOf(host, cluster, why, text string) v1alpha1.ExposedHost {
	eh := v1alpha1.ExposedHost{Spec: v1alpha1.ExposedHostSpec{Host: host, Holder: cluster, Backends: []v1alpha1.HostBackend{{Cluster: cluster}}}}
	eh.Name = v1alpha1.NameOfHost(host)
	eh.Labels = map[string]string{v1alpha1.LabelManaged: "true"}
	eh.Status.Sources = []v1alpha1.SourceRef{{Cluster: cluster, Kind: "IngressRoute", Namespace: "default", Name: "app"}}
	eh.Status.SourcesTotal = 1
	accepted, ready := why == "", true
	if why == reason.NoIngressAddress {
		accepted, ready = true, false
	}
	if accepted {
		eh.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionAccepted, true, reason.Admitted, ""), condition(v1alpha1.ConditionReady, ready, why, text)}
		eh.Status.Backends = []string{"192.0.2.10:443"}
	} else {
		eh.Status.Conditions = []metav1.Condition{condition(v1alpha1.ConditionAccepted, false, why, text)}
	}
	return eh
}

func memberNamed(name string, conditions ...metav1.Condition) v1alpha1.MemberCluster {
	mc := v1alpha1.MemberCluster{}
	mc.Name = name
	mc.Status.Conditions = conditions
	mc.Status.LastSyncTime = new(metav1.NewTime(time.Now().Add(-2 * time.Hour)))
	mc.Status.KubernetesVersion = "v1.36.3"
	return mc
}

func healthy() []metav1.Condition {
	return []metav1.Condition{
		condition(v1alpha1.ConditionConnected, true, reason.Connected, ""), condition(v1alpha1.ConditionSynced, true, reason.Synced, ""),
		condition(v1alpha1.ConditionReady, true, reason.Ready, ""),
	}
}

// tableOf returns a table with a route for each exposed host.
func tableOf(hosts []v1alpha1.ExposedHost) *routing.Live {
	var routes []routing.Route
	for i := range hosts {
		route := routing.Route{Host: hosts[i].Spec.Host}
		if state, why, _, _ := stateOf(&hosts[i]); state == exposed {
			route.Backends = []routing.Backend{{Cluster: hosts[i].Spec.Holder, Addresses: []string{"192.0.2.10"}}}
		} else {
			route.Refusal = why
		}
		routes = append(routes, route)
	}
	live := &routing.Live{}
	live.Store(routing.NewTable(routes))
	return live
}

// example returns a server that shows some of everything.
func example(t *testing.T) (*Server, *fixed) {
	t.Helper()
	objects := &fixed{
		hosts: []v1alpha1.ExposedHost{
			hostOf("whoami.techn.is", "hades", "", ""),
			hostOf("media.techn.is", "illmatic", "", ""),
			hostOf("*.apps.techn.is", "hades", "", ""),
			hostOf("outside.example.org", "hades", reason.AllowedDomains, "the cluster may publish names under techn.is only"),
			hostOf("cold.techn.is", "illmatic", reason.NoIngressAddress, "the first backend has no address"),
		},
		members: []v1alpha1.MemberCluster{
			memberNamed("hades", healthy()...),
			memberNamed("illmatic", condition(v1alpha1.ConditionConnected, false, reason.Unreachable, "dial tcp 192.0.2.20:6443: i/o timeout"), condition(v1alpha1.ConditionSynced, false, reason.Stale, "")),
		},
	}
	objects.hosts[0].Status.Rivals = []v1alpha1.Rival{{SourceRef: v1alpha1.SourceRef{Cluster: "illmatic", Kind: "Ingress", Namespace: "default", Name: "same"}, Reason: reason.HeldByAnother}}
	now := time.Now()
	lines := []history.Line{
		{Time: now.Add(-time.Hour), Event: history.Started},
		{Time: now.Add(-time.Minute), Event: history.Exposed, Host: "whoami.techn.is", By: &routing.Source{Cluster: "hades", Kind: "IngressRoute", Namespace: "default", Name: "app"}},
	}
	s := &Server{
		Version: "v1.2.3", Objects: objects, Table: tableOf(objects.hosts), Draining: make(chan struct{}),
		Totals: func() eventloop.Totals {
			return eventloop.Totals{Open: 3, Refused: 7, Clusters: map[string]eventloop.ClusterTotals{"hades": {Open: 3}}}
		},
		Knocks: func() []knocks.Knock {
			return []knocks.Knock{{Host: "vault.techn.is", Count: 12, First: now, Last: now, Reason: "no_route", Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, ServedBy: []string{"hades"}}}
		},
		Latest: func() []history.Line { return append([]history.Line(nil), lines...) },
		History: func(q history.Query) (history.Answer, error) {
			return history.Answer{From: now.Add(-24 * time.Hour), Periods: []history.Period{{Host: q.Host, From: now.Add(-time.Minute), Connections: 42}}}, nil
		},
		Serving: func(host string) []string {
			if host == "vault.techn.is" {
				return []string{"hades"}
			}
			return nil
		},
	}
	return s, objects
}

// handler returns the pages of a server.
func handler(s *Server) http.Handler {
	mux := http.NewServeMux()
	s.Register(mux)
	return mux
}

// many returns a number of exposed hosts.
func many(n int) []v1alpha1.ExposedHost {
	hosts := make([]v1alpha1.ExposedHost, n)
	for i := range hosts {
		hosts[i] = hostOf(fmt.Sprintf("app-%05d.techn.is", i), []string{"hades", "illmatic"}[i%2], "", "")
	}
	return hosts
}
