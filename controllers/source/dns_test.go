package source_test

import (
	"strings"
	"testing"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/source"
)

// The annotations about DNS records, and that a malformed one refuses the host.
func TestDNSAnnotations(t *testing.T) {
	const ttl, proxied, dns = "usher.techn.is/dns-ttl: ", "usher.techn.is/dns-cloudflare-proxied: ", "usher.techn.is/dns: "
	for annotation, want := range map[string]source.DNS{
		dns + `"true"`:      {},
		dns + `"false"`:     {None: true},
		ttl + `"1"`:         {TTL: 1},
		ttl + `"604800"`:    {TTL: 604800},
		proxied + `"true"`:  {CloudflareProxied: "true"},
		proxied + `"false"`: {CloudflareProxied: "false"},
	} {
		claims := translate(t, source.KindIngress, meta(annotation)+"spec: {rules: ["+rule("app.techn.is")+"]}", hades).Claims
		if len(claims) != 1 || claims[0].Refusal != nil || claims[0].Options.DNS != want {
			t.Errorf("%s: the claims are %+v", annotation, claims)
			continue
		}
		other := claims[0]
		if other.Options.DNS.TTL++; claims[0].Equal(other) {
			t.Errorf("%s: claims that differ in it are equal", annotation)
		}
		if again := source.RecordedDNS(want.Spec()); again != want {
			t.Errorf("%+v is recorded as %+v", want, again)
		}
	}
	if (source.DNS{}).Spec() != nil {
		t.Error("nothing is recorded as something")
	}
	for annotation, says := range map[string]string{
		dns + `"no"`:                   `"no" is neither true nor false`,
		dns + `""`:                     `"" is neither true nor false`,
		proxied + `"yes"`:              `"yes" is neither true nor false`,
		ttl + `"0"`:                    "not a number of seconds from 1 to 604800",
		ttl + `"604801"`:               "not a number of seconds",
		ttl + `"-5"`:                   "not a number of seconds",
		ttl + `"5m"`:                   `"5m" is not a number of seconds`,
		ttl + `" 60"`:                  "not a number of seconds",
		ttl + `"99999999999999999999"`: "not a number of seconds",
		`usher.techn.is/dns-tll: "60"`: "there is no such annotation",
	} {
		claims := translate(t, source.KindIngress, meta(annotation)+"spec: {rules: ["+rule("app.techn.is")+"]}", hades).Claims
		if len(claims) != 1 || claims[0].Refusal == nil || claims[0].Refusal.Reason != reason.AnnotationInvalid || !strings.Contains(claims[0].Refusal.Message, says) {
			t.Errorf("%s: the claims are %+v, want %q", annotation, claims, says)
		}
	}
	if v1alpha1.MaxDNSTTL != 604800 {
		t.Error("the documents say 604800")
	}
}
