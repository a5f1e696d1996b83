package health

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jovalle/usher/proxy/routing"
)

// subject is what is checked: an address or a name of a backend, on a port.
type subject struct {
	cluster, address string
	port             uint16
}

// plan says how a subject is checked.
type plan struct {
	routing.HealthCheck
	host    string // the server name of a TLS check
	own     bool   // host is the host of a route, not one under a wildcard
	backend *routing.Backend
}

// needed returns how many checks in a row change the state of an address.
func (p *plan) needed(unhealthy bool) int {
	if unhealthy {
		return p.Rise
	}
	return p.Fall
}

// The values of a HealthCheck that sets none.
const (
	defaultInterval = 10 * time.Second
	defaultTimeout  = 3 * time.Second
	defaultRise     = 2
	defaultFall     = 3
)

// plansOf returns the plans of all subjects that a table asks to check, up to the bounds.
// It is the same for the same table. Ports for plain HTTP are not checked.
func plansOf(table *routing.Table) map[subject]*plan {
	plans := make(map[subject]*plan)
	for route := range table.All() {
		if route.Refusal != "" || route.PlainOnly {
			continue
		}
		if !route.NotHTTPS {
			addPlans(plans, route.Host, route.Backends)
		}
		for i := range route.Ports {
			addPlans(plans, route.Host, route.Ports[i].Backends)
		}
	}
	bound(plans)
	return plans
}

// addPlans adds the plans of the backends of a host.
func addPlans(plans map[subject]*plan, host string, backends []routing.Backend) {
	for i := range backends {
		b := &backends[i]
		if b.Health.Type == routing.NoCheck {
			continue
		}
		for _, address := range b.Addresses {
			s := subject{b.Cluster, address, b.HTTPSPort}
			if known := plans[s]; known == nil || known.follows(host) {
				plans[s] = planFor(host, b)
			}
		}
	}
}

// checkLabel is the first label of the name that a check of a wildcard's backend uses.
const checkLabel = "usher-health-check"

func planFor(host string, b *routing.Backend) *plan {
	p := &plan{HealthCheck: b.Health, host: host, own: true, backend: b}
	if parent, isWildcard := strings.CutPrefix(host, "*."); isWildcard {
		p.host, p.own = checkLabel+"."+parent, false
	}
	p.Interval = cmp.Or(max(p.Interval, 0), defaultInterval)
	p.Timeout = cmp.Or(max(p.Timeout, 0), defaultTimeout)
	p.Rise = cmp.Or(max(p.Rise, 0), defaultRise)
	p.Fall = cmp.Or(max(p.Fall, 0), defaultFall)
	return p
}

// follows reports whether another host is to be preferred to that of the plan: hosts to
// names under a wildcard, and of these the first in order, so that the name stays the
// same while other hosts come and go.
func (p *plan) follows(host string) bool {
	parent, isWildcard := strings.CutPrefix(host, "*.")
	if p.own == isWildcard {
		return !isWildcard
	}
	if isWildcard {
		host = checkLabel + "." + parent
	}
	return host < p.host
}

// bound removes the plans that exceed the bounds.
func bound(plans map[subject]*plan) {
	if len(plans) <= maxWatchedOfCluster {
		return
	}
	total, ofCluster := 0, make(map[string]int)
	for _, s := range slices.SortedFunc(maps.Keys(plans), compareSubjects) {
		if total == maxWatched || ofCluster[s.cluster] == maxWatchedOfCluster {
			delete(plans, s)
			continue
		}
		total++
		ofCluster[s.cluster]++
	}
}

func compareSubjects(a, b subject) int {
	return cmp.Or(cmp.Compare(a.cluster, b.cluster), cmp.Compare(a.address, b.address), cmp.Compare(a.port, b.port))
}
