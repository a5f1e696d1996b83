package routetable_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/allowfrom"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/proxy/routing"
)

// A table that was updated after every change has the same routes as a table that is
// built from the final objects.
func TestUpdateIsConsistentWithBuild(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	objects := map[string]v1alpha1.ExposedHost{} // host → object
	lists, _ := allowfrom.Read(networks)
	table, _ := routetable.Build(routetable.Objects{Clusters: clusters, Networks: networks})
	for i := range 3000 {
		var reported []error
		name := []string{"a.is", "b.is", "*.a.is", "c.b.is"}[random.IntN(4)]
		if random.IntN(4) == 0 {
			delete(objects, name)
			table = table.Without(name)
		} else {
			objects[name] = anyHost(random, name)
			next, problem := routetable.Update(table, new(objects[name]), clusters, lists)
			if again, _ := routetable.Update(next, new(objects[name]), clusters, lists); again != next {
				t.Fatalf("step %d: a second update of %s returns another table", i, name)
			}
			if table = next; problem != nil {
				reported = append(reported, problem)
			}
		}
		want, problems := routetable.Build(routetable.Objects{Hosts: slices.Collect(maps.Values(objects)), Clusters: clusters, Networks: networks})
		if g, w := routesOf(table), routesOf(want); !maps.Equal(g, w) || table.Len() != want.Len() || table.Refused() != want.Refused() {
			t.Fatalf("step %d: after a change of %s the table has %v, want %v", i, name, g, w)
		}
		for _, problem := range reported {
			if !slices.ContainsFunc(problems, func(p error) bool { return p.Error() == problem.Error() }) {
				t.Fatalf("step %d: Update returns %q, and Build %q", i, problem, problems)
			}
		}
	}
}

// anyHost returns a random host, which is served or refused for one of several reasons.
func anyHost(random *rand.Rand, name string) v1alpha1.ExposedHost {
	const yes, no = metav1.ConditionTrue, metav1.ConditionFalse
	return host(name, []metav1.ConditionStatus{yes, yes, yes, no, ""}[random.IntN(5)], func(s *v1alpha1.ExposedHostSpec) {
		for _, cluster := range []string{"hades", "illmatic", "astray", "nowhere"} {
			if random.IntN(3) == 0 {
				s.Backends = append(s.Backends, v1alpha1.HostBackend{Cluster: cluster})
			}
		}
		s.PlainHTTP = []v1alpha1.PlainHTTP{"", v1alpha1.PlainHTTPForward, v1alpha1.PlainHTTPDeny, "Maybe"}[random.IntN(4)]
		s.AllowFrom = [][]string{nil, {"192.0.2.0/24"}, {"192.0.2.0/24", "2001:db8::/32"}, {"me"}, {"@family", "192.0.2.0/24"}, {"@family&@vpn"}, {"@nobody"}}[random.IntN(7)]
	})
}

// routesOf returns the routes of a table as texts: host → route.
func routesOf(table *routing.Table) map[string]string {
	routes := map[string]string{}
	for r := range table.All() {
		route, source := *r, ""
		if r.Source != nil {
			source = r.Source.String()
		}
		route.Source, route.Reached = nil, nil // pointers
		routes[r.Host] = fmt.Sprintf("%+v %s", route, source)
	}
	return routes
}

// The data plane does not import the API, so it has a copy of the reason that it sets itself.
func TestReasonExcepted(t *testing.T) {
	if routing.ReasonExcepted != reason.Excepted {
		t.Errorf("package routing has %q, package reason has %q", routing.ReasonExcepted, reason.Excepted)
	}
}
