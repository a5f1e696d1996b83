package routetable

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/proxy/routing"
)

// The defaults of a health check.
const (
	defaultCheckInterval = 10 * time.Second
	defaultCheckTimeout  = 3 * time.Second
	defaultRise          = 2
	defaultFall          = 3
)

func strategy(s v1alpha1.Strategy) (routing.Strategy, error) {
	switch s {
	case v1alpha1.StrategyFailover, "":
		return routing.Failover, nil
	case v1alpha1.StrategyRoundRobin:
		return routing.RoundRobin, nil
	case v1alpha1.StrategyLeastConnections:
		return routing.LeastConnections, nil
	case v1alpha1.StrategyClientHash:
		return routing.ClientHash, nil
	}
	return 0, fmt.Errorf("%q is none of Failover, RoundRobin, LeastConnections, ClientHash", s)
}

// turns returns the counter of a route that takes turns; nil if the route does not, or has
// one address only. A DNS name may have several.
func turns(route *routing.Route) *atomic.Uint64 {
	addresses := 0
	count := func(backends []routing.Backend) {
		for _, b := range backends {
			for _, address := range b.Addresses {
				if addresses++; !isAddr(address) {
					addresses++
				}
			}
		}
	}
	count(route.Backends)
	for _, port := range route.Ports {
		count(port.Backends)
	}
	if route.Strategy != routing.RoundRobin || addresses < 2 {
		return nil
	}
	return new(atomic.Uint64)
}

func isAddr(address string) bool {
	_, err := netip.ParseAddr(address)
	return err == nil
}

// keepTurns gives a route the counter that it had in the table before.
func keepTurns(route, before *routing.Route) {
	if before != nil && before.Turns != nil && route.Turns != nil {
		route.Turns = before.Turns
	}
}

// weight returns a backend's weight; 0 means that it gets no new connections.
func weight(b v1alpha1.HostBackend) uint8 {
	if b.Weight == nil {
		return v1alpha1.MaxWeight
	}
	return uint8(min(max(*b.Weight, 0), v1alpha1.MaxWeight))
}

// weighted returns the backends that get connections.
func weighted(backends []v1alpha1.HostBackend) []v1alpha1.HostBackend {
	none := func(b v1alpha1.HostBackend) bool { return weight(b) == 0 }
	if !slices.ContainsFunc(backends, none) {
		return backends
	}
	return slices.DeleteFunc(slices.Clone(backends), none)
}

// Drains reports whether a cluster, which may be nil, is drained. An annotation that is
// neither true nor false is an error, and does not drain it.
func Drains(c *v1alpha1.MemberCluster) (bool, error) {
	if c == nil {
		return false, nil
	}
	switch value, given := c.Annotations[v1alpha1.AnnotationDrain]; {
	case !given, value == "false":
		return false, nil
	case value == "true":
		return true, nil
	default:
		return false, fmt.Errorf("metadata.annotations[%s]: %q is neither true nor false", v1alpha1.AnnotationDrain, value)
	}
}

// drainingLast moves the backends of drained clusters behind all others.
func drainingLast(backends []routing.Backend) []routing.Backend {
	slices.SortStableFunc(backends, func(a, b routing.Backend) int {
		switch {
		case a.Draining == b.Draining:
			return 0
		case b.Draining:
			return -1
		}
		return 1
	})
	return backends
}

// healthCheck returns a health check with its defaults.
func healthCheck(h *v1alpha1.HealthCheck) routing.HealthCheck {
	var kind routing.HealthCheckType
	switch {
	case h == nil:
		return routing.HealthCheck{}
	case h.Type == v1alpha1.HealthCheckTCP:
		kind = routing.CheckTCP
	case h.Type == v1alpha1.HealthCheckTLS:
		kind = routing.CheckTLS
	default:
		return routing.HealthCheck{}
	}
	return routing.HealthCheck{
		Type:     kind,
		Interval: duration(h.Interval, defaultCheckInterval, time.Second),
		Timeout:  duration(h.Timeout, defaultCheckTimeout, 100*time.Millisecond),
		Rise:     int(max(cmp.Or(h.Rise, defaultRise), 1)),
		Fall:     int(max(cmp.Or(h.Fall, defaultFall), 1)),
	}
}

// duration returns the given duration, or the default if it is not set; at least the least.
func duration(given *metav1.Duration, standard, least time.Duration) time.Duration {
	if given == nil {
		return standard
	}
	return max(given.Duration, least)
}

// HasUndrained reports whether a host has a backend, with an address, that is not in a
// drained cluster.
func HasUndrained(backends []v1alpha1.HostBackend, clusters map[string]*v1alpha1.MemberCluster) bool {
	return slices.ContainsFunc(Backends(backends, clusters), func(b routing.Backend) bool { return !b.Draining })
}
