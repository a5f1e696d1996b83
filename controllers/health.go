package controllers

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
)

// Health is what the health checks of this process show.
type Health interface {
	// Health returns how many addresses of a cluster are healthy, of those that are
	// checked. Both are 0 if none is checked.
	Health(cluster string) (healthy, total int)
	// HealthChanged sets the function that is called with the name of a cluster whose
	// health has changed. The function does not block.
	HealthChanged(changed func(cluster string))
}

// Healthy sets the condition Healthy of MemberClusters by the health checks of the proxy
// in this process. Without it, they have no such condition.
func Healthy(checks Health) Option { return func(c *controlPlane) { c.health = checks } }

// setHealthy sets the condition Healthy of a member. A member of which no address is
// checked has no such condition.
func setHealthy(mc *v1alpha1.MemberCluster, checks Health) {
	healthy, total := 0, 0
	if checks != nil {
		healthy, total = checks.Health(mc.Name)
	}
	condition := metav1.Condition{Type: v1alpha1.ConditionHealthy, Status: metav1.ConditionTrue, Reason: reason.Healthy,
		Message: message.Format("all checked addresses pass the health check: %d", total)}
	switch {
	case total == 0:
		meta.RemoveStatusCondition(&mc.Status.Conditions, v1alpha1.ConditionHealthy)
		return
	case healthy < total:
		condition.Status, condition.Reason = metav1.ConditionFalse, reason.HealthCheckFailed
		condition.Message = message.Format("%d of %d addresses do not pass the health check of spec.ingress.healthCheck; they are dialled after the others. usher's log names them", total-healthy, total)
	}
	setConditions(&mc.Status.Conditions, mc.Generation, condition)
}
