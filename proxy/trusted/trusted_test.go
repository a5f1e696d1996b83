package trusted_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/jovalle/usher/proxy/trusted"
)

func TestContain(t *testing.T) {
	for name, tt := range map[string]struct {
		networks, inside, outside string
	}{
		"IPv4":          {"10.0.0.0/8", "10.0.0.0 10.255.255.255 ::ffff:10.1.2.3", "11.0.0.0 ::a00:1"},
		"one address":   {"192.0.2.7/32", "192.0.2.7", "192.0.2.6 192.0.2.8"},
		"all of IPv4":   {"0.0.0.0/0", "192.0.2.7 ::ffff:192.0.2.7", "2001:db8::1"},
		"all of IPv6":   {"::/0", "2001:db8::1 fe80::1%eth0", "192.0.2.7 ::ffff:192.0.2.7"},
		"link-local":    {"fe80::/10", "fe80::1 fe80::1%eth0", "fec0::1"},
		"several":       {"10.0.0.0/8 2001:db8::/32", "10.0.0.1 2001:db8::1", "192.0.2.7 2001:db9::1"},
		"bits of hosts": {"10.1.2.3/8", "10.0.0.1", "11.1.2.3"},
		"none":          {"", "", "127.0.0.1 ::1"},
	} {
		t.Run(name, func(t *testing.T) {
			networks, err := trusted.Parse(strings.Fields(tt.networks))
			if err != nil {
				t.Fatal(err)
			}
			for client := range strings.FieldsSeq(tt.inside) {
				if !networks.Contain(netip.MustParseAddr(client)) {
					t.Errorf("%s is not in %v", client, networks)
				}
			}
			for client := range strings.FieldsSeq(tt.outside) {
				if networks.Contain(netip.MustParseAddr(client)) {
					t.Errorf("%s is in %v", client, networks)
				}
			}
			if networks.Contain(netip.Addr{}) {
				t.Errorf("no address is in %v", networks)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	wrong := map[string]string{ // CIDR → text of the error
		"192.0.2.1":           "is no network, such as 192.0.2.0/24",
		"::1/129":             "is no network",
		"":                    "is no network",
		"::ffff:10.0.0.0/104": "is IPv4 written as IPv6, which no client has: write 10.0.0.0/8",
		"::ffff:0:0/96":       "write 0.0.0.0/0",
		"::ffff:10.1.2.3/64":  "write 0.0.0.0/0",
	}
	var all []string
	for cidr, says := range wrong {
		all = append(all, cidr)
		if networks, err := trusted.Parse([]string{cidr}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Parse(%q) = %v, %v; want an error with %q", cidr, networks, err, says)
		}
	}
	slices.Sort(all)
	_, err := trusted.Parse(append(all, "10.0.0.0/8"))
	for cidr, says := range wrong {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("of all at once, %v; want something of %q", err, cidr)
		}
	}
}
