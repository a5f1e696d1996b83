package admission

import (
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/source"
)

// Over is the wildcard over a host, if it limits which clusters may get the host. A nil
// Over limits nothing.
type Over struct {
	// Host is the wildcard.
	Host string
	// Manual means that the wildcard's ExposedHost was written manually. Then even a
	// cluster that holds the host may not publish it, unless it is one of Clusters.
	Manual bool
	// Clusters are those to which the wildcard belongs: its holder, or the clusters among
	// the backends of a manually written one.
	Clusters []string
	// First is the claim by which a cluster gets the wildcard, if no cluster holds it yet.
	// Clusters with an older claim on the host may get the host. It is nil for a
	// wildcard that is held: then age does not count.
	First *source.Claim
}

// Equal reports whether two wildcards limit the names under them in the same way.
func (o *Over) Equal(p *Over) bool {
	if o == nil || p == nil {
		return o == p
	}
	sameFirst := o.First == nil && p.First == nil || o.First != nil && p.First != nil && preference(*o.First, *p.First) == 0
	return o.Host == p.Host && o.Manual == p.Manual && slices.Equal(o.Clusters, p.Clusters) && sameFirst
}

// ManualOver returns what a manually written host is to the names under it; nil if it is
// no wildcard.
func ManualOver(spec *v1alpha1.ExposedHostSpec) *Over {
	if spec.ShareBelow || !strings.HasPrefix(spec.Host, "*.") {
		return nil
	}
	over := &Over{Host: spec.Host, Manual: true}
	for _, backend := range spec.Backends {
		if backend.Cluster != "" && !slices.Contains(over.Clusters, backend.Cluster) {
			over.Clusters = append(over.Clusters, backend.Cluster)
		}
	}
	return over
}

// AsOver returns what a host is to the names under it, by its input and the decision on
// it; nil if it is no wildcard. A wildcard that no cluster holds or gets limits nothing,
// and neither does one whose holder may not publish it: otherwise a cluster could block
// names of any domain.
func (in Input) AsOver(d Decision, policy Policy) *Over {
	if d.Holder == "" || !strings.HasPrefix(in.Host, "*.") {
		return nil
	}
	in = in.succeeded(policy)
	holder := holderOf(in, policy)
	if domainAllowed(source.Claim{Source: v1alpha1.SourceRef{Cluster: d.Holder}, Host: in.Host}, checkContext{policy: policy}) != nil {
		return nil
	}
	over := &Over{Host: in.Host, Clusters: []string{d.Holder}}
	if d.Holder == holder {
		if in.Current.Options.ShareBelow {
			return nil
		}
		return over
	}
	if d.Options.ShareBelow {
		return nil
	}
	over.First = winner(in.Claims, d)
	return over
}

// winner returns the claim that won an accepted host.
func winner(claims []source.Claim, d Decision) *source.Claim {
	for _, claim := range claims {
		if len(d.Sources) > 0 && claim.Source == d.Sources[0] {
			return &claim
		}
	}
	return nil
}

// Cluster returns the first cluster to which the wildcard belongs; "" for none.
func (o *Over) Cluster() string {
	if o == nil || len(o.Clusters) == 0 {
		return ""
	}
	return o.Clusters[0]
}

// has reports whether the wildcard belongs to a cluster.
func (o *Over) has(cluster string) bool { return slices.Contains(o.Clusters, cluster) }

// takesFrom reports whether the wildcard takes the host from the cluster that holds it.
func (o *Over) takesFrom(holder string) bool { return o != nil && o.Manual && !o.has(holder) }

// limits reports whether a cluster gets the host at most by the age of its claims. Holders
// are the cluster that holds the host and those that share it.
func (o *Over) limits(cluster string, holders ...string) bool {
	return o != nil && !o.has(cluster) && (o.Manual || !slices.Contains(holders, cluster))
}

// keepsFrom reports whether a cluster does not get the host, whatever the age of its
// claims.
func (o *Over) keepsFrom(cluster, holder string) bool {
	return o.limits(cluster, holder) && o.First == nil
}

// limit refuses the sound claims of clusters that may not get the host. The claims are in
// order of preference.
func (o *Over) limit(claims []source.Claim, holders []string) {
	older := map[string]bool{} // cluster → whether its oldest sound claim is older than First
	for i, claim := range claims {
		cluster := claim.Source.Cluster
		if claim.Refusal != nil || !o.limits(cluster, holders...) {
			continue
		}
		if _, decided := older[cluster]; !decided {
			older[cluster] = o.First != nil && preference(claim, *o.First) < 0
		}
		if !older[cluster] {
			claims[i].Refusal = o.refusal()
		}
	}
}

// refusal is why a cluster does not get a name under the wildcard. The message is the
// same before and after a cluster gets the wildcard.
func (o *Over) refusal() *source.Refusal {
	name := v1alpha1.NameOfHost(o.Host)
	if o.Manual {
		return refusal(reason.UnderWildcard, "the wildcard %s covers it, whose ExposedHost was written manually: set spec.shareBelow: true in ExposedHost %s to share the names under it, or write an ExposedHost for this name", o.Host, name)
	}
	return refusal(reason.UnderWildcard, "the wildcard %s of cluster %s covers it: annotate every source of the wildcard with %s: \"true\" to share the names under it, or write an ExposedHost for this name",
		o.Host, o.Clusters[0], v1alpha1.AnnotationShareBelow)
}

// OlderThan reports whether a cluster to which the wildcard does not belong makes a claim
// that may get its host before the wildcard has a holder.
func (o *Over) OlderThan(claim source.Claim) bool {
	return o.First != nil && claim.Refusal == nil && !o.has(claim.Source.Cluster) && preference(claim, *o.First) < 0
}

// Awaits reports whether a cluster to which the wildcard does not belong gets a name
// under it, by the input of the name and the decision on it, and is not its holder yet.
// The name must be decided before the wildcard has a holder, since its age counts no more
// after that.
func (o *Over) Awaits(in Input, d Decision) bool {
	return d.Holder != "" && !o.has(d.Holder) && (in.Current == nil || in.Current.Holder != d.Holder)
}
