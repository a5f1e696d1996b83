package traefik

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/hack/test/testkit"
)

// For each generated object, the hosts that Traefik serves and those that usher
// publishes must agree:
//
//   - If usher lists the hosts of an object, both are the same.
//   - For every object, the hosts that usher would publish if its annotation named them
//     are those that Traefik serves. Traefik does not serve what usher cannot parse.
//   - If usher cannot list the hosts of an object, the object serves a host that it
//     does not name, or has a regular expression.
//
// If a route does not set its syntax, usher may publish fewer hosts, since the route may
// be for Traefik 2.
func TestUsherAndTraefikAgree(t *testing.T) {
	start := time.Now()
	cluster := bed.Cluster("hades")
	proxy, err := cluster.StartTraefik(t.Context())
	testkit.Must(t, err)
	subjects := generate(t, cluster)
	write(t, cluster, proxy, subjects)
	testkit.Must(t, readBack(t.Context(), cluster, subjects))
	t.Logf("%d objects of seed %d are loaded after %s", len(subjects), seed, time.Since(start).Round(time.Second))

	served := queryAll(t, newOracle(proxy), subjects)
	outcomes := map[string]int{} // usher's result for an object → number of objects
	for i, s := range subjects {
		outcomes[compare(t, s, served[i])]++
	}
	t.Logf("compared after %s: %v", time.Since(start).Round(time.Second), outcomes)
	for _, outcome := range []string{listed, unlisted, invalid} {
		if outcomes[outcome] < len(subjects)/20 {
			t.Errorf("only %d of %d objects were %s: too few to prove anything", outcomes[outcome], len(subjects), outcome)
		}
	}
}

// The results of usher for an object.
const (
	listed   = "listed"
	unlisted = "not listed"
	invalid  = "invalid in part"
)

func compare(t *testing.T, s *subject, served map[string]bool) (outcome string) {
	t.Helper()
	published, refusals := publishes(s.object)
	named := publishesNamed(s.object)
	if !subset(published, served) || !subset(named, served) || !subset(published, named) {
		t.Errorf("%s\n is served by Traefik for %v,\n published by usher for %v, and for %v where they are named", s, names(served), names(published), names(named))
	}
	if !s.unsaid && len(named) != len(served) {
		t.Errorf("%s\n is served by Traefik for %v,\n and published by usher for %v where they are named", s, names(served), names(named))
	}
	why := func(reason string) bool {
		return slices.ContainsFunc(refusals, func(r source.Refusal) bool { return r.Reason == reason })
	}
	switch {
	case why(reason.UnknownHosts):
		if !s.unsaid && !s.regexps && !slices.ContainsFunc(names(served), func(host string) bool { return !s.mentions(host) }) {
			t.Errorf("%s\n is served by Traefik for %v only,\n but usher does not list them: %v", s, names(served), refusals)
		}
		return unlisted
	case why(reason.RuleInvalid):
		return invalid
	case len(refusals) > 0:
		t.Errorf("%s\n is refused: %v", s, refusals)
	case len(published) != len(served):
		t.Errorf("%s\n is served by Traefik for %v,\n and published by usher for %v", s, names(served), names(published))
	}
	return listed
}

func subset(a, b map[string]bool) bool {
	for host := range a {
		if !b[host] {
			return false
		}
	}
	return true
}

func names(hosts map[string]bool) []string { return slices.Sorted(maps.Keys(hosts)) }
