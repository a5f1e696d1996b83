package admission

import (
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// check is one test that a claim must pass: it returns why it does not, or nil.
type check func(claim source.Claim, in checkContext) *source.Refusal

// checks are made in this order; the first refusal counts. What a check asks for is a
// sentence for people: see Checks.
var checks = []struct {
	asks string
	check
}{
	{"the cluster is in sync", clusterInSync},
	{"the object itself can be published", claimSound},
	{"the cluster may publish under the domain", domainAllowed},
	{"all objects lead the host to one Gateway", sameGateway},
	{"the options of all objects can be read", optionsCertain},
	{"the objects agree on clients", clientsLeft},
}

// checkContext is the input of the checks besides the claim.
type checkContext struct {
	policy Policy
	// options: cluster → what its claims on the host ask for together
	options map[string]clusterOptions
}

func (c checkContext) firstRefusal(claim source.Claim) *source.Refusal {
	for i := range checks {
		if refusal := checks[i].check(claim, c); refusal != nil {
			return refusal
		}
	}
	return nil
}

// Checked is a claim with the result of every check.
type Checked struct {
	Claim   source.Claim
	Results []Result
}

// Result is the result of one check.
type Result struct {
	// Asks is what the check asks for, as a sentence.
	Asks string
	// Refusal is nil if the claim passes.
	Refusal *source.Refusal
}

// Checks returns the claims of existing clusters in the order of preference, with the
// results of all checks, also of those after the first refusal. It decides nothing.
func Checks(in Input, policy Policy) []Checked {
	claims := slices.DeleteFunc(slices.Clone(in.Claims), func(c source.Claim) bool {
		_, exists := policy.Clusters[c.Source.Cluster]
		return !exists
	})
	slices.SortFunc(claims, preference)
	context := checkContext{policy: policy, options: optionsOf(claims)}
	all := make([]Checked, len(claims))
	for i, claim := range claims {
		all[i].Claim = claim
		for _, c := range checks {
			all[i].Results = append(all[i].Results, Result{c.asks, c.check(claim, context)})
		}
	}
	return all
}

// clusterInSync refuses claims that may be out of date.
func clusterInSync(claim source.Claim, in checkContext) *source.Refusal {
	cluster := claim.Source.Cluster
	if in.policy.Clusters[cluster].InSync {
		return nil
	}
	return refusal(reason.ClusterNotReady, "cluster %s is not in sync, so its claims are unknown; see the conditions of its MemberCluster", cluster)
}

// claimSound refuses a claim that the source's own content refuses.
func claimSound(claim source.Claim, _ checkContext) *source.Refusal { return claim.Refusal }

// domainAllowed refuses hosts outside the domains that the cluster may publish.
func domainAllowed(claim source.Claim, in checkContext) *source.Refusal {
	cluster := claim.Source.Cluster
	domains := in.policy.Clusters[cluster].AllowedDomains
	if len(domains) == 0 {
		return nil
	}
	for _, domain := range domains {
		if inside(claim.Host, domain) {
			return nil
		}
	}
	return refusal(reason.AllowedDomains, "cluster %s may publish only under %s; add a domain to its MemberCluster's spec.allowedDomains, or choose another host", cluster, strings.Join(domains, ", "))
}

// inside reports whether a host, or all that a wildcard covers, is the domain or
// below it.
func inside(host, domain string) bool {
	host = strings.TrimPrefix(host, "*.")
	return host == domain || strings.HasSuffix(host, "."+domain)
}

// sameGateway refuses a claim that leads the host to another Gateway than the oldest
// sound claim of its cluster: the host goes to one of them.
func sameGateway(claim source.Claim, in checkContext) *source.Refusal {
	first := in.options[claim.Source.Cluster].first
	if first == nil || first.Options.Gateway == claim.Options.Gateway {
		return nil
	}
	return refusal(reason.GatewayElsewhere, "this source leads the host to %s, and the older %s leads it to %s; attach all routes of the host to one Gateway",
		place(claim.Options.Gateway), describe(first.Source), place(first.Options.Gateway))
}

// place describes where a host is led to.
func place(gateway string) string {
	if gateway == "" {
		return "the ingress of the cluster"
	}
	return "Gateway " + gateway
}

// optionsCertain refuses a sound claim if another source of the host in its cluster
// has malformed options: these may exclude clients that the claim's own options allow.
func optionsCertain(claim source.Claim, in checkContext) *source.Refusal {
	other := in.options[claim.Source.Cluster].unreadable
	if other == nil {
		return nil
	}
	return refusal(reason.OptionsUncertain, "the options of %s cannot be read and may exclude clients: %s", describe(other.Source), other.Refusal.Message)
}

// clientsLeft refuses a host whose sources agree on no client.
func clientsLeft(claim source.Claim, in checkContext) *source.Refusal {
	problem := in.options[claim.Source.Cluster].problem
	if problem == "" {
		return nil
	}
	return refusal(reason.AllowFromDisjoint, "%s", problem)
}

func refusal(why, format string, args ...any) *source.Refusal {
	return &source.Refusal{Reason: why, Message: message.Format(format, args...)}
}
