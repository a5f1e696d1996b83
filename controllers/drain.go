package controllers

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/routetable"
)

// setDraining sets the Draining condition of a member: True if it is drained, False if its
// annotation is malformed. A member that is not drained has no such condition.
func setDraining(mc *v1alpha1.MemberCluster, hosts servedHosts) {
	drains, err := routetable.Drains(mc)
	condition := metav1.Condition{Type: v1alpha1.ConditionDraining, Status: metav1.ConditionTrue, Reason: reason.Draining}
	switch {
	case err != nil:
		condition.Status, condition.Reason = metav1.ConditionFalse, reason.AnnotationInvalid
		condition.Message = message.Format("%s; the cluster is not drained", message.Of(err))
	case !drains:
		meta.RemoveStatusCondition(&mc.Status.Conditions, v1alpha1.ConditionDraining)
		return
	case hosts.onlyTotal == 0:
		condition.Message = "the cluster's hosts get no new connections here while another backend answers; each has another backend"
	default:
		condition.Message = message.Format("the cluster's hosts get no new connections here while another backend answers; hosts without another backend, which keep this one: %d: %s", hosts.onlyTotal, strings.Join(hosts.only, ", "))
		if hosts.onlyTotal > len(hosts.only) {
			condition.Message += ", …"
		}
	}
	setConditions(&mc.Status.Conditions, mc.Generation, condition)
}
