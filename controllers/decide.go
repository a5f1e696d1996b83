package controllers

import (
	"context"
	"fmt"
	"slices"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/controllers/source"
)

// decide makes the decision on a host from its claims, from the wildcard over it, and
// from what the chosen cluster serves beside it. If the host is a wildcard, it also
// returns what the wildcard is to the names under it.
func (r *ExposedHostReconciler) decide(ctx context.Context, host string, current *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster) (admission.Decision, *admission.Over, error) {
	input, policy := r.input(host, current, clusters)
	if input.Manual {
		decision := r.warn(current, checked(current, admission.Decide(input, policy)))
		if to, asked := moveTo(current); asked {
			_, decision.MoveRefused = input.Moved(to, policy)
		}
		return decision, admission.ManualOver(&current.Spec), nil
	}
	over, err := r.over(ctx, input, policy, clusters)
	if err != nil {
		return admission.Decision{}, nil, err
	}
	input.Over = over
	input, decision, err := r.decideMove(input, current, policy)
	return decision, input.AsOver(decision, policy), err
}

// decideClaims makes the decision on a host that no person has written.
func (r *ExposedHostReconciler) decideClaims(input admission.Input, current *v1alpha1.ExposedHost, policy admission.Policy) (admission.Decision, error) {
	decision := admission.Decide(input, policy)
	for decision.Accepted {
		restricted, err := r.restrict(decision, input, current, policy)
		if err != nil || restricted.Accepted {
			return restricted, err
		}
		if len(decision.Backends) > 1 && restricted.Cluster == decision.Cluster {
			restricted, err = r.blame(decision, restricted, input, current, policy)
			if err != nil {
				return restricted, err
			}
		}
		next, passed := input.PassOver(restricted)
		if !passed {
			return restricted, nil
		}
		input, decision = next, admission.Decide(next, policy)
	}
	return decision, nil
}

// blame returns which cluster does not get a host that is refused to the first of the
// clusters that share it. If the first would get it alone, it is the last one, since the
// options of all clusters together are not possible in the first.
func (r *ExposedHostReconciler) blame(shared, refused admission.Decision, input admission.Input, current *v1alpha1.ExposedHost, policy admission.Policy) (admission.Decision, error) {
	input.Alone = true
	alone, err := r.restrict(admission.Decide(input, policy), input, current, policy)
	if err != nil || !alone.Accepted || alone.Cluster != shared.Cluster {
		return refused, err
	}
	refused.Message = message.Format("what the clusters that share the host request together is refused in cluster %s: %s", shared.Cluster, refused.Message)
	refused.Cluster, refused.Reason = shared.Backends[len(shared.Backends)-1].Cluster, reason.ShareDiffers
	return refused, nil
}

// restrict restricts an accepted host, so that it does not publish what the clusters that
// serve it serve beside it. A refused decision has the cluster that refuses it.
func (r *ExposedHostReconciler) restrict(decision admission.Decision, input admission.Input, current *v1alpha1.ExposedHost, policy admission.Policy) (admission.Decision, error) {
	for i, backend := range decision.Backends {
		cluster := policy.Clusters[backend.Cluster]
		if !cluster.InSync { // Beside is unknown: everything stays as it is
			if current != nil {
				decision = decision.ExceptAlso(current.Spec.Except)
			}
			continue
		}
		beside, known := r.beside(backend.Cluster, input.Host, input.Claims)
		if !known {
			return decision, fmt.Errorf("cluster %s was removed during the decision about %s", backend.Cluster, input.Host)
		}
		if i == 0 {
			decision = admission.Restrict(decision, input.Host, cluster.RequireAll, beside)
		} else {
			decision = admission.RestrictSharer(decision, backend.Cluster, input.Host, cluster.RequireAll, beside)
		}
		if !decision.Accepted {
			return decision, nil
		}
	}
	return decision, nil
}

// beside returns what a cluster serves beside a host; false if that is not known.
func (r *ExposedHostReconciler) beside(cluster, host string, claims []source.Claim) (admission.Beside, bool) {
	var claiming []v1alpha1.SourceRef
	for _, claim := range claims {
		if claim.Source.Cluster == cluster {
			claiming = append(claiming, claim.Source)
		}
	}
	found, known := r.Members.Beside(cluster, host, claiming)
	if len(found.Unannotated) > 0 {
		// An object that was read after the claims may claim the host too.
		now, _ := r.Members.Claims(host)
		found.Unannotated = slices.DeleteFunc(found.Unannotated, func(ref v1alpha1.SourceRef) bool {
			return slices.ContainsFunc(now, func(c source.Claim) bool { return c.Source == ref })
		})
	}
	return admission.Beside(found), known
}

// checked refuses a manually written host that no client can request. The API server
// accepts some of them, since a schema cannot decode an internationalized label.
func checked(eh *v1alpha1.ExposedHost, decision admission.Decision) admission.Decision {
	if err := routetable.CheckHost(eh.Spec.Host); err != nil {
		decision.Accepted, decision.Reason = false, reason.HostInvalid
		decision.Message = message.Format("spec.host: %v; delete this ExposedHost, and write another with a correct host", err)
	}
	return decision
}

// warn adds a warning to the status of a manually written host: it says what else of its
// first cluster the host publishes.
func (r *ExposedHostReconciler) warn(eh *v1alpha1.ExposedHost, decision admission.Decision) admission.Decision {
	if len(eh.Spec.Backends) == 0 || eh.Spec.Backends[0].Cluster == "" {
		return decision
	}
	cluster := eh.Spec.Backends[0].Cluster
	beside, known := r.beside(cluster, eh.Spec.Host, nil)
	if !known {
		return decision
	}
	return admission.Warn(decision, cluster, eh.Spec.Except, beside)
}
