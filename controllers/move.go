package controllers

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/source"
)

// moveTo returns the cluster that a person gives the host to by the annotation
// usher.techn.is/move-to. An empty name is a request too, which is refused.
func moveTo(eh *v1alpha1.ExposedHost) (cluster string, asked bool) {
	if eh == nil {
		return "", false
	}
	cluster, asked = eh.Annotations[v1alpha1.AnnotationMoveTo]
	return cluster, asked
}

// decideMove makes the decision on a host as decideClaims does. If a person gives the host
// to a cluster, and the cluster may have it, that cluster is the holder. It also returns
// the input that the decision was made from.
func (r *ExposedHostReconciler) decideMove(input admission.Input, current *v1alpha1.ExposedHost, policy admission.Policy) (admission.Input, admission.Decision, error) {
	to, asked := moveTo(current)
	if !asked {
		decision, err := r.decideClaims(input, current, policy)
		return input, decision, err
	}
	moved, refused := input.Moved(to, policy)
	if refused == nil {
		decision, err := r.decideClaims(moved, current, policy)
		if err != nil || decision.Accepted && decision.Cluster == to {
			return moved, decision, err
		}
		refused = &source.Refusal{Reason: decision.Reason, Message: decision.Message}
	}
	decision, err := r.decideClaims(input, current, policy)
	decision.MoveRefused = refused
	return input, decision, err
}

// endMove removes the annotation that asks for a move from a manually written host.
func (r *ExposedHostReconciler) endMove(ctx context.Context, current *v1alpha1.ExposedHost) (*v1alpha1.ExposedHost, error) {
	if _, asked := moveTo(current); !asked {
		return current, nil
	}
	after := current.DeepCopy()
	delete(after.Annotations, v1alpha1.AnnotationMoveTo)
	return after, r.patch(ctx, current, after)
}

// recordMove records an Event if a move was refused. The annotation that asked for it is
// gone, so that this is done once.
func (r *ExposedHostReconciler) recordMove(current *v1alpha1.ExposedHost, decision admission.Decision) {
	to, asked := moveTo(current)
	if asked && decision.MoveRefused != nil {
		r.Events.Eventf(current, nil, corev1.EventTypeWarning, reason.MoveRefused, "Move", "the host does not go to cluster %s: %s", to, decision.MoveRefused.Message)
	}
}
