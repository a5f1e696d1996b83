package reach

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseAddresses(t *testing.T) {
	for _, tt := range []struct {
		values []string
		want   Addresses
		err    string
	}{
		{[]string{"auto"}, Addresses{auto: true}, ""},
		{[]string{"off"}, Addresses{}, ""},
		{[]string{"192.0.2.1", "2001:db8::1"}, Addresses{list: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}}, ""},
		{[]string{"::ffff:192.0.2.1"}, Addresses{list: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}, ""},
		{nil, Addresses{}, "is empty"},
		{[]string{"auto", "192.0.2.1"}, Addresses{}, `"auto" cannot be combined`},
		{[]string{"192.0.2.1", "off"}, Addresses{}, `"off" cannot be combined`},
		{[]string{"192.0.2.1:443"}, Addresses{}, `"192.0.2.1:443" is no IP address`},
		{[]string{"true"}, Addresses{}, `"true" is no IP address`},
		{[]string{"::"}, Addresses{}, "no address to connect to"},
		{[]string{"224.0.0.1"}, Addresses{}, "no address to connect to"},
	} {
		got, err := ParseAddresses(tt.values)
		if !reflect.DeepEqual(got, tt.want) || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %+v, %v; want %+v, %q", tt.values, got, err, tt.want, tt.err)
		}
	}
}

func TestAddressesForListener(t *testing.T) {
	given := func(values ...string) Addresses {
		a, err := ParseAddresses(values)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, tt := range []struct {
		addresses Addresses
		bound     string
		want      string
	}{
		{given("auto"), "192.0.2.1", "[192.0.2.1]"},
		{given("auto"), "127.0.0.1", "[]"},
		{given("auto"), "::1", "[]"},
		{given("off"), "::", "[]"},
		{given("192.0.2.1", "2001:db8::1"), "::", "[192.0.2.1 2001:db8::1]"},
		{given("192.0.2.1", "2001:db8::1"), "0.0.0.0", "[192.0.2.1]"},
		{given("192.0.2.1", "2001:db8::1"), "2001:db8::1", "[2001:db8::1]"},
		{given("192.0.2.1"), "192.0.2.2", "[]"},
	} {
		if got := tt.addresses.forListener(netip.MustParseAddr(tt.bound)); strings.Join(addressStrings(got), " ") != strings.Trim(tt.want, "[]") {
			t.Errorf("%+v of %s: %v, want %s", tt.addresses, tt.bound, got, tt.want)
		}
	}
	bound := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:443"), netip.MustParseAddrPort("0.0.0.0:80")}
	if err := given("2001:db8::1").Validate(bound); err == nil || err.Error() != "nothing listens on 2001:db8::1: give addresses of --https-listen, --tls-listen or --http-listen" {
		t.Errorf("an address without a listener: %v", err)
	}
	if err := given("192.0.2.1", "198.51.100.1").Validate(bound); err != nil {
		t.Error(err)
	}
}

func addressStrings(addrs []netip.Addr) (all []string) {
	for _, addr := range addrs {
		all = append(all, addr.String())
	}
	return all
}

// An address that several listeners cover is one target, so that it is checked once
// and has one metric. The number of targets is bounded.
func TestTargetsAreUniqueAndBounded(t *testing.T) {
	a, err := ParseAddresses([]string{"192.0.2.1"})
	if err != nil {
		t.Fatal(err)
	}
	c := &Check{Addresses: a, HTTPS: []netip.AddrPort{netip.MustParseAddrPort("[::]:443"), netip.MustParseAddrPort("192.0.2.1:443")}}
	if targets := c.targets(); len(targets) != 1 {
		t.Errorf("the targets are %v", targets)
	}
	for port := range uint16(100) {
		c.HTTPS = append(c.HTTPS, netip.AddrPortFrom(netip.IPv6Unspecified(), 1000+port))
	}
	if targets := c.targets(); len(targets) != maxTargets {
		t.Errorf("there are %d targets, want %d", len(targets), maxTargets)
	}
}

// All addresses that auto selects are global unicast addresses, on any machine.
func TestOutboundAddresses(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, addr := range slices.Concat(outboundAddresses(v6), interfaceAddresses(v6)) {
			if addr.Is6() != v6 || !addr.IsGlobalUnicast() {
				t.Errorf("v6=%v: %v", v6, addr)
			}
		}
	}
}
