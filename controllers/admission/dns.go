package admission

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// combineDNS returns what the sources of a host, of which the oldest is the first, say about
// its DNS records: none if one of them wants none, else the TTL and the setting of
// Cloudflare's proxy of the oldest source that has one.
func combineDNS(claims []source.Claim) source.DNS {
	var combined source.DNS
	for _, claim := range claims {
		said := claim.Options.DNS
		combined.None = combined.None || said.None
		if combined.TTL == 0 {
			combined.TTL = said.TTL
		}
		if combined.CloudflareProxied == "" {
			combined.CloudflareProxied = said.CloudflareProxied
		}
	}
	return combined
}

// dnsDifferences says which sources ask for other DNS records than those that count.
func dnsDifferences(sources []source.Claim, counts source.DNS) []Difference {
	var differences []Difference
	for _, claim := range sources {
		asked, given := dnsAsked(claim.Options.DNS, counts)
		if len(asked) == 0 {
			continue
		}
		winner := slices.IndexFunc(sources, func(other source.Claim) bool {
			still, _ := dnsAsked(claim.Options.DNS, other.Options.DNS)
			return len(still) > 0
		})
		differences = append(differences, Difference{
			Source: claim.Source,
			Message: message.Format("%s requests %s, but %s applies, because of %s; a host has no DNS records if one source of its holder wants none, and else those of the holder's oldest source",
				describe(claim.Source), strings.Join(asked, " and "), strings.Join(given, " and "), describe(sources[max(winner, 0)].Source)),
		})
	}
	return differences
}

// dnsAsked returns the settings of a source that are not those that count, and these.
func dnsAsked(said, counts source.DNS) (asked, given []string) {
	if counts.None {
		if !said.None && said != (source.DNS{}) {
			return []string{"DNS records"}, []string{"dns false"}
		}
		return nil, nil
	}
	if said.TTL != 0 && counts.TTL != 0 && said.TTL != counts.TTL {
		asked, given = append(asked, dnsTTL(said.TTL)), append(given, dnsTTL(counts.TTL))
	}
	if said.CloudflareProxied != "" && counts.CloudflareProxied != "" && said.CloudflareProxied != counts.CloudflareProxied {
		asked, given = append(asked, "dns-cloudflare-proxied "+said.CloudflareProxied), append(given, "dns-cloudflare-proxied "+counts.CloudflareProxied)
	}
	return asked, given
}

func dnsTTL(seconds int32) string {
	return fmt.Sprintf("dns-ttl %d", seconds)
}
