package dnsrecord_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/dnsrecord"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

func target(t *testing.T, values ...string) dnsrecord.Target {
	t.Helper()
	parsed, err := dnsrecord.ParseTarget(values)
	testkit.Must(t, err)
	return parsed
}

func TestTargets(t *testing.T) {
	for values, want := range map[string]string{
		"":                                    "[]",
		"203.0.113.7":                         "[{A [203.0.113.7] 60}]",
		"2001:db8::7,203.0.113.9,203.0.113.7": "[{A [203.0.113.7 203.0.113.9] 60} {AAAA [2001:db8::7] 60}]",
		"203.0.113.7,203.0.113.7":             "[{A [203.0.113.7] 60}]",
		"2001:DB8:0:0::7":                     "[{AAAA [2001:db8::7] 60}]",
		"Home.Example.NET.":                   "[{CNAME [home.example.net] 60}]",
	} {
		c := dnsrecord.Config{TTL: 60, Public: target(t, slices.DeleteFunc(strings.Split(values, ","), func(s string) bool { return s == "" })...)}
		records, err := c.Wanted(v1alpha1.DNSPublic, "app.techn.is", nil)
		if testkit.Must(t, err); fmt.Sprint(records.Sets) != want {
			t.Errorf("%q gives %v, want %s", values, records.Sets, want)
		}
	}
	for values, want := range map[string]string{
		"home.example.net,203.0.113.7": "give one name or addresses",
		"203.0.113.7,home.example.net": "give one name or addresses",
		"a.example.net,b.example.net":  "give one name or addresses",
		"*.example.net":                "a wildcard is no target",
		"203.0.113.7:443":              "has a port",
		"203.0.113.0/24":               "has a slash",
		"0.0.0.0":                      "no address that a client can connect to",
		"::ffff:203.0.113.7":           "no address that a client can connect to",
		"fe80::1%eth0":                 "no address that a client can connect to",
		"ff02::1":                      "no address that a client can connect to",
		"home.example.net\nx":          "neither an address",
		"203.0.113":                    "neither an address",
		strings.Repeat("203.0.113.7,", 16) + "203.0.113.7": "at most 16",
	} {
		if _, err := dnsrecord.ParseTarget(strings.Split(values, ",")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error is %v, want %q", values, err, want)
		}
	}
}

func TestProperties(t *testing.T) {
	got, err := dnsrecord.ParseProperties([]string{"z=a=b", "a="})
	if testkit.Must(t, err); fmt.Sprint(got) != "[{a } {z a=b}]" {
		t.Errorf("properties are %v", got)
	}
	for value, want := range map[string]string{
		"proxied": "write NAME=VALUE", "=true": "write NAME=VALUE", "a=\n": "printable", "a=" + strings.Repeat("x", 1024): "at most 1024",
	} {
		if _, err := dnsrecord.ParseProperties([]string{value}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error is %v, want %q", value, err, want)
		}
	}
	if _, err := dnsrecord.ParseProperties([]string{"a=1", "a=2"}); err == nil {
		t.Error("a property may be given twice")
	}
}

func TestWanted(t *testing.T) {
	yes, no := true, false
	c := dnsrecord.Config{
		Public: target(t, "home.example.net"), Internal: target(t, "192.168.1.2"), TTL: 300,
		Properties: []dnsrecord.Property{{"aws/weight", "1"}, {dnsrecord.PropertyCloudflareProxied, "true"}, {"z", "1"}},
	}
	for name, test := range map[string]struct {
		view v1alpha1.DNSView
		host string
		own  *v1alpha1.HostDNS
		want string
	}{
		"public":             {v1alpha1.DNSPublic, "app.techn.is", nil, "[{CNAME [home.example.net] 300}] [{aws/weight 1} {external-dns.alpha.kubernetes.io/cloudflare-proxied true} {z 1}]"},
		"internal":           {v1alpha1.DNSInternal, "app.techn.is", &v1alpha1.HostDNS{CloudflareProxied: &yes}, "[{A [192.168.1.2] 300}] []"},
		"a TTL of its own":   {v1alpha1.DNSInternal, "*.techn.is", &v1alpha1.HostDNS{TTL: 60, Policy: v1alpha1.DNSPublish}, "[{A [192.168.1.2] 60}] []"},
		"not proxied":        {v1alpha1.DNSPublic, "app.techn.is", &v1alpha1.HostDNS{CloudflareProxied: &no}, "[{CNAME [home.example.net] 300}] [{aws/weight 1} {external-dns.alpha.kubernetes.io/cloudflare-proxied false} {z 1}]"},
		"none":               {v1alpha1.DNSPublic, "app.techn.is", &v1alpha1.HostDNS{TTL: 60, Policy: v1alpha1.DNSNone}, "[] []"},
		"the name beside it": {v1alpha1.DNSPublic, "*.example.net", nil, "[{CNAME [home.example.net] 300}] [{aws/weight 1} {external-dns.alpha.kubernetes.io/cloudflare-proxied true} {z 1}]"},
	} {
		records, err := c.Wanted(test.view, test.host, test.own)
		if got := fmt.Sprint(records.Sets, " ", records.Properties); err != nil || got != test.want {
			t.Errorf("%s: %s (%v), want %s", name, got, err, test.want)
		}
	}
	if records, err := c.Wanted(v1alpha1.DNSPublic, "home.example.net", nil); !errors.Is(err, dnsrecord.ErrTargetItself) || len(records.Sets) > 0 {
		t.Errorf("a CNAME of itself: %v (%v)", records, err)
	}
	if fmt.Sprint(c.Properties[1]) != "{external-dns.alpha.kubernetes.io/cloudflare-proxied true}" {
		t.Error("a host has changed the properties of all")
	}
}

// longHosts are hosts of every length that an ExposedHost may have.
func longHosts() []string {
	var hosts []string
	for length := 200; length <= 253; length++ {
		host := strings.Repeat("a.", length/2)[:length-1] + "b"
		hosts = append(hosts, strings.ReplaceAll(host, ".b", "bb"), "*."+host[:length-9]+"x")
	}
	return hosts
}

func TestNamesAreValidAndDiffer(t *testing.T) {
	seen := map[string]string{} // name → what has it
	hosts := append(longHosts(), "app.techn.is", "app.techn.is.public", "*.techn.is", "public", "internal")
	for _, host := range hosts {
		for _, view := range dnsrecord.Views {
			name := dnsrecord.NameOf(view, v1alpha1.NameOfHost(host))
			if wrong := validation.IsDNS1123Subdomain(name); len(wrong) > 0 {
				t.Errorf("%s: %v", name, wrong)
			}
			if other, taken := seen[name]; taken && other != string(view)+host {
				t.Errorf("%s and %s have the name %s", other, string(view)+host, name)
			}
			seen[name] = string(view) + host
		}
	}
	// A host that is called as the shortened name of another one.
	long := strings.Repeat("a.", 126) + "b"
	short := dnsrecord.NameOf(v1alpha1.DNSPublic, long)
	for _, host := range []string{short, strings.TrimSuffix(short, ".public"), strings.TrimSuffix(short, ".public-short"), strings.TrimSuffix(short, "-short")} {
		if dnsrecord.NameOf(v1alpha1.DNSPublic, host) == short {
			t.Errorf("%s has the name of another host", host)
		}
	}
}

func TestEndpoint(t *testing.T) {
	c := dnsrecord.Config{Public: target(t, "203.0.113.7", "2001:db8::7"), Properties: []dnsrecord.Property{{"a", "b"}}}
	owner := &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: "wildcard.techn.is", UID: types.UID("1")}}
	records, err := c.Wanted(v1alpha1.DNSPublic, "*.techn.is", nil)
	testkit.Must(t, err)
	endpoint := records.Endpoint("usher-system", owner)
	want := "map[endpoints:[map[dnsName:*.techn.is providerSpecific:[map[name:a value:b]] recordType:A targets:[203.0.113.7]] map[dnsName:*.techn.is providerSpecific:[map[name:a value:b]] recordType:AAAA targets:[2001:db8::7]]]]"
	if got := fmt.Sprint(endpoint.Object["spec"]); got != want {
		t.Errorf("spec is %s, want %s", got, want)
	}
	endpoint.DeepCopy() // panics on a value that is not JSON's
	if owner := dnsrecord.OwnerOf(endpoint); owner != "wildcard.techn.is" {
		t.Errorf("the owner is %q", owner)
	}
	endpoint.SetLabels(map[string]string{v1alpha1.LabelManaged: "true"})
	if owner := dnsrecord.OwnerOf(endpoint); owner != "" {
		t.Errorf("without its label it belongs to %q", owner)
	}
}

func TestZone(t *testing.T) {
	c := dnsrecord.Config{Public: target(t, "203.0.113.7", "2001:db8::7"), Internal: target(t, "edge.home.arpa"), TTL: 300}
	var zone strings.Builder
	var all []dnsrecord.Records
	for _, host := range []string{"*.techn.is", "a_b.techn.is"} {
		for _, view := range dnsrecord.Views {
			records, err := c.Wanted(view, host, &v1alpha1.HostDNS{TTL: 60})
			testkit.Must(t, err)
			all = append(all, records)
		}
	}
	testkit.Must(t, dnsrecord.WriteZone(&zone, all))
	want := "*.techn.is. 60 IN A 203.0.113.7\n*.techn.is. 60 IN AAAA 2001:db8::7\n*.techn.is. 60 IN CNAME edge.home.arpa.\n" +
		"a_b.techn.is. 60 IN A 203.0.113.7\na_b.techn.is. 60 IN AAAA 2001:db8::7\na_b.techn.is. 60 IN CNAME edge.home.arpa.\n"
	if zone.String() != want {
		t.Errorf("the zone is\n%s", &zone)
	}
}

// No host that usher accepts can write a second record, a comment or a directive into a zone.
func FuzzZone(f *testing.F) {
	for _, seed := range []string{"app.techn.is", "*.techn.is", "a;b.is", "$INCLUDE", "a\n.is", "a b.is", "(.is", `a\.b.is`, "@", "xn--bcher-kva.is", "_acme.x.is"} {
		f.Add(seed)
	}
	c := dnsrecord.Config{Public: dnsrecord.Target{}}
	c.Public, _ = dnsrecord.ParseTarget([]string{"203.0.113.7"})
	f.Fuzz(func(t *testing.T, text string) {
		host, err := routing.ParseHost(text)
		if err != nil {
			return
		}
		records, err := c.Wanted(v1alpha1.DNSPublic, host, nil)
		testkit.Must(t, err)
		var zone strings.Builder
		testkit.Must(t, dnsrecord.WriteZone(&zone, []dnsrecord.Records{records}))
		fields := strings.Fields(zone.String())
		if strings.Count(zone.String(), "\n") != 1 || len(fields) != 4 || fields[0] != host+"." || strings.ContainsAny(zone.String(), "\\;()\"$@\t") {
			t.Errorf("%q writes %q", text, zone.String())
		}
	})
}

func TestDrift(t *testing.T) {
	addresses := dnsrecord.Config{Public: target(t, "203.0.113.7", "2001:db8::7")}
	name := dnsrecord.Config{Public: target(t, "home.example.net")}
	proxied := dnsrecord.Config{Public: target(t, "203.0.113.7"), Properties: []dnsrecord.Property{{dnsrecord.PropertyCloudflareProxied, "true"}}}
	for what, test := range map[string]struct {
		config        dnsrecord.Config
		addrs, target string
		want          string
	}{
		"as wanted":         {addresses, "2001:db8::7 203.0.113.7", "", ""},
		"none":              {addresses, "", "", "the name has no address"},
		"one is missing":    {addresses, "203.0.113.7", "", "the name leads to 203.0.113.7 instead of 203.0.113.7, 2001:db8::7"},
		"another":           {addresses, "198.51.100.1", "", "the name leads to 198.51.100.1 instead of 203.0.113.7, 2001:db8::7"},
		"as the target":     {name, "198.51.100.1", "198.51.100.1", ""},
		"not as the target": {name, "198.51.100.1", "198.51.100.2", "the name leads to 198.51.100.1 instead of 198.51.100.2"},
		"a target of none":  {name, "198.51.100.1", "", "the target home.example.net has no address"},
		"Cloudflare":        {proxied, "104.16.0.1", "", ""},
	} {
		parse := func(s string) (addrs []netip.Addr) {
			for addr := range strings.FieldsSeq(s) {
				addrs = append(addrs, netip.MustParseAddr(addr))
			}
			return addrs
		}
		records, err := test.config.Wanted(v1alpha1.DNSPublic, "app.techn.is", nil)
		testkit.Must(t, err)
		if got := records.Drift(dnsrecord.Answer{Addrs: parse(test.addrs), Target: parse(test.target)}); got != test.want {
			t.Errorf("%s: %q, want %q", what, got, test.want)
		}
	}
}
