package controllers

import (
	"time"

	"github.com/jovalle/usher/api/v1alpha1"
)

// pending returns how long a decision about a host may have to wait after a start:
// the cluster that holds it has not been asked yet, so that what is decided is what
// was decided before.
func (r *ExposedHostReconciler) pending(current *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster) time.Duration {
	if holds := holding(current); holds != nil && holds.Reason != "" && clusters[holds.Cluster] != nil {
		return r.Members.Pending(holds.Cluster)
	}
	return 0
}

// unasked returns how long a rival's cluster may still go without having been asked
// since the start.
func (r *ExposedHostReconciler) unasked(current *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster) (wait time.Duration) {
	if current == nil {
		return 0
	}
	for _, rival := range current.Status.Rivals {
		if clusters[rival.Cluster] != nil {
			wait = max(wait, r.Members.Pending(rival.Cluster))
		}
	}
	return wait
}

// keepRivals leaves in a status the rivals that were told before.
func keepRivals(before v1alpha1.ExposedHostStatus, after *v1alpha1.ExposedHostStatus) {
	after.Rivals, after.RivalsTotal, after.Summary.Rivals = before.Rivals, before.RivalsTotal, before.Summary.Rivals
}
