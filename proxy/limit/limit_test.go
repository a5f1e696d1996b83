package limit_test

import (
	"net/netip"
	"sync"
	"testing"

	"github.com/jovalle/usher/proxy/limit"
)

func TestMax(t *testing.T) {
	c := limit.Connections{Max: 2}
	for range c.Max {
		if !c.Open() {
			t.Fatal("refused below Max")
		}
	}
	if c.Open() {
		t.Error("a third connection was admitted")
	}
	c.Close()
	if !c.Open() {
		t.Error("a closed connection still counts")
	}
	if c.Count() != 2 {
		t.Errorf("Count() = %d, want 2", c.Count())
	}
}

func TestZeroValueHasNoLimit(t *testing.T) {
	var c limit.Connections
	client := netip.MustParseAddr("203.0.113.1")
	for range 1000 {
		if !c.Open() || !c.Join(client) {
			t.Fatal("refused without a limit")
		}
	}
}

func TestPerClient(t *testing.T) {
	for name, tt := range map[string]struct {
		first, second string
		same          bool
	}{
		"one IPv4 address":        {"203.0.113.1", "203.0.113.1", true},
		"two IPv4 addresses":      {"203.0.113.1", "203.0.113.2", false},
		"IPv4 and IPv4-mapped":    {"203.0.113.1", "::ffff:203.0.113.1", true},
		"two IPv4-mapped":         {"::ffff:203.0.113.1", "::ffff:203.0.113.2", false},
		"one IPv6 /64":            {"2001:db8::1", "2001:db8::ffff:2", true},
		"two IPv6 /64s":           {"2001:db8::1", "2001:db8:0:1::1", false},
		"link-local, zones apart": {"fe80::1%eth0", "fe80::1%eth1", true},
	} {
		t.Run(name, func(t *testing.T) {
			c := limit.Connections{PerClient: 1}
			first, second := netip.MustParseAddr(tt.first), netip.MustParseAddr(tt.second)
			if !c.Join(first) {
				t.Fatal("the first connection was refused")
			}
			if c.Join(second) == tt.same {
				t.Errorf("Join(%s) = %v after %s", second, !tt.same, first)
			}
			c.Leave(first)
			if !c.Join(first) {
				t.Error("a connection that left still counts")
			}
		})
	}
}

func TestConcurrentClientsStayBelowTheLimit(t *testing.T) {
	c := limit.Connections{Max: 8, PerClient: 4}
	client := netip.MustParseAddr("203.0.113.1")
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for range 1000 {
				if !c.Open() {
					continue
				}
				if c.Join(client) {
					c.Leave(client)
				}
				c.Close()
			}
		})
	}
	workers.Wait()
	if c.Count() != 0 {
		t.Errorf("Count() = %d after all have closed", c.Count())
	}
}

func TestDefaultsOfZeroTimeouts(t *testing.T) {
	given := limit.Timeouts{Hello: 1, Dial: 2, Idle: 3, HalfClosed: 4, Drain: 5, Replaced: 6}
	if got := given.OrDefault(); got != given {
		t.Errorf("%+v became %+v", given, got)
	}
	if got := (limit.Timeouts{}).OrDefault(); got != limit.DefaultTimeouts() {
		t.Errorf("none became %+v", got)
	}
	want := limit.DefaultTimeouts()
	want.Idle = 3
	if got := (limit.Timeouts{Idle: 3}).OrDefault(); got != want {
		t.Errorf("one became %+v, want %+v", got, want)
	}
}
