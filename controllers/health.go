package controllers

import (
	"strings"

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

// setHealthy sets the condition Healthy of a member: what is worse of the health checks of
// its addresses and of the audits of its hosts. A member of which no address is checked
// and no host was audited has no such condition.
func setHealthy(mc *v1alpha1.MemberCluster, checks Health, audits *audits) {
	healthy, total := 0, 0
	if checks != nil {
		healthy, total = checks.Health(mc.Name)
	}
	kind, found, audited := audits.ofCluster(mc.Name)
	condition := metav1.Condition{Type: v1alpha1.ConditionHealthy, Status: metav1.ConditionTrue, Reason: reason.Healthy}
	var said []string
	switch {
	case healthy < total:
		condition.Reason = reason.HealthCheckFailed
		said = append(said, message.Format("%d of %d addresses do not pass the health check of spec.ingress.healthCheck; they are dialled after the others. usher's log names them", total-healthy, total))
	case total > 0:
		said = append(said, message.Format("all checked addresses pass the health check: %d", total))
	}
	switch {
	case kind != "":
		if healthy == total || worse(kind) {
			condition.Reason = kind
		}
		said = append(said, found)
	case audited:
		said = append(said, "the last audits of the cluster's hosts found nothing")
	}
	switch {
	case len(said) > 0:
	case audits.pending(): // what was found before the start stays until more is known
		return
	default:
		meta.RemoveStatusCondition(&mc.Status.Conditions, v1alpha1.ConditionHealthy)
		return
	}
	if condition.Reason != reason.Healthy {
		condition.Status = metav1.ConditionFalse
	}
	condition.Message = message.Bound(strings.Join(said, "; "))
	setConditions(&mc.Status.Conditions, mc.Generation, condition)
}
