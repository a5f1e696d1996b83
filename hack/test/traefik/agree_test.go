package traefik

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefikrule"
	"github.com/jovalle/usher/hack/test/testkit"
)

// For each generated object, the hosts that Traefik serves and those that usher
// publishes must agree:
//
//   - If usher lists the hosts of an object, both are the same.
//   - For every object, the hosts that usher would publish if its annotation named them
//     are those that Traefik serves. Traefik does not serve what usher cannot parse.
//   - If usher would publish a wildcard that the annotation named, Traefik serves every
//     host under it.
//   - If usher cannot list the hosts of an object, the object serves a host that it
//     does not name, or has a regular expression.
//
// If a route does not set its syntax, and usher does not know the default of the
// cluster's Traefik, it may publish fewer hosts, and only such as one of them serves.
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
	t.Run("default syntax v3", func(t *testing.T) { compareAll(t, subjects, served, traefikrule.V3) })
	proxy.Stop()

	proxy, err = cluster.StartTraefik(t.Context(), "--core.defaultRuleSyntax=v2")
	testkit.Must(t, err)
	for _, host := range sentinelHosts {
		testkit.Must(t, proxy.AwaitHost(t.Context(), host))
	}
	servedV2 := queryAll(t, newOracle(proxy), subjects)
	t.Run("default syntax v2", func(t *testing.T) { compareAll(t, subjects, servedV2, traefikrule.V2) })

	for i := range served {
		maps.Copy(served[i], servedV2[i])
	}
	t.Run("default syntax unknown", func(t *testing.T) { compareAll(t, subjects, served, traefikrule.Absent) })
	t.Logf("compared after %s", time.Since(start).Round(time.Second))
}

// compareAll compares all objects. The syntax is that of routes that do not set it, as
// usher knows it.
func compareAll(t *testing.T, subjects []*subject, served []map[string]bool, syntax traefikrule.Syntax) {
	t.Helper()
	outcomes := map[string]int{} // usher's result for an object → number of objects
	for i, s := range subjects {
		outcomes[compare(t, s, served[i], syntax)]++
	}
	t.Logf("of %d objects: %v", len(subjects), outcomes)
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

func compare(t *testing.T, s *subject, served map[string]bool, syntax traefikrule.Syntax) (outcome string) {
	t.Helper()
	in := source.Context{Cluster: "hades", RuleSyntax: syntax}
	published, refusals := publishes(s.object, in)
	named := publishesNamed(s.object, in)
	unknown := s.unsaid && syntax == traefikrule.Absent
	if !subset(published, served) || !subset(named, served) || !subset(published, named) {
		t.Errorf("%s\n is served by Traefik for %v,\n published by usher for %v, and for %v where they are named", s, names(served), names(published), names(named))
	}
	if !unknown && len(named) != len(served) {
		t.Errorf("%s\n is served by Traefik for %v,\n and published by usher for %v where they are named", s, names(served), names(named))
	}
	if wild := publishesWildcards(s.object, in); !subset(wild, served) {
		t.Errorf("%s\n is served by Traefik for %v,\n and published by usher for %v where its wildcards are named", s, names(served), names(wild))
	}
	why := func(reason string) bool {
		return slices.ContainsFunc(refusals, func(r source.Refusal) bool { return r.Reason == reason })
	}
	switch {
	case why(reason.UnknownHosts):
		if !unknown && !s.regexps && !slices.ContainsFunc(names(served), func(host string) bool { return !s.mentions(host) }) {
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
