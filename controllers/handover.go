package controllers

import (
	"slices"
	"sync"
	"time"

	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/source"
)

// DefaultHandoverGrace is how long the holder of a host must have claimed it no more
// before another cluster gets it: longer than it takes to delete an object and to
// create it again.
const DefaultHandoverGrace = 10 * time.Second

// staleAgain is how often it is asked whether a holder that is away is in sync again.
const staleAgain = 2 * time.Second

// unclaimedHosts are the hosts that their holders claim no more, for as long as no
// other cluster may have them, whether they are withdrawn meanwhile or not. A new
// leader knows of none: the grace begins again then, by a clock that nobody sets.
type unclaimedHosts struct {
	mu    sync.Mutex
	since map[string]unclaimedHost // host → who held it
}

// unclaimedHost is who held a host, and since when it is known to claim it no more.
type unclaimedHost struct {
	holder string
	since  time.Time
}

// of returns what is remembered of a host; of none, nobody held it.
func (u *unclaimedHosts) of(host string) unclaimedHost {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.since[host]
}

// note remembers a host, and returns since when its holder claims it no more.
func (u *unclaimedHosts) note(host, holder string) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.since == nil {
		u.since = map[string]unclaimedHost{}
	}
	if u.since[host].holder != holder {
		u.since[host] = unclaimedHost{holder, time.Now()}
	}
	return u.since[host].since
}

func (u *unclaimedHosts) forget(host string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.since, host)
}

// recallUnclaimed adds to what is known of a host since when its holder claims it no
// more. A host that was withdrawn has no object that names its holder.
func (r *ExposedHostReconciler) recallUnclaimed(in *admission.Input, policy admission.Policy) {
	was := r.unclaimed.of(in.Host)
	if in.Current == nil && !in.Manual && policy.Clusters[was.holder].InSync {
		in.Current = &admission.Holding{Holder: was.holder, Cluster: was.holder}
	}
	if in.Current == nil {
		return
	}
	holder := in.Current.Holder
	if holder == was.holder && holder != "" {
		in.Unclaimed = time.Since(was.since)
	}
	claims := slices.ContainsFunc(in.Claims, func(c source.Claim) bool { return c.Source.Cluster == holder })
	if cluster := policy.Clusters[holder]; cluster.InSync && !claims {
		cluster.Stale = !r.Members.Synced(holder)
		policy.Clusters[holder] = cluster
	}
}

// noteUnclaimed remembers a host that its holder claims no more, forgets any other,
// and returns when to decide again; 0 where nothing is to be waited for.
func (r *ExposedHostReconciler) noteUnclaimed(host string, decision admission.Decision) time.Duration {
	if !decision.Unclaimed {
		r.unclaimed.forget(host)
		return 0
	}
	if left := r.HandoverGrace - time.Since(r.unclaimed.note(host, decision.Holder)); left > 0 {
		return left
	}
	return staleAgain
}

// soonest returns the shorter of two times to wait; 0 is none.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
