package admission

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// Decide decides who holds the host.
//
// A manually written ExposedHost wins over every claim. Otherwise the holder keeps
// the host while it claims it, sound or refused, and for the grace after that. A
// host without a holder goes to the cluster of the oldest sound claim. All sound
// claims of that cluster become sources; all other claims are rivals. If no eligible
// claim is sound, the host is refused with the first claim's reason. If there is no
// claim, the host is withdrawn. Withdrawal needs evidence, which is confirmed
// absence: a cluster that is not in sync keeps its recorded claims.
//
// If all sound claims of the holder share the host, other clusters whose own sound claims
// all share it serve it too: see share. When the holder no longer claims it, they serve it
// alone, and the first of them gets it.
//
// A name under a wildcard goes only to the cluster that has the wildcard, unless the
// wildcard is shared, or another cluster held or claimed the name before: see Over.
func Decide(in Input, policy Policy) Decision {
	in = in.succeeded(policy)
	candidates := checkedClaims(in, policy)
	if in.Manual {
		return manual(candidates)
	}
	holder := holderOf(in, policy)
	if holder != "" && in.Over.takesFrom(holder) && firstSound(candidates) != nil {
		holder = "" // the person who wrote the wildcard has moved the host
	}
	eligible := claimsOf(holder, candidates)
	switch {
	case holder != "" && len(eligible) == 0 && !graceExpired(in, policy):
		return unclaimed(in, candidates, policy)
	case len(candidates) == 0:
		return Decision{Withdraw: true}
	case len(eligible) == 0:
		holder, eligible = "", candidates
	}
	d := decideAmong(eligible, candidates, in, policy)
	d.Holder = cmp.Or(holder, d.Holder)
	if current := in.Current; current != nil && d.Cluster == current.Cluster && !policy.Clusters[d.Cluster].InSync {
		d.RecordedSources = current.SourcesTotal
	}
	return d
}

// decideAmong gives the host to the first sound one of the claims that may have it.
func decideAmong(eligible, candidates []source.Claim, in Input, policy Policy) Decision {
	if winner := firstSound(eligible); winner != nil {
		return admit(*winner, candidates, in, policy)
	}
	return refuse(eligible[0], candidates)
}

// manual leaves the host to a person.
func manual(candidates []source.Claim) Decision {
	d := Decision{Accepted: true, Reason: reason.Manual, Message: "this ExposedHost was written manually"}
	for _, c := range candidates {
		d.Rivals = append(d.Rivals, rival(c, reason.HeldByManual))
	}
	return d
}

// admit gives the host to the winner's cluster, and to those that share it.
func admit(winner source.Claim, candidates []source.Claim, in Input, policy Policy) Decision {
	first := winner.Source.Cluster
	s := serving{clusters: []string{first}, claims: soundOf(first, candidates)}
	if !in.Alone {
		s = share(first, in.Current.sharers(), candidates)
	}
	d := admitServing(s, candidates)
	d.Message = admitted(winner, d, policy)
	return d
}

// admitServing gives the host to clusters that serve it.
func admitServing(s serving, candidates []source.Claim) Decision {
	d := Decision{Accepted: true, Reason: reason.Admitted, Cluster: s.clusters[0], Holder: s.clusters[0], Backends: s.backends(), Apart: s.apartSorted()}
	first := s.claims[0]
	d.Requested = v1alpha1.RequestedBy{SourceRef: first.Source, ResourceVersion: first.ResourceVersion, Manager: first.Manager}
	for _, c := range s.claims {
		d.Sources = append(d.Sources, c.Source)
		if c.RefusedPorts != nil {
			d.RefusedPorts = append(d.RefusedPorts, *c.RefusedPorts)
		}
	}
	for _, c := range candidates {
		if c.Refusal != nil || !slices.Contains(s.clusters, c.Source.Cluster) {
			d.Rivals = append(d.Rivals, rival(c, cmp.Or(s.apart[c.Source.Cluster].Reason, reason.HeldByAnother)))
		}
	}
	d.Options, _ = combine(s.claims) // clientsLeft and share have refused those that have none in common
	d.Options.Strategy, d.Options.Weight = s.strategy(), d.Backends[0].Weight
	d.Options.DNS = combineDNS(claimsOf(d.Cluster, s.claims)) // a cluster that joins takes no record away
	for _, c := range s.claims {
		c.Options.PlainHTTP = cmp.Or(c.Options.PlainHTTP, d.Options.PlainHTTP)
		spread := d.spreadDifferently(c)
		if !c.Options.Equal(d.Options) || spread != "" {
			d.Differences = append(d.Differences, difference(c, d.Options, s.claims, spread))
		}
	}
	d.Differences = append(d.Differences, dnsDifferences(s.claims, d.Options.DNS)...)
	return d
}

func admitted(winner source.Claim, d Decision, policy Policy) string {
	var away, differs, more string
	if !policy.Clusters[d.Cluster].InSync {
		away = "; its cluster is not in sync, and keeps the host until it is"
	}
	if len(d.Differences) > 0 {
		differs = "; " + d.Differences[0].Message
	}
	if n := len(d.Differences); n > 1 {
		more = fmt.Sprintf(", and %d more sources differ", n-1)
	}
	return message.Format("held by %s%s%s%s%s%s", describe(winner.Source), away, d.sharedWith(), differs, more, refusedPorts(d))
}

// refusedPorts says which ports are refused, and why the first one is; "" if none is.
func refusedPorts(d Decision) string {
	if len(d.RefusedPorts) == 0 {
		return ""
	}
	first, more := d.RefusedPorts[0], ""
	if len(first.Names) > 1 {
		more = "; refused are also " + strings.Join(first.Names[1:], ", ")
	}
	if n := len(d.RefusedPorts); n > 1 {
		more += fmt.Sprintf("; %d more sources have refused ports", n-1)
	}
	return fmt.Sprintf("; port %s is refused: %s%s", first.Names[0], first.First.Message, more)
}

// refuse refuses the host for the reason of the first claim that may have it.
func refuse(first source.Claim, candidates []source.Claim) Decision {
	d := Decision{
		Reason: first.Refusal.Reason, Message: first.Refusal.Message,
		Cluster: first.Source.Cluster, Options: first.Options,
	}
	for _, c := range candidates {
		if c.Source.Cluster == d.Cluster {
			d.Sources = append(d.Sources, c.Source)
		} else {
			d.Rivals = append(d.Rivals, rival(c, reason.HeldByAnother))
		}
	}
	return d
}

// rival lists a candidate with its own reason, or where it is sound, with that of
// the decision.
func rival(c source.Claim, sound string) v1alpha1.Rival {
	if c.Refusal != nil {
		return v1alpha1.Rival{SourceRef: c.Source, Reason: c.Refusal.Reason}
	}
	return v1alpha1.Rival{SourceRef: c.Source, Reason: sound}
}

func describe(ref v1alpha1.SourceRef) string {
	if ref.Kind == "" {
		return "cluster " + ref.Cluster
	}
	return fmt.Sprintf("%s %s/%s of cluster %s", ref.Kind, ref.Namespace, ref.Name, ref.Cluster)
}
