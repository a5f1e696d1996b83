package routetable

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/proxy/routing"
)

// Build returns the table of all hosts that are accepted and have a backend
// with an address. It also returns what keeps an accepted host out of the table,
// an error a host, each naming the object and the field.
func Build(hosts []v1alpha1.ExposedHost, clusters []v1alpha1.MemberCluster) (*routing.Table, []error) {
	named := byName(clusters)
	routes := make([]routing.Route, 0, len(hosts))
	alone := map[string][]routing.Backend{} // cluster → the backends of hosts that it alone serves
	var problems []error
	for i := range hosts {
		route, serves, err := read(&hosts[i], named)
		switch {
		case err != nil:
			problems = append(problems, err)
		case serves:
			if cluster := route.Backends[0].Cluster; len(route.Backends) == 1 && cluster != "" {
				if alone[cluster] == nil {
					alone[cluster] = route.Backends
				}
				route.Backends = alone[cluster] // one for all, so that it stays in the processor's caches
			}
			routes = append(routes, route)
		}
	}
	return routing.NewTable(routes), problems
}

// Follow returns the table that Build would return now that the object of one host
// has changed: the same one where that makes no difference. The clusters must be
// those that the table rests on.
func Follow(table *routing.Table, host string, eh *v1alpha1.ExposedHost, clusters []v1alpha1.MemberCluster) (*routing.Table, error) {
	route, serves, err := read(eh, byName(clusters))
	if err != nil || !serves {
		return table.Without(host), err
	}
	if before := table.Own(host); before != nil && reflect.DeepEqual(*before, route) {
		return table, nil
	}
	return table.With(route), nil
}

// byName returns clusters by their names: name → cluster.
func byName(clusters []v1alpha1.MemberCluster) map[string]*v1alpha1.MemberCluster {
	named := make(map[string]*v1alpha1.MemberCluster, len(clusters))
	for i := range clusters {
		named[clusters[i].Name] = &clusters[i]
	}
	return named
}

// read returns an object's route, and whether it is to be served.
func read(eh *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster) (route routing.Route, serves bool, err error) {
	if !meta.IsStatusConditionTrue(eh.Status.Conditions, v1alpha1.ConditionAccepted) {
		return routing.Route{}, false, nil
	}
	route, wrong := routeOf(eh, clusters)
	if wrong != nil {
		return routing.Route{}, false, fmt.Errorf("ExposedHost %s: %w", eh.Name, wrong)
	}
	return route, len(route.Backends) > 0, nil
}
