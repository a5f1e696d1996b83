package routetable

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/allowfrom"
	"github.com/jovalle/usher/proxy/routing"
)

// Objects are all objects that a table is built from.
type Objects struct {
	Hosts    []v1alpha1.ExposedHost
	Clusters []v1alpha1.MemberCluster
	Networks []v1alpha1.NetworkList

	// Before is the table that the new one replaces; nil for none. Its routes hand on
	// their counters.
	Before *routing.Table
}

// Replace builds a table as Build does, and stores it in place of the one that live holds.
// It returns the errors of Build.
func Replace(live *routing.Live, all Objects) []error {
	all.Before = live.Load()
	table, problems := Build(all)
	live.Store(table)
	return problems
}

// Build returns the table of all hosts. A host that is accepted and has a backend with
// an address is served. Every other host is refused, so that no wildcard serves it.
// Build also returns an error for each accepted host that cannot be served, and for each
// NetworkList that cannot be read. The error names the object and the field. A host that
// names a missing NetworkList is refused without an error: its list may still appear.
func Build(all Objects) (*routing.Table, []error) {
	named := byName(all.Clusters)
	lists, problems := allowfrom.Read(all.Networks)
	routes := make([]routing.Route, 0, len(all.Hosts))
	shared := map[sharedBackend][]routing.Backend{} // the backends of hosts with only this one
	for i := range all.Hosts {
		route, err := read(&all.Hosts[i], named, lists)
		if err != nil {
			problems = append(problems, err)
		}
		if all.Before != nil {
			before := all.Before.Own(route.Host)
			keepTurns(&route, before)
			route.Continue(before)
		}
		if backends := all.Hosts[i].Spec.Backends; len(route.Backends) == 1 && len(backends) == 1 && backends[0].Cluster != "" {
			key := sharedBackend{backends[0].Cluster, backends[0].Gateway, weight(backends[0])}
			if shared[key] == nil {
				shared[key] = route.Backends
			}
			route.Backends = shared[key] // one slice for all hosts, so that it stays in the CPU caches
		}
		routes = append(routes, route)
	}
	return routing.NewTable(routes), problems
}

// sharedBackend is a cluster, one of its Gateways if not empty, and a weight.
type sharedBackend struct {
	cluster, gateway string
	weight           uint8
}

// Update returns the table that Build would return after the object of one host has
// changed. If its route has not changed, that is the same table. The clusters and the
// lists must be those that the table was built with.
func Update(table *routing.Table, eh *v1alpha1.ExposedHost, clusters []v1alpha1.MemberCluster, lists allowfrom.Lists) (*routing.Table, error) {
	route, err := read(eh, byName(clusters), lists)
	before := table.Own(route.Host)
	if before != nil {
		route.Reached = before.Reached // only a table sets it
	}
	if keepTurns(&route, before); before != nil && reflect.DeepEqual(*before, route) {
		return table, err
	}
	return table.With(route), err
}

// byName returns a map of the clusters: name → cluster.
func byName(clusters []v1alpha1.MemberCluster) map[string]*v1alpha1.MemberCluster {
	named := make(map[string]*v1alpha1.MemberCluster, len(clusters))
	for i := range clusters {
		named[clusters[i].Name] = &clusters[i]
	}
	return named
}

// read returns the route of an object. The route is a refusal if the host cannot be
// served. If the host is accepted, but a field of the object is invalid, read also
// returns an error. The host of the route is always spec.host, which the API server
// keeps consistent with the object's name.
func read(eh *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster, lists allowfrom.Lists) (routing.Route, error) {
	accepted := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionAccepted)
	if accepted == nil || accepted.Status != metav1.ConditionTrue {
		return refusal(eh, refusalReason(accepted)), nil
	}
	route, invalid := routeOf(eh, clusters, lists)
	switch {
	case invalid == nil:
	case invalid.Type == field.ErrorTypeNotFound:
		return refusal(eh, reason.UnknownNetworkList), nil
	default:
		return refusal(eh, reason.SpecInvalid), fmt.Errorf("ExposedHost %s: %w", eh.Name, invalid)
	}
	if len(route.Backends) == 0 {
		return refusal(eh, Unserved(eh.Spec.Backends, clusters)), nil
	}
	route.Source = sourceOf(eh, accepted)
	return route, nil
}

// sourceOf returns the object that publishes an accepted host: the first source of its
// status or, if a person wrote the ExposedHost, that. It returns nil if the status is older
// than the spec, so that its sources may be those of another cluster.
func sourceOf(eh *v1alpha1.ExposedHost, accepted *metav1.Condition) *routing.Source {
	switch {
	case len(eh.Status.Sources) == 0 && eh.Labels[v1alpha1.LabelManaged] != "true":
		return &routing.Source{Kind: "ExposedHost", Name: eh.Name}
	case len(eh.Status.Sources) == 0 || accepted.ObservedGeneration != eh.Generation:
		return nil
	}
	s := eh.Status.Sources[0]
	named := &routing.Source{Cluster: s.Cluster, Kind: s.Kind, Namespace: s.Namespace, Name: s.Name}
	if by := eh.Status.RequestedBy; by != nil && by.SourceRef == s {
		named.ResourceVersion, named.Manager = by.ResourceVersion, by.Manager
	}
	return named
}

// refusalReason returns the reason of an Accepted condition that is not True, or is missing.
func refusalReason(accepted *metav1.Condition) string {
	if accepted == nil || accepted.Reason == "" {
		return reason.NotDecided
	}
	return accepted.Reason
}

// Unserved returns the reason why a host whose backends have no address is not served.
func Unserved(backends []v1alpha1.HostBackend, clusters map[string]*v1alpha1.MemberCluster) string {
	switch {
	case len(backends) == 0:
		return reason.NoBackend
	case len(weighted(backends)) == 0:
		return reason.NoWeight
	case clusters[backends[0].Cluster] == nil: // of several, the first
		return reason.UnknownCluster
	}
	return reason.NoIngressAddress
}

func refusal(eh *v1alpha1.ExposedHost, why string) routing.Route {
	return routing.Route{Host: eh.Spec.Host, Refusal: why}
}
