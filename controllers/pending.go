package controllers

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/jovalle/usher/api/v1alpha1"
)

// pendingAgain is the interval of the checks whether all members have been reached.
const pendingAgain = time.Second

// pending returns how long a decision on a host may have to wait after a start. While the
// cluster that holds it has not been reached, the decision stays the recorded one. A host
// that nobody holds waits for all clusters, since its assignment is permanent: it goes to
// the oldest claim of all clusters, not to the cluster that answers first.
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
			continue // without a usable kubeconfig it is never connected
		}
		wait = max(wait, r.Members.Pending(name))
	}
	return min(wait, pendingAgain)
}

// unreached returns the longest time until it is known, after a start, whether the
// clusters of all rivals can be reached; 0 if it is known.
func (r *ExposedHostReconciler) unreached(current *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster) (wait time.Duration) {
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

// keepRivals copies the rivals of the last status into the next one.
func keepRivals(before v1alpha1.ExposedHostStatus, after *v1alpha1.ExposedHostStatus) {
	after.Rivals, after.RivalsTotal, after.Summary.Rivals = before.Rivals, before.RivalsTotal, before.Summary.Rivals
}
