package routetable

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/proxy/routing"
)

// Build returns the table of all hosts that are accepted and have a backend
// with an address. It also returns what keeps an accepted host out of the table,
// an error a host, each naming the object and the field.
func Build(hosts []v1alpha1.ExposedHost, clusters []v1alpha1.MemberCluster) (*routing.Table, []error) {
	return new(Builder).Build(hosts, clusters)
}

// Builder builds one table after another. Of objects that an API server has
// versioned it reads only those that have changed since the table before. The
// zero value is ready for use; calls must not overlap.
type Builder struct {
	clusters string                 // names and versions of the clusters that the readings rest on
	readings map[types.UID]*reading // ExposedHost → what was read of it
}

// reading is what one version of an ExposedHost comes to.
type reading struct {
	version string
	route   routing.Route // without a backend: not to be served
	problem error
}

// Build is as the function of that name.
func (b *Builder) Build(hosts []v1alpha1.ExposedHost, clusters []v1alpha1.MemberCluster) (*routing.Table, []error) {
	byName := make(map[string]*v1alpha1.MemberCluster, len(clusters)) // name → cluster
	for i := range clusters {
		byName[clusters[i].Name] = &clusters[i]
	}
	if versions := versionsOf(clusters); versions != b.clusters {
		b.clusters, b.readings = versions, nil
	}
	routes, readings := make([]routing.Route, 0, len(hosts)), make(map[types.UID]*reading, len(hosts))
	var problems []error
	for i := range hosts {
		r := b.read(&hosts[i], byName)
		readings[hosts[i].UID] = r
		switch {
		case r.problem != nil:
			problems = append(problems, r.problem)
		case len(r.route.Backends) > 0:
			routes = append(routes, r.route)
		}
	}
	b.readings = readings
	return routing.NewTable(routes), problems
}

// read returns what a host comes to, from the table before where it has not changed.
func (b *Builder) read(eh *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster) *reading {
	if r := b.readings[eh.UID]; r != nil && r.version == eh.ResourceVersion && r.version != "" {
		return r
	}
	r := &reading{version: eh.ResourceVersion}
	if !meta.IsStatusConditionTrue(eh.Status.Conditions, v1alpha1.ConditionAccepted) {
		return r
	}
	if r.route, r.problem = routeOf(eh, clusters); r.problem != nil {
		r.problem = fmt.Errorf("ExposedHost %s: %w", eh.Name, r.problem)
	}
	return r
}

// versionsOf changes with any of the clusters. Those of files have no version:
// neither have their hosts, which are read each time.
func versionsOf(clusters []v1alpha1.MemberCluster) string {
	var versions strings.Builder
	for i := range clusters {
		fmt.Fprintf(&versions, "%s %s\n", clusters[i].UID, clusters[i].ResourceVersion)
	}
	return versions.String()
}
