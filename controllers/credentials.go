package controllers

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/member"
	"github.com/jovalle/usher/controllers/message"
)

// expiringFor is how long before the end of its credentials a member is reported.
const expiringFor = 30 * 24 * time.Hour

// setCredentials sets the condition CredentialsValid and the end of the credentials in
// the status of a member. If its kubeconfig cannot be read, or if it has none, there is
// nothing to say.
func setCredentials(mc *v1alpha1.MemberCluster, expiry member.Expiry, problem *configError, now time.Time) {
	if mc.Spec.Kubeconfig == nil || problem != nil {
		mc.Status.CredentialsExpiry = nil
		meta.RemoveStatusCondition(&mc.Status.Conditions, v1alpha1.ConditionCredentialsValid)
		return
	}
	mc.Status.CredentialsExpiry = nil
	if !expiry.At.IsZero() {
		mc.Status.CredentialsExpiry = &metav1.Time{Time: expiry.At}
	}
	setConditions(&mc.Status.Conditions, mc.Generation, credentialsValid(mc, expiry, now))
}

// credentialsValid returns the condition CredentialsValid. Its message has no time that
// passes, so that it is written once.
func credentialsValid(mc *v1alpha1.MemberCluster, expiry member.Expiry, now time.Time) metav1.Condition {
	valid := metav1.Condition{Type: v1alpha1.ConditionCredentialsValid, Status: metav1.ConditionTrue, Reason: reason.CredentialsValid,
		Message: "the certificates and the token of the kubeconfig have no end that is known"}
	if expiry.At.IsZero() {
		return valid
	}
	ref, end := mc.Spec.Kubeconfig, expiry.At.Format(time.RFC3339)
	const advice = "run usher cluster add %s again, or put a kubeconfig with new credentials into the Secret"
	switch left := expiry.At.Sub(now); {
	case left <= 0:
		valid.Status, valid.Reason = metav1.ConditionFalse, reason.CredentialsExpired
		valid.Message = message.Format("Secret %s, key %s: %s of the kubeconfig ended at %s; "+advice, ref.SecretName, ref.Key, expiry.Field, end, mc.Name)
	case left <= expiringFor:
		valid.Status, valid.Reason = metav1.ConditionFalse, reason.CredentialsExpiring
		valid.Message = message.Format("Secret %s, key %s: %s of the kubeconfig ends at %s; "+advice, ref.SecretName, ref.Key, expiry.Field, end, mc.Name)
	default:
		valid.Message = message.Format("%s of the kubeconfig ends first, at %s", expiry.Field, end)
	}
	return valid
}

// recheckAfter returns the time until a member must be checked again: the condition
// CredentialsValid changes as time passes.
func recheckAfter(expiry member.Expiry, now time.Time) time.Duration {
	after := recheckEvery
	for _, change := range []time.Time{expiry.At.Add(-expiringFor), expiry.At} {
		if left := change.Sub(now); left > 0 {
			after = min(after, left)
		}
	}
	return after
}
