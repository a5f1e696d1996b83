package admission

import (
	"cmp"
	"slices"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/source"
)

// checkedClaims returns the claims of existing clusters in order of preference, each
// with its refusal by the source, by the checks or by the wildcard over the host. The recorded claims of a cluster
// that is not in sync come first, since their age is unknown.
func checkedClaims(in Input, policy Policy) []source.Claim {
	held := recorded(in, policy)
	claims := slices.DeleteFunc(slices.Clone(in.Claims), func(c source.Claim) bool {
		_, exists := policy.Clusters[c.Source.Cluster]
		return !exists || len(claimsOf(c.Source.Cluster, held)) > 0
	})
	slices.SortFunc(claims, preference)
	context := checkContext{policy: policy, options: optionsOf(claims)}
	for i, claim := range claims {
		claims[i].Refusal = context.firstRefusal(claim)
	}
	all := slices.Concat(held, claims, unknownRivals(in, policy))
	if !in.Manual {
		in.passOver(all)
		in.Over.limit(all, append(in.Current.sharers(), holderOf(in, policy)))
	}
	return all
}

// unknownRivals returns the claims that are recorded of clusters which do not hold the
// host and are not in sync. They win nothing, but are not confirmed to be gone: the
// host stays refused, so that no wildcard serves it.
func unknownRivals(in Input, policy Policy) []source.Claim {
	if in.Current == nil {
		return nil
	}
	var claims []source.Claim
	for _, rival := range in.Current.Rivals {
		cluster, exists := policy.Clusters[rival.Cluster]
		if !exists || cluster.InSync || rival.Cluster == in.Current.Cluster || slices.Contains(in.Current.sharers(), rival.Cluster) {
			continue
		}
		claim := source.Claim{Source: rival.SourceRef, Host: in.Host}
		claim.Refusal = clusterInSync(claim, checkContext{policy: policy})
		claims = append(claims, claim)
	}
	return claims
}

// preference orders claims: the oldest first, and then by name, so that the order
// is the same each time.
func preference(a, b source.Claim) int {
	return cmp.Or(
		a.Created.Compare(b.Created),
		cmp.Compare(a.Source.Cluster, b.Source.Cluster),
		cmp.Compare(a.Source.Kind, b.Source.Kind),
		cmp.Compare(a.Source.Namespace, b.Source.Namespace),
		cmp.Compare(a.Source.Name, b.Source.Name),
	)
}

// clusterOptions are what one cluster's claims on a host ask for together.
type clusterOptions struct {
	unreadable *source.Claim // the first one whose annotations are malformed
	problem    string        // why no client is left; empty where one is
	first      *source.Claim // the oldest sound one
}

// optionsOf returns each cluster's options. Claims are in order of preference.
func optionsOf(claims []source.Claim) map[string]clusterOptions {
	sound := map[string][]source.Claim{}   // cluster → its sound claims
	options := map[string]clusterOptions{} // cluster → what they ask for
	for i, claim := range claims {
		o := options[claim.Source.Cluster]
		switch {
		case claim.Refusal == nil:
			if o.first == nil {
				o.first = &claims[i]
			}
			sound[claim.Source.Cluster] = append(sound[claim.Source.Cluster], claim)
		case claim.Refusal.Reason == reason.AnnotationInvalid && o.unreadable == nil:
			unreadable := claims[i]
			o.unreadable = &unreadable
		}
		options[claim.Source.Cluster] = o
	}
	for cluster, claims := range sound {
		o := options[cluster]
		_, o.problem = combine(claims)
		options[cluster] = o
	}
	return options
}

// recorded returns the claims that the ExposedHost records of existing clusters that are
// not in sync: without evidence, which is confirmed absence, they stay. The current
// MemberClusters still apply to them.
func recorded(in Input, policy Policy) []source.Claim {
	if in.Current == nil {
		return nil
	}
	context := checkContext{policy: policy}
	var held []source.Claim
	if !in.Current.Left {
		held = recordedOf(in, Backend{in.Current.Cluster, in.Current.Options.Gateway, in.Current.Options.Weight}, in.Current.Sources, policy)
	}
	for i := range held {
		held[i].Refusal = recordedRefusal(held[i], in, context)
	}
	for _, sharer := range in.Current.Sharers {
		claims := recordedOf(in, sharer.Backend, sharer.Sources, policy)
		for i := range claims {
			claims[i].Options.Share = true
			claims[i].Refusal = domainAllowed(claims[i], context)
		}
		held = append(held, claims...)
	}
	return held
}

// recordedOf returns the recorded claims of one cluster; none if it is in sync.
func recordedOf(in Input, of Backend, refs []v1alpha1.SourceRef, policy Policy) []source.Claim {
	cluster, exists := policy.Clusters[of.Cluster]
	if !exists || cluster.InSync {
		return nil
	}
	if len(refs) == 0 { // the status was never written
		refs = []v1alpha1.SourceRef{{Cluster: of.Cluster}}
	}
	options := in.Current.Options
	options.Gateway, options.Weight = of.Gateway, of.Weight
	options.WholeWildcard = true // spec.except records what it was
	var held []source.Claim
	for _, ref := range refs {
		held = append(held, source.Claim{Source: ref, Host: in.Host, Options: options})
	}
	return held
}

// recordedRefusal is why a host is refused to a cluster that is recorded to claim it.
func recordedRefusal(claim source.Claim, in Input, context checkContext) *source.Refusal {
	switch current := in.Current; {
	case current.Accepted:
		return domainAllowed(claim, context)
	case current.Reason == reason.UnderWildcard && in.Over.keepsFrom(current.Cluster, holderOf(in, context.policy)):
		return in.Over.refusal()
	case current.Reason == "", current.Reason == reason.UnderWildcard, // of a wildcard that is gone
		current.Reason == reason.HeldByAnother: // of a claim that was gone
		return clusterInSync(claim, context)
	default:
		return &source.Refusal{Reason: current.Reason, Message: current.Message}
	}
}
