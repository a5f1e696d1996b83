package routing_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/jovalle/usher/proxy/routing"
)

func prefixes(cidrs ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, cidr := range cidrs {
		all = append(all, netip.MustParsePrefix(cidr))
	}
	return all
}

func TestNetworks(t *testing.T) {
	home := routing.NewNetworks(prefixes("192.168.0.0/16", "10.0.0.0/8", "10.1.0.0/16", "192.168.0.0/16", "fd00::/8", "203.0.113.7/32"))
	if got := home.String(); got != "10.0.0.0/8 192.168.0.0/16 203.0.113.7/32 fd00::/8" {
		t.Errorf("the networks are %s", got)
	}
	for client, want := range map[string]bool{
		"10.0.0.0": true, "10.255.255.255": true, "10.1.2.3": true, "9.255.255.255": false, "11.0.0.0": false,
		"203.0.113.7": true, "203.0.113.8": false, "fd12::1": true, "fe00::1": false, "::1": false,
	} {
		if home.Contains(netip.MustParseAddr(client)) != want {
			t.Errorf("Contains(%s) is not %v", client, want)
		}
	}
	for name, nobody := range map[string]*routing.Networks{"nil": nil, "no networks": routing.NewNetworks(nil)} {
		if nobody.Contains(netip.MustParseAddr("10.0.0.1")) || nobody.String() != "" {
			t.Errorf("%s contains a client", name)
		}
	}
	if home.Contains(netip.Addr{}) {
		t.Error("an unknown address is contained")
	}
}

// Networks contain the same addresses as the list that they are made of.
func TestNetworksContainWhatTheirListContains(t *testing.T) {
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 3))
		addr := func() netip.Addr {
			if r.IntN(3) == 0 {
				return netip.AddrFrom16([16]byte{0x20, byte(r.IntN(2)), 15: byte(r.IntN(4))})
			}
			return netip.AddrFrom4([4]byte{10, byte(r.IntN(2)), byte(r.IntN(2)), byte(r.IntN(4))})
		}
		list := make([]netip.Prefix, r.IntN(8))
		for i := range list {
			a := addr()
			list[i] = netip.PrefixFrom(a, r.IntN(a.BitLen()+1)).Masked()
		}
		networks := routing.NewNetworks(list)
		for range 20 {
			a := addr()
			want := slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
			if networks.Contains(a) != want {
				t.Fatalf("seed %d: %v contains %s: %v, want %v", seed, list, a, !want, want)
			}
		}
	}
}

func TestWithin(t *testing.T) {
	family, vpn := routing.NewNetworks(prefixes("192.168.0.0/16", "10.0.0.0/8")), routing.NewNetworks(prefixes("192.168.7.0/24", "fd00::/8"))
	none := netip.Prefix{}
	for name, test := range map[string]struct {
		within  routing.Within
		in, out string // "" for none
		some    bool
	}{
		"one set":                    {routing.Within{Network: none, All: []*routing.Networks{family}}, "10.0.0.1", "fd00::1", true},
		"two sets":                   {routing.Within{Network: none, All: []*routing.Networks{family, vpn}}, "192.168.7.1", "192.168.1.1", true},
		"a set and a network":        {routing.Within{Network: prefixes("10.1.0.0/16")[0], All: []*routing.Networks{family}}, "10.1.0.1", "10.2.0.1", true},
		"a set and another network":  {routing.Within{Network: prefixes("203.0.113.0/24")[0], All: []*routing.Networks{family}}, "", "203.0.113.1", false},
		"sets with no common client": {routing.Within{Network: prefixes("10.0.0.0/8")[0], All: []*routing.Networks{family, vpn}}, "", "10.0.0.1", false},
		"an empty set":               {routing.Within{Network: none, All: []*routing.Networks{family, routing.NewNetworks(nil)}}, "", "10.0.0.1", false},
		"no set is nobody":           {routing.Within{}, "", "10.0.0.1", false},
		"a network alone is nobody":  {routing.Within{Network: prefixes("10.0.0.0/8")[0]}, "", "10.0.0.1", false},
	} {
		r := routing.Route{AllowWithin: []routing.Within{test.within}}
		if test.in != "" && !r.Allows(netip.MustParseAddr(test.in)) {
			t.Errorf("%s: %s may not connect", name, test.in)
		}
		if r.Allows(netip.MustParseAddr(test.out)) {
			t.Errorf("%s: %s may connect", name, test.out)
		}
		if test.within.Some() != test.some {
			t.Errorf("%s: Some is not %v", name, test.some)
		}
	}
}
