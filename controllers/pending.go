package controllers

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/jovalle/usher/api/v1alpha1"
)

// pendingAgain is how often it is asked whether all members have been asked.
const pendingAgain = time.Second

// pending returns how long a decision about a host may have to wait after a start.
// Where the cluster that holds it has not been asked yet, what is decided is what was
// decided before. A host that nobody holds is given away for good: to the oldest claim
// of all clusters, not to that of the cluster that answers first.
func (r *ExposedHostReconciler) pending(current *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster) (wait time.Duration) {
	if isManual(current) {
		return 0
	}
	if is := holding(current); is != nil && clusters[is.Holder] != nil {
		if is.Reason == "" {
			return 0 // its status was never written
		}
		return r.Members.Pending(is.Holder)
	}
	connecting := r.Members.Names()
	for name, cluster := range clusters {
		if !slices.Contains(connecting, name) && meta.IsStatusConditionFalse(cluster.Status.Conditions, v1alpha1.ConditionConnected) {
			continue // it has no usable kubeconfig, and is never connected
		}
		wait = max(wait, r.Members.Pending(name))
	}
	return min(wait, pendingAgain)
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
