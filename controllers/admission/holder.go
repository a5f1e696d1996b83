package admission

import (
	"maps"
	"slices"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// holderOf returns the cluster that holds the host; empty where none does.
func holderOf(in Input, policy Policy) string {
	if in = in.succeeded(policy); in.Current == nil {
		return ""
	}
	if _, exists := policy.Clusters[in.Current.Holder]; !exists {
		return ""
	}
	return in.Current.Holder
}

// HeldAlone reports whether a cluster holds the host, and no other cluster claims it.
func (in Input) HeldAlone(policy Policy) bool {
	holder := holderOf(in, policy)
	return holder != "" && len(claimsOf(holder, in.Claims)) == len(in.Claims)
}

// graceExpired reports whether the holder, in sync, has not claimed the host for the whole
// grace. A stale holder may claim it again meanwhile, so its grace does not expire.
func graceExpired(in Input, policy Policy) bool {
	holder := policy.Clusters[in.Current.Holder]
	return in.Unclaimed >= policy.HandoverGrace && holder.InSync && !holder.Stale
}

// PassOver returns the input with all sound claims of a cluster refused, for the
// reason for which Restrict refused the host after one of these claims had won or joined.
// It reports false, and changes nothing, if the cluster holds the host.
func (in Input) PassOver(refused Decision) (Input, bool) {
	if in.Current != nil && in.Current.Holder == refused.Cluster {
		return in, false
	}
	passed := map[string]source.Refusal{refused.Cluster: {Reason: refused.Reason, Message: message.Bound(refused.Message)}}
	maps.Copy(passed, in.passed)
	in.passed = passed
	return in, true
}

// passOver refuses the sound claims of the clusters that were passed over.
func (in Input) passOver(claims []source.Claim) {
	for i, c := range claims {
		if refusal, passed := in.passed[c.Source.Cluster]; passed && c.Refusal == nil {
			claims[i].Refusal = &refusal
		}
	}
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

// unclaimed decides while the holder no longer claims the host and no other cluster
// may get it yet. If no cluster claims the host, it is withdrawn immediately.
func unclaimed(in Input, candidates []source.Claim, policy Policy) Decision {
	if d, shared := leftToSharers(in, candidates, policy); shared {
		return d
	}
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

// keepForHolder keeps the recorded decision until the cluster of the next claim gets
// the host.
func keepForHolder(in Input, next source.Claim, candidates []source.Claim, policy Policy) Decision {
	current, holder := in.Current, in.Current.Holder
	d := Decision{
		Accepted: true, Reason: reason.Admitted, Cluster: holder,
		Backends: []Backend{{Cluster: holder, Gateway: current.Options.Gateway, Weight: current.Options.Weight}},
		Options:  current.Options, Sources: current.Sources, RecordedSources: current.SourcesTotal,
		Message: message.Format("held by cluster %s, which no longer claims it; %s gets it unless cluster %s claims it again within the hand-over grace", holder, describe(next.Source), holder),
	}
	for _, c := range candidates {
		d.Rivals = append(d.Rivals, rival(c, reason.HeldByAnother))
	}
	outside := domainAllowed(source.Claim{Source: v1alpha1.SourceRef{Cluster: holder}, Host: in.Host}, checkContext{policy: policy})
	switch {
	case policy.Clusters[holder].Stale:
		return d.refused(reason.HeldByAnother, "held by cluster %s, which did not claim it when it was last in sync and is unreachable now; %s gets it when cluster %s is in sync and does not claim it, or when its MemberCluster is deleted", holder, describe(next.Source), holder)
	case outside != nil:
		return d.refused(outside.Reason, "%s", outside.Message)
	case !current.Accepted:
		return d.refusedUntilHandover()
	}
	return d
}

// refusedUntilHandover refuses a host that is kept for its holder. The message does
// not give the cause: the next decision knows only that the host was refused, and
// must produce the same message.
func (d Decision) refusedUntilHandover() Decision {
	return d.refused(reason.HeldByAnother, "%s; it is not served until then", d.Message)
}
