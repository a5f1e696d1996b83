package admission

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// A host is shared if every sound source of its holder shares it. Then each other cluster
// joins whose own sound sources all share it, and whose options go with those of the
// clusters that serve it already. A cluster that does not join is a rival. It changes
// nothing for the others.

// serving are the clusters that serve a host, with their claims.
type serving struct {
	clusters []string
	claims   []source.Claim // sound ones, in the order of clusters
	apart    map[string]source.Refusal
}

// share returns the clusters that serve a host which goes to first: those of order that
// may join, and then all others, by preference. The candidates are in order of preference.
func share(first string, order []string, candidates []source.Claim) serving {
	s := serving{clusters: []string{first}, claims: soundOf(first, candidates), apart: map[string]source.Refusal{}}
	shared := allShare(s.claims)
	options, _ := combine(s.claims)
	for _, cluster := range others(first, order, candidates) {
		claims := soundOf(cluster, candidates)
		refused := joins(shared, options, cluster, claims)
		switch both := slices.Concat(s.claims, claims); {
		case len(claims) == 0:
			continue
		case refused == nil && len(s.clusters) == v1alpha1.MaxBackends:
			refused = refusal(reason.TooManyBackends, "%d clusters share the host already, which is the maximum", v1alpha1.MaxBackends)
		case refused == nil:
			if _, problem := combine(both); problem != "" {
				refused = refusal(reason.AllowFromDisjoint, "%s", problem)
				break
			}
			s.clusters, s.claims = append(s.clusters, cluster), both
		}
		if refused != nil && (shared || allShare(claims)) {
			s.apart[cluster] = *refused
		}
	}
	return s
}

// joins returns why a cluster with sound claims does not join the one that gets the host;
// nil if it may. Options are those of the first cluster, and shared whether it shares.
func joins(shared bool, options source.Options, cluster string, claims []source.Claim) *source.Refusal {
	if !shared {
		return refusal(reason.HeldByAnother, "cluster %s shares the host, and its holder does not: annotate every source of the host with %s: \"true\"", cluster, v1alpha1.AnnotationShare)
	}
	own, _ := combine(claims)
	switch {
	case !allShare(claims):
		return refusal(reason.NotShared, "cluster %s does not share the host: annotate every source of the host with %s: \"true\"", cluster, v1alpha1.AnnotationShare)
	case own.PlainOnly != options.PlainOnly, !slices.Equal(own.TLSPorts(), options.TLSPorts()):
		return refusal(reason.ShareDiffers, "cluster %s serves the host on %s, and its holder on %s: serve it on the same ports", cluster, portNames(own), portNames(options))
	}
	return nil
}

func portNames(o source.Options) string {
	if o.PlainOnly {
		return "no TLS port"
	}
	return "port " + strings.Join(o.TLSPorts(), ", ")
}

// others returns the clusters of the candidates except first: those of order, and then by
// preference.
func others(first string, order []string, candidates []source.Claim) []string {
	listed := map[string]bool{first: true} // cluster → true
	var all []string
	add := func(cluster string) {
		if !listed[cluster] {
			listed[cluster] = true
			all = append(all, cluster)
		}
	}
	for _, cluster := range order {
		add(cluster)
	}
	for _, c := range candidates {
		if c.Refusal == nil {
			add(c.Source.Cluster)
		}
	}
	return all
}

// soundOf returns a cluster's claims that nothing refuses.
func soundOf(cluster string, candidates []source.Claim) []source.Claim {
	return slices.DeleteFunc(claimsOf(cluster, candidates), func(c source.Claim) bool { return c.Refusal != nil })
}

// allShare reports whether all of some claims share their host.
func allShare(claims []source.Claim) bool {
	return len(claims) > 0 && !slices.ContainsFunc(claims, func(c source.Claim) bool { return !c.Options.Share })
}

// backends returns the backends of the clusters that serve a host. The weight of a cluster
// is that of its oldest source that sets one.
func (s serving) backends() []Backend {
	var all []Backend
	for _, cluster := range s.clusters {
		b := Backend{Cluster: cluster}
		for i, c := range claimsOf(cluster, s.claims) {
			if i == 0 {
				b.Gateway = c.Options.Gateway
			}
			b.Weight = cmp.Or(b.Weight, c.Options.Weight)
		}
		all = append(all, b)
	}
	return all
}

// apartSorted returns why clusters do not join, sorted by cluster.
func (s serving) apartSorted() []Apart {
	var all []Apart
	for _, cluster := range slices.Sorted(maps.Keys(s.apart)) {
		all = append(all, Apart{cluster, s.apart[cluster]})
	}
	return all
}

// strategy returns the strategy of a host: that of the oldest source of its first cluster
// that sets one.
func (s serving) strategy() v1alpha1.Strategy {
	for _, c := range claimsOf(s.clusters[0], s.claims) {
		if c.Options.Strategy != "" {
			return c.Options.Strategy
		}
	}
	return ""
}

// spreadDifferently returns what a source requests of the strategy and the weight that
// does not apply, as the end of "requests …"; "" if nothing.
func (d Decision) spreadDifferently(c source.Claim) string {
	var said []string
	strategy := cmp.Or(d.Options.Strategy, v1alpha1.StrategyFailover)
	if c.Options.Strategy != "" && c.Options.Strategy != strategy {
		said = append(said, fmt.Sprintf("strategy %s, but %s applies, as cluster %s requests", c.Options.Strategy, strategy, d.Cluster))
	}
	for _, b := range d.Backends {
		if b.Cluster == c.Source.Cluster && c.Options.Weight != nil && b.Weight != nil && *b.Weight != *c.Options.Weight {
			said = append(said, fmt.Sprintf("weight %d, but %d applies, as an older source of its cluster requests", *c.Options.Weight, *b.Weight))
		}
	}
	return strings.Join(said, ", and ")
}

// sharedWith says which clusters serve the host besides the first, and which do not share
// it although they or the holder want to.
func (d Decision) sharedWith() string {
	var said string
	if len(d.Backends) > 1 {
		said = "; shared with cluster " + strings.Join(d.clusters()[1:], ", ")
	}
	if len(d.Apart) > 0 {
		said += "; " + d.Apart[0].Message
	}
	if n := len(d.Apart); n > 1 {
		said += fmt.Sprintf(", and %d more clusters do not share it", n-1)
	}
	return said
}

// clusters returns the clusters of the backends.
func (d Decision) clusters() []string {
	names := make([]string, len(d.Backends))
	for i, b := range d.Backends {
		names[i] = b.Cluster
	}
	return names
}

// sharers returns the clusters that are recorded to share the host.
func (h *Holding) sharers() []string {
	if h == nil {
		return nil
	}
	var names []string
	for _, s := range h.Sharers {
		names = append(names, s.Cluster)
	}
	return names
}

// leftToSharers decides while the holder has no claim that is known, and the clusters that
// are recorded to share the host serve it alone. It reports false if none of them may.
func leftToSharers(in Input, candidates []source.Claim, policy Policy) (Decision, bool) {
	order := in.Current.sharers()
	mayServe := func(cluster string) bool { return allShare(soundOf(cluster, candidates)) }
	first := slices.IndexFunc(order, mayServe)
	if first < 0 || in.Alone {
		return Decision{}, false
	}
	known := slices.DeleteFunc(slices.Clone(candidates), func(c source.Claim) bool {
		return !slices.Contains(order, c.Source.Cluster) && c.Refusal == nil
	})
	d := admitServing(share(order[first], order, known), candidates)
	holder := in.Current.Holder
	d.Holder = holder
	switch at := policy.Clusters[holder]; {
	case !at.InSync:
		d.Message = message.Format("held by cluster %s, which is not in sync and did not claim it before; served by %s%s", holder, describe(d.Sources[0]), d.sharedWith())
	case at.Stale:
		d.Unclaimed = true
		d.Message = message.Format("held by cluster %s, which did not claim it when it was last in sync and is unreachable now; served by %s%s", holder, describe(d.Sources[0]), d.sharedWith())
	default:
		d.Unclaimed = true
		d.Message = message.Format("held by cluster %s, which no longer claims it; served by %s%s; cluster %s gets it unless cluster %s claims it again within the hand-over grace",
			holder, describe(d.Sources[0]), d.sharedWith(), d.Cluster, holder)
	}
	return d, true
}

// succeeded returns the input with the holder that a shared host has from now on: if the
// MemberCluster of the recorded one is deleted, or it has not claimed the host for the
// whole grace, the first sharer that may serve the host.
func (in Input) succeeded(policy Policy) Input {
	if in.Manual || in.Current == nil || len(in.Current.Sharers) == 0 {
		return in
	}
	_, exists := policy.Clusters[in.Current.Holder]
	claims := len(claimsOf(in.Current.Holder, in.Claims)) > 0
	if exists && (claims || !graceExpired(in, policy)) {
		return in
	}
	for i, next := range in.Current.Sharers {
		if in.mayServe(next.Cluster, policy) {
			in.Current, in.Unclaimed = in.Current.heldBySharer(i), 0
			return in
		}
	}
	return in
}

// mayServe reports whether a cluster that is recorded to share the host makes a sound
// claim, or is not in sync and keeps its recorded ones.
func (in Input) mayServe(cluster string, policy Policy) bool {
	at, exists := policy.Clusters[cluster]
	ref := source.Claim{Source: v1alpha1.SourceRef{Cluster: cluster}, Host: in.Host}
	_, passed := in.passed[cluster]
	return exists && !passed && domainAllowed(ref, checkContext{policy: policy}) == nil &&
		(!at.InSync || firstSound(claimsOf(cluster, in.Claims)) != nil)
}

// heldBySharer returns the record with a sharer as the holder, and without the old holder.
func (h *Holding) heldBySharer(i int) *Holding {
	next := *h
	to := h.Sharers[i]
	next.Holder, next.Cluster, next.Sources = to.Cluster, to.Cluster, to.Sources
	next.Accepted, next.Reason, next.Message = true, reason.Admitted, ""
	next.Options.Gateway, next.Options.Weight, next.Options.Share = to.Gateway, to.Weight, true
	next.Left = false
	next.Sharers = slices.Delete(slices.Clone(h.Sharers), i, i+1)
	return &next
}

// Moved returns the input in which a person has given the host to a cluster, or why that
// is not possible. The decision on it still depends on the claims of the cluster.
func (in Input) Moved(to string, policy Policy) (Input, *source.Refusal) {
	at, exists := policy.Clusters[to]
	switch {
	case in.Manual:
		return in, refusal(reason.HeldByManual, "this ExposedHost was written manually: set its spec.backends")
	case !exists:
		return in, refusal(reason.MoveRefused, "there is no MemberCluster %s", message.Quote(to))
	case in.Current == nil || in.Current.Holder == to:
		return in, nil
	case !at.InSync:
		return in, clusterInSync(source.Claim{Source: v1alpha1.SourceRef{Cluster: to}}, checkContext{policy: policy})
	case len(claimsOf(to, in.Claims)) == 0:
		return in, refusal(reason.MoveRefused, "cluster %s makes no claim on the host: annotate the object that names it there with %s: \"true\"", to, v1alpha1.AnnotationExpose)
	}
	in.Current, in.Unclaimed = in.Current.movedTo(to), 0
	return in, nil
}

// movedTo returns the record with another holder. The old one keeps its backend if it
// shares the host.
func (h *Holding) movedTo(to string) *Holding {
	next := Holding{Holder: to, Cluster: to, Options: h.Options, Rivals: slices.Clone(h.Rivals)}
	next.Sharers = slices.DeleteFunc(slices.Clone(h.Sharers), func(s Sharer) bool { return s.Cluster == to })
	if h.Accepted && h.Options.Share {
		old := Sharer{Backend{Cluster: h.Holder, Gateway: h.Options.Gateway, Weight: h.Options.Weight}, h.Sources}
		next.Sharers = slices.Insert(next.Sharers, 0, old)
		return &next
	}
	for _, ref := range h.Sources {
		next.Rivals = append(next.Rivals, v1alpha1.Rival{SourceRef: ref, Reason: reason.HeldByAnother})
	}
	return &next
}
