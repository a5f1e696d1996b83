package admission_test

import (
	"strings"
	"testing"

	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/source"
)

func withDNS(dns source.DNS) claimOption { return func(c *source.Claim) { c.Options.DNS = dns } }

// Several sources of a host: one that wants no record is enough, and else the oldest that
// says something counts. What differs is said.
func TestDNSOfSeveralSources(t *testing.T) {
	for name, test := range map[string]struct {
		oldest, other, want source.DNS
		says                string // of the differences; empty if there are none
	}{
		"nothing":            {},
		"one says":           {other: source.DNS{TTL: 60}, want: source.DNS{TTL: 60}},
		"the oldest counts":  {oldest: source.DNS{TTL: 60}, other: source.DNS{TTL: 300}, want: source.DNS{TTL: 60}, says: "Ingress apps/younger of cluster hades requests dns-ttl 300, but dns-ttl 60 applies, because of Ingress apps/oldest of cluster hades"},
		"each its own":       {oldest: source.DNS{TTL: 60}, other: source.DNS{CloudflareProxied: "true"}, want: source.DNS{TTL: 60, CloudflareProxied: "true"}},
		"Cloudflare":         {oldest: source.DNS{CloudflareProxied: "false"}, other: source.DNS{CloudflareProxied: "true"}, want: source.DNS{CloudflareProxied: "false"}, says: "requests dns-cloudflare-proxied true, but dns-cloudflare-proxied false applies"},
		"one wants none":     {oldest: source.DNS{TTL: 60}, other: source.DNS{None: true}, want: source.DNS{None: true, TTL: 60}, says: "Ingress apps/oldest of cluster hades requests DNS records, but dns false applies, because of Ingress apps/younger of cluster hades"},
		"one wants none, oh": {oldest: source.DNS{None: true}, want: source.DNS{None: true}},
		"the same":           {oldest: source.DNS{TTL: 60}, other: source.DNS{TTL: 60}, want: source.DNS{TTL: 60}},
	} {
		claims := []source.Claim{claim("hades", "oldest", 1, withDNS(test.oldest)), claim("hades", "younger", 2, withDNS(test.other))}
		d := admission.Decide(admission.Input{Host: host, Claims: claims}, admission.Policy{Clusters: map[string]admission.Cluster{"hades": {InSync: true}}})
		if !d.Accepted || d.Options.DNS != test.want {
			t.Errorf("%s: %+v, want %+v", name, d.Options.DNS, test.want)
		}
		said := ""
		for _, difference := range d.Differences {
			said += difference.Message
		}
		if (test.says == "") != (said == "") || !strings.Contains(said, test.says) || !strings.Contains(d.Message, test.says) {
			t.Errorf("%s: it says %q, want %q; the message is %q", name, said, test.says, d.Message)
		}
		if recorded := source.RecordedDNS(admission.Spec(host, d).DNS); recorded != test.want {
			t.Errorf("%s: the spec records %+v", name, recorded)
		}
	}
}
