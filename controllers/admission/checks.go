package admission

import (
	"strings"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// check is one test that a claim must pass: it returns why it does not, or nil.
type check func(claim source.Claim, in court) *source.Refusal

// checks are made in this order; the first refusal counts.
var checks = []check{
	clusterInSync,
	claimSound,
	domainAllowed,
	optionsCertain,
	clientsLeft,
}

// court is what the checks look at besides the claim.
type court struct {
	policy Policy
	// options: cluster → what its claims on the host ask for together
	options map[string]clusterOptions
}

func (c court) judge(claim source.Claim) *source.Refusal {
	for _, check := range checks {
		if refusal := check(claim, c); refusal != nil {
			return refusal
		}
	}
	return nil
}

// clusterInSync refuses claims that may be out of date.
func clusterInSync(claim source.Claim, in court) *source.Refusal {
	cluster := claim.Source.Cluster
	if in.policy.Clusters[cluster].InSync {
		return nil
	}
	return refusal(reason.ClusterNotReady, "cluster %s is not in sync, so that its claims are unknown; see the conditions of its MemberCluster", cluster)
}

// claimSound refuses what the source itself spoils.
func claimSound(claim source.Claim, _ court) *source.Refusal { return claim.Refusal }

// domainAllowed refuses hosts outside the domains that the cluster may publish.
func domainAllowed(claim source.Claim, in court) *source.Refusal {
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

// inside says whether a host, or all that a wildcard covers, is the domain or
// below it.
func inside(host, domain string) bool {
	host = strings.TrimPrefix(host, "*.")
	return host == domain || strings.HasSuffix(host, "."+domain)
}

// optionsCertain refuses a sound claim where another source of the host in its
// cluster has options that cannot be read. That one may have meant to keep out
// clients whom the claim's own options let in.
func optionsCertain(claim source.Claim, in court) *source.Refusal {
	other := in.options[claim.Source.Cluster].unreadable
	if other == nil {
		return nil
	}
	return refusal(reason.OptionsUncertain, "the options of %s cannot be read, and might keep clients out: %s", describe(other.Source), other.Refusal.Message)
}

// clientsLeft refuses a host whose sources agree on no client.
func clientsLeft(claim source.Claim, in court) *source.Refusal {
	problem := in.options[claim.Source.Cluster].problem
	if problem == "" {
		return nil
	}
	return refusal(reason.AllowFromDisjoint, "%s", problem)
}

func refusal(why, format string, args ...any) *source.Refusal {
	return &source.Refusal{Reason: why, Message: message.Format(format, args...)}
}
