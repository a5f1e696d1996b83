package admission

import (
	"slices"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// holderOf returns the cluster that holds the host; empty where none does.
func holderOf(in Input, policy Policy) string {
	if in.Current == nil {
		return ""
	}
	if _, exists := policy.Clusters[in.Current.Holder]; !exists {
		return ""
	}
	return in.Current.Holder
}

// graceExpired reports whether the holder is known to have claimed the host no more for the
// whole grace. It must be known still: a cluster that is away may claim it again.
func graceExpired(in Input, policy Policy) bool {
	return in.Unclaimed >= policy.HandoverGrace && !policy.Clusters[in.Current.Holder].Stale
}

// PassOver returns the input with all claims of a cluster refused as its host was,
// by Bound, after one of them had won. It reports false where the cluster holds the
// host, and is not passed over.
func (in Input) PassOver(refused Decision) (Input, bool) {
	if in.Current != nil && in.Current.Holder == refused.Cluster {
		return in, false
	}
	in.Claims = slices.Clone(in.Claims)
	for i, c := range in.Claims {
		if c.Source.Cluster == refused.Cluster && c.Refusal == nil {
			in.Claims[i].Refusal = &source.Refusal{Reason: refused.Reason, Message: message.Bound(refused.Message)}
		}
	}
	return in, true
}

// claimsOf returns a cluster's claims.
func claimsOf(cluster string, claims []source.Claim) []source.Claim {
	others := func(c source.Claim) bool { return c.Source.Cluster != cluster }
	return slices.DeleteFunc(slices.Clone(claims), others)
}

// firstSound returns the first claim that nothing refuses; nil where there is none.
func firstSound(claims []source.Claim) *source.Claim {
	if i := slices.IndexFunc(claims, func(c source.Claim) bool { return c.Refusal == nil }); i >= 0 {
		return &claims[i]
	}
	return nil
}

// unclaimed decides while the holder claims the host no more, and no other cluster
// may have it yet. Where nobody else claims it soundly, there is nothing to wait for
// with the withdrawal.
func unclaimed(in Input, candidates []source.Claim, policy Policy) Decision {
	var d Decision
	switch next := firstSound(candidates); {
	case len(candidates) == 0 && in.Unclaimed >= policy.HandoverGrace:
		return Decision{Withdraw: true}
	case len(candidates) == 0:
		d.Withdraw = true
	case next == nil:
		d = refuse(candidates[0], candidates)
	default:
		d = keepForHolder(in, *next, candidates, policy)
	}
	d.Holder, d.Unclaimed = in.Current.Holder, true
	return d
}

// keepForHolder leaves the host as it is recorded, until the next claim's cluster gets it.
func keepForHolder(in Input, next source.Claim, candidates []source.Claim, policy Policy) Decision {
	current, holder := in.Current, in.Current.Holder
	d := Decision{
		Accepted: true, Reason: reason.Admitted, Cluster: holder,
		Options: current.Options, Sources: current.Sources, RecordedSources: current.SourcesTotal,
		Message: message.Format("held by cluster %s, which claims it no more; %s gets it, unless cluster %s claims it again within the hand-over grace", holder, describe(next.Source), holder),
	}
	for _, c := range candidates {
		d.Rivals = append(d.Rivals, rival(c, reason.HeldByAnother))
	}
	outside := domainAllowed(source.Claim{Source: v1alpha1.SourceRef{Cluster: holder}, Host: in.Host}, checkContext{policy: policy})
	switch {
	case policy.Clusters[holder].Stale:
		return d.refused(reason.HeldByAnother, "held by cluster %s, which claimed it no more when it was last in sync, and is away now; %s gets it when cluster %s is in sync and claims it no more, or its MemberCluster is deleted", holder, describe(next.Source), holder)
	case outside != nil:
		return d.refused(outside.Reason, "%s", outside.Message)
	case !current.Accepted:
		return d.refusedUntilHandover()
	}
	return d
}

// refusedUntilHandover refuses a host that is kept for its holder. Why is not said: the record of
// the refusal is all that is left of it at the next decision.
func (d Decision) refusedUntilHandover() Decision {
	return d.refused(reason.HeldByAnother, "%s; it is not served until then", d.Message)
}
