package routing

import (
	"net/netip"
	"testing"
)

func TestDialAllowed(t *testing.T) {
	for address, allowed := range map[string]bool{
		"192.168.1.10": true, "10.43.0.1": true, "100.64.0.1": true, "203.0.113.9": true, "192.0.2.77": true,
		"fd00::10": true, "2001:db8::1": true, "2a01:4f8::1": true, "::ffff:192.168.1.10": true,
		"64:ff9b::192.168.1.10": true, "2002:c0a8:10a::1": true,

		"127.0.0.1": false, "127.255.255.254": false, "::1": false,
		"0.0.0.0": false, "0.0.0.1": false, "::": false,
		"169.254.169.254": false, "169.254.0.1": false, "fe80::1": false, "febf::1": false,
		"224.0.0.1": false, "239.255.255.255": false, "ff02::1": false, "255.255.255.255": false, "240.0.0.1": false,
		"::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "::ffff:0.0.0.0": false, "::ffff:224.0.0.1": false, "::ffff:255.255.255.255": false,
		"::127.0.0.1": false, "::192.168.1.10": false,
		"64:ff9b::127.0.0.1": false, "64:ff9b::169.254.169.254": false, "64:ff9b::0.0.0.0": false, "64:ff9b:1::1": false,
		"2002:7f00:1::1": false, "2002:a9fe:a9fe::1": false, "2001:0:1::1": false,
		"::ffff:0:127.0.0.1": false, "2001:db8::5efe:127.0.0.1": false, "2001:db8::200:5efe:169.254.169.254": false,
		"fe80::5efe:192.168.1.10": false, "fec0::1": false,
		"fe80::1%eth0": false, "2001:db8::1%lo": false,
	} {
		if got := DialAllowed(netip.MustParseAddr(address)); got != allowed {
			t.Errorf("%s: allowed is %v, it is %q", address, got, AddressProblem(netip.MustParseAddr(address)))
		}
	}
	if DialAllowed(netip.Addr{}) {
		t.Error("no address at all is allowed")
	}
}

func TestDials(t *testing.T) {
	home := []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("fd00::/8")}
	for name, test := range map[string]struct {
		backend Backend
		address string
		want    bool
	}{
		"a person's, anywhere":                    {Backend{}, "127.0.0.1", true},
		"an object's, loopback":                   {Backend{Discovered: true}, "127.0.0.1", false},
		"an object's, elsewhere":                  {Backend{Discovered: true}, "203.0.113.9", true},
		"a person's, within the networks":         {Backend{Networks: home}, "192.168.1.10", true},
		"a person's, mapped":                      {Backend{Networks: home}, "::ffff:192.168.1.10", true},
		"a person's, outside":                     {Backend{Networks: home}, "203.0.113.9", false},
		"an object's, within":                     {Backend{Discovered: true, Networks: home}, "fd00::1", true},
		"an object's, translated out of sight":    {Backend{Discovered: true, Networks: home}, "64:ff9b::192.168.1.10", false},
		"an object's, loopback that is a network": {Backend{Discovered: true, Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, "127.0.0.1", false},
		"a network that could not be read":        {Backend{Networks: []netip.Prefix{{}}}, "192.168.1.10", false},
	} {
		if got := test.backend.Dials(netip.MustParseAddr(test.address)); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	b, addr := Backend{Discovered: true, Networks: home}, netip.MustParseAddr("2002:c0a8:10a::1")
	if n := testing.AllocsPerRun(100, func() { b.Dials(addr) }); n > 0 {
		t.Errorf("it allocates %v times", n)
	}
}
