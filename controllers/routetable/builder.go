package routetable

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/proxy/routing"
)

// Build returns the table of all hosts: a host that is accepted and has a backend
// with an address is served, each other one is refused, so that no wildcard serves
// it. It also returns what keeps an accepted host from being served, an error a
// host, each naming the object and the field.
func Build(hosts []v1alpha1.ExposedHost, clusters []v1alpha1.MemberCluster) (*routing.Table, []error) {
	named := byName(clusters)
	routes := make([]routing.Route, 0, len(hosts))
	alone := map[string][]routing.Backend{} // cluster → the backends of hosts that it alone serves
	var problems []error
	for i := range hosts {
		route, err := read(&hosts[i], named)
		if err != nil {
			problems = append(problems, err)
		}
		if len(route.Backends) == 1 && route.Backends[0].Cluster != "" {
			cluster := route.Backends[0].Cluster
			if alone[cluster] == nil {
				alone[cluster] = route.Backends
			}
			route.Backends = alone[cluster] // one for all, so that it stays in the processor's caches
		}
		routes = append(routes, route)
	}
	return routing.NewTable(routes), problems
}

// Follow returns the table that Build would return now that the object of one host
// has changed: the same one where that makes no difference. The clusters must be
// those that the table rests on.
func Follow(table *routing.Table, eh *v1alpha1.ExposedHost, clusters []v1alpha1.MemberCluster) (*routing.Table, error) {
	route, err := read(eh, byName(clusters))
	if before := table.Own(route.Host); before != nil && reflect.DeepEqual(*before, route) {
		return table, err
	}
	return table.With(route), err
}

// byName returns clusters by their names: name → cluster.
func byName(clusters []v1alpha1.MemberCluster) map[string]*v1alpha1.MemberCluster {
	named := make(map[string]*v1alpha1.MemberCluster, len(clusters))
	for i := range clusters {
		named[clusters[i].Name] = &clusters[i]
	}
	return named
}

// read returns an object's route, which is a refusal unless the host is to be
// served, and why it is not although it is accepted, where the object is to blame.
// Its host is the object's own in any case: the API keeps name and host in line.
func read(eh *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster) (routing.Route, error) {
	accepted := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionAccepted)
	if accepted == nil || accepted.Status != metav1.ConditionTrue {
		return refusal(eh, refusalReason(accepted)), nil
	}
	route, wrong := routeOf(eh, clusters)
	if wrong != nil {
		return refusal(eh, reason.SpecInvalid), fmt.Errorf("ExposedHost %s: %w", eh.Name, wrong)
	}
	if len(route.Backends) == 0 {
		return refusal(eh, Unserved(eh.Spec.Backends, clusters)), nil
	}
	return route, nil
}

// refusalReason returns the reason of an Accepted condition that is not True, or is missing.
func refusalReason(accepted *metav1.Condition) string {
	if accepted == nil || accepted.Reason == "" {
		return reason.NotDecided
	}
	return accepted.Reason
}

// Unserved says why a host whose backends have no address is not served.
func Unserved(backends []v1alpha1.HostBackend, clusters map[string]*v1alpha1.MemberCluster) string {
	switch {
	case len(backends) == 0:
		return reason.NoBackend
	case clusters[backends[0].Cluster] == nil:
		return reason.UnknownCluster
	}
	return reason.NoIngressAddress
}

func refusal(eh *v1alpha1.ExposedHost, why string) routing.Route {
	return routing.Route{Host: eh.Spec.Host, Refusal: why}
}
