package controllers

import (
	"slices"
	"sync"
	"time"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/source"
)

// DefaultHandoverGrace is how long the holder must not have claimed a host before another
// cluster gets it. It is longer than it takes to delete an object and create it again.
const DefaultHandoverGrace = 10 * time.Second

// staleAgain is the interval of the checks whether an unreachable holder is in sync again.
const staleAgain = 2 * time.Second

// unclaimedHosts are the hosts that their holders no longer claim, until another cluster
// may get them, or the holder claims them again and an object in the cache says so. A host
// stays in it when it is withdrawn. The times are in memory and use the monotonic clock: on
// a new leader the grace starts again.
type unclaimedHosts struct {
	mu    sync.Mutex
	since map[string]unclaimedHost // host → who held it
}

// unclaimedHost is the former holder of a host, and since when it is known not to claim
// the host. The time is zero if it claims the host again.
type unclaimedHost struct {
	holder string
	since  time.Time
}

// of returns the entry of a host; without one, holder is empty.
func (u *unclaimedHosts) of(host string) unclaimedHost {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.since[host]
}

// note adds a host, and returns since when its holder has not claimed it.
func (u *unclaimedHosts) note(host, holder string) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.since == nil {
		u.since = map[string]unclaimedHost{}
	}
	if was := u.since[host]; was.holder != holder || was.since.IsZero() {
		u.since[host] = unclaimedHost{holder, time.Now()}
	}
	return u.since[host].since
}

// claimed notes that a cluster that held a host claims it again, and forgets a host that
// another one gets. Recorded is the holder in the cached object of the host: until it is the
// cluster, the entry stays, so that no decision is made as if nobody had held the host.
func (u *unclaimedHosts) claimed(host, holder, recorded string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch was, ok := u.since[host]; {
	case !ok:
	case was.holder == holder && recorded != holder:
		u.since[host] = unclaimedHost{holder: holder}
	default:
		delete(u.since, host)
	}
}

// recallUnclaimed sets in the input since when the holder has not claimed the host. It
// also sets the holder, since a withdrawn host has no object that names it.
func (r *ExposedHostReconciler) recallUnclaimed(in *admission.Input, policy admission.Policy) {
	was := r.unclaimed.of(in.Host)
	if in.Current == nil && !in.Manual && policy.Clusters[was.holder].InSync {
		in.Current = &admission.Holding{Holder: was.holder, Cluster: was.holder}
	}
	if in.Current == nil {
		return
	}
	holder := in.Current.Holder
	if holder == was.holder && !was.since.IsZero() {
		in.Unclaimed = time.Since(was.since)
	}
	claims := slices.ContainsFunc(in.Claims, func(c source.Claim) bool { return c.Source.Cluster == holder })
	if cluster := policy.Clusters[holder]; cluster.InSync && !claims {
		cluster.Stale = !r.Members.Synced(holder)
		policy.Clusters[holder] = cluster
	}
}

// noteUnclaimed adds a host whose holder no longer claims it, and removes any other host
// once its object in the cache names the holder. It returns the time until the next
// decision; 0 if there is nothing to wait for.
func (r *ExposedHostReconciler) noteUnclaimed(host string, current *v1alpha1.ExposedHost, decision admission.Decision) time.Duration {
	if !decision.Unclaimed {
		recorded := ""
		if held := holding(current); held != nil {
			recorded = held.Holder
		}
		r.unclaimed.claimed(host, decision.Holder, recorded)
		return 0
	}
	if left := r.HandoverGrace - time.Since(r.unclaimed.note(host, decision.Holder)); left > 0 {
		return left
	}
	return staleAgain
}

// soonest returns the shorter of two waiting times; 0 means none.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
