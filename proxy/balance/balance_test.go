package balance

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"

	"github.com/jovalle/usher/proxy/routing"
)

// backends returns one backend for each weight, with one address.
func backends(weights ...uint8) []routing.Backend {
	var all []routing.Backend
	for i, weight := range weights {
		all = append(all, routing.Backend{Cluster: fmt.Sprintf("c%d", i), Addresses: []string{fmt.Sprintf("192.0.2.%d", i+1)}, HTTPSPort: 443, Weight: weight})
	}
	return all
}

// ipv4 returns the address of a client.
func ipv4(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

const connections = 10_000

// first returns how often each backend has the first address.
func first(of []routing.Backend, choice func(i int) Choice) []int {
	counts := make([]int, len(of))
	for i := range connections {
		counts[Order(nil, of, choice(i))[0].Backend]++
	}
	return counts
}

// expectShares fails the test if a count differs from its weight's share of all by more
// than 2 % of all.
func expectShares(t *testing.T, counts []int, weights ...float64) {
	t.Helper()
	sum, all := 0.0, 0
	for i := range weights {
		sum += weights[i]
		all += counts[i]
	}
	for i, weight := range weights {
		want := float64(all) * weight / sum
		if off := math.Abs(float64(counts[i])-want) / float64(all); off > 0.02 {
			t.Errorf("target %d is first %d times of %d, want %.0f", i, counts[i], all, want)
		}
	}
	t.Logf("first: %v, weights %v", counts, weights)
}

func roundRobin(i int) Choice { return Choice{Strategy: routing.RoundRobin, Turn: uint64(i)} }

func clientHashOf(i int) Choice { return Choice{Strategy: routing.ClientHash, Client: ipv4(i)} }

func TestSharesFollowWeights(t *testing.T) {
	for name, weights := range map[string][]uint8{"equal": {1, 1}, "unequal": {100, 50, 10}, "many": {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, "0 counts as 1": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			var want []float64
			for _, weight := range weights {
				want = append(want, float64(max(weight, 1)))
			}
			of := backends(weights...)
			expectShares(t, first(of, roundRobin), want...)
			expectShares(t, first(of, clientHashOf), want...)
			expectShares(t, first(of, func(i int) Choice {
				return Choice{Strategy: routing.LeastConnections, Turn: mix(uint64(i))} // all idle
			}), want...)
		})
	}
}

// RoundRobin is even over few connections too, not only on average.
func TestTurnsAreEvenAtOnce(t *testing.T) {
	of := backends(3, 1, 1)
	counts := make([]int, 3)
	for turn := range 1000 {
		counts[Order(nil, of, roundRobin(turn))[0].Backend]++
		for i, share := range []float64{0.6, 0.2, 0.2} {
			if off := math.Abs(float64(counts[i]) - share*float64(turn+1)); off > 3 {
				t.Fatalf("after %d turns backend %d was first %d times", turn+1, i, counts[i])
			}
		}
	}
}

// LeastConnections with connections that stay open follows the weights too.
func TestLeastConnectionsFollowsWeights(t *testing.T) {
	of, open := backends(100, 50, 10), map[string]int{}
	counts := first(of, func(i int) Choice {
		return Choice{Strategy: routing.LeastConnections, Turn: mix(uint64(i)), State: func(_ *routing.Backend, address string) (int, float64) {
			return open[address], 1
		}}
	})
	if counts[0] == 0 {
		t.Fatal("the first is never used")
	}
	held := make([]int, 3)
	for i := range connections {
		choice := Choice{Strategy: routing.LeastConnections, Turn: mix(uint64(i)), State: func(_ *routing.Backend, address string) (int, float64) {
			return open[address], 1
		}}
		target := Order(nil, of, choice)[0]
		open[of[target.Backend].Addresses[target.Address]]++
		held[target.Backend]++
	}
	expectShares(t, held, 100, 50, 10)
}

// A busy address is not used while another is idle, whatever their weights.
func TestLeastConnectionsPrefersTheIdle(t *testing.T) {
	of := backends(100, 1)
	for turn := range uint64(100) {
		order := Order(nil, of, Choice{Strategy: routing.LeastConnections, Turn: turn, State: func(b *routing.Backend, _ string) (int, float64) {
			return int(b.Weight) / 100, 1
		}})
		if order[0].Backend != 1 {
			t.Fatalf("turn %d: %v", turn, order)
		}
	}
}

// One of five backends leaves: only its clients move, about a fifth, and they spread over
// the others. It returns: all are where they were.
func TestFewClientsMove(t *testing.T) {
	five := backends(1, 1, 1, 1, 1)
	four := slices.Delete(slices.Clone(five), 2, 3)
	moved, took := 0, make([]int, 4)
	for i := range connections {
		before := five[Order(nil, five, clientHashOf(i))[0].Backend].Cluster
		now := Order(nil, four, clientHashOf(i))[0].Backend
		if after := four[now].Cluster; after != before {
			moved++
			took[now]++
			if before != "c2" {
				t.Fatalf("client %d moved from %s, which is still there, to %s", i, before, after)
			}
		}
	}
	if share := float64(moved) / connections; math.Abs(share-0.2) > 0.02 {
		t.Errorf("%.3f of the clients moved, want 0.2", share)
	}
	t.Logf("%d of %d clients moved, to %v", moved, connections, took)
	for i, n := range took {
		if off := math.Abs(float64(n)/float64(moved) - 0.25); off > 0.04 {
			t.Errorf("backend %d took %d of %d clients", i, n, moved)
		}
	}
}

// The order is fixed for good: another one would move the clients of a replica that runs
// another version.
func TestClientHashNeverChanges(t *testing.T) {
	of := backends(1, 1, 1, 1, 1)
	for client, want := range map[string]string{
		"192.0.2.1":        "[{4 0} {2 0} {1 0} {3 0} {0 0}]",
		"2001:db8:1:2::99": "[{0 0} {1 0} {3 0} {2 0} {4 0}]",
	} {
		if got := fmt.Sprint(Order(nil, of, Choice{Strategy: routing.ClientHash, Client: netip.MustParseAddr(client)})); got != want {
			t.Errorf("%s: %s, want %s", client, got, want)
		}
	}
}

// A client is an IPv4 address, also written as IPv6, or an IPv6 /64. The order of the
// backends in the route, and their ports, do not matter.
func TestWhatIsAClient(t *testing.T) {
	of := backends(1, 1, 1, 1, 1, 1, 1, 1)
	order := func(client string, of []routing.Backend) (clusters []string) {
		for _, target := range Order(nil, of, Choice{Strategy: routing.ClientHash, Client: netip.MustParseAddr(client)}) {
			clusters = append(clusters, of[target.Backend].Cluster)
		}
		return clusters
	}
	for _, pair := range [][2]string{{"192.0.2.1", "::ffff:192.0.2.1"}, {"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"}} {
		if a, b := order(pair[0], of), order(pair[1], of); !slices.Equal(a, b) {
			t.Errorf("%s goes to %v, %s to %v", pair[0], a, pair[1], b)
		}
	}
	other := slices.Clone(of)
	slices.Reverse(other)
	for i := range other {
		other[i].HTTPSPort = 8443
	}
	if a, b := order("192.0.2.1", of), order("192.0.2.1", other); !slices.Equal(a, b) {
		t.Errorf("%v, and in another order %v", a, b)
	}
	differ := 0
	for i := range 100 {
		a, b := order(fmt.Sprintf("2001:db8:1:%x::1", i), of), order(fmt.Sprintf("2001:db8:1:%x::1", i+1000), of)
		if a[0] != b[0] {
			differ++
		}
	}
	if differ < 70 {
		t.Errorf("of 100 pairs of /64s %d go to different backends", differ)
	}
}

// The load of an address that does not answer spreads over the others by their weights.
func TestLoadOfADeadAddressSpreads(t *testing.T) {
	of := backends(10, 1, 3)
	for name, choice := range map[string]func(int) Choice{"RoundRobin": roundRobin, "ClientHash": clientHashOf} {
		next := make([]int, 2)
		for i := range connections {
			if order := Order(nil, of, choice(i)); order[0].Backend == 0 {
				next[order[1].Backend-1]++
			}
		}
		t.Log(name)
		expectShares(t, next, 1, 3)
	}
}

// An address that returns gets a part of its weight.
func TestPartOfAWeight(t *testing.T) {
	of := backends(1, 1)
	state := func(b *routing.Backend, _ string) (int, float64) {
		if b.Cluster == "c1" {
			return 0, 0.1
		}
		return 0, 1
	}
	expectShares(t, first(of, func(i int) Choice {
		return Choice{Strategy: routing.RoundRobin, Turn: uint64(i), State: state}
	}), 1, 0.1)
}

// The weight of a backend is shared by its addresses: a member does not get more with 16.
func TestAddressesShareTheWeight(t *testing.T) {
	of := backends(1, 1)
	of[1].Addresses = nil
	for i := range 16 {
		of[1].Addresses = append(of[1].Addresses, fmt.Sprintf("198.51.100.%d", i))
	}
	expectShares(t, first(of, roundRobin), 1, 1)
	expectShares(t, first(of, clientHashOf), 1, 1)
	each := make([]int, 16)
	for i := range connections {
		if target := Order(nil, of, roundRobin(i))[0]; target.Backend == 1 {
			each[target.Address]++
		}
	}
	expectShares(t, each, slices.Repeat([]float64{1}, 16)...)
}

// Every order has each target once, and the draining ones last.
func TestOrderIsComplete(t *testing.T) {
	of := backends(5, 0, 100, 1)
	of[1].Addresses = append(of[1].Addresses, "a.example", "b.example")
	of[2].Draining = true
	for strategy := routing.Failover; strategy <= routing.ClientHash; strategy++ {
		for turn := range 200 {
			order := Order(nil, of, Choice{Strategy: strategy, Turn: uint64(turn), Client: ipv4(turn)})
			seen := map[Target]bool{}
			for _, target := range order {
				seen[target] = true
			}
			if len(order) != 6 || len(seen) != 6 {
				t.Fatalf("%v: %v", strategy, order)
			}
			if strategy != routing.Failover && order[5].Backend != 2 {
				t.Fatalf("%v: the draining backend is not the last: %v", strategy, order)
			}
		}
	}
	for i := range of {
		of[i].Draining = true
	}
	expectShares(t, first(of, roundRobin), 5, 1, 100, 1)
}

// More addresses than a route may have are cut, and nothing panics.
func TestTargetsAreBounded(t *testing.T) {
	of := backends(slices.Repeat([]uint8{1}, 300)...)
	for i := range of {
		of[i].Addresses = slices.Repeat(of[i].Addresses, 20)
	}
	for strategy := routing.RoundRobin; strategy <= routing.ClientHash; strategy++ {
		if n := len(Order(nil, of, Choice{Strategy: strategy})); n != Max {
			t.Errorf("%v: %d targets, want %d", strategy, n, Max)
		}
	}
	if order := Order(nil, nil, Choice{Strategy: routing.RoundRobin}); len(order) != 0 {
		t.Errorf("%v of no backend", order)
	}
}

func TestOrderIsNeededForSeveral(t *testing.T) {
	for _, c := range []struct {
		strategy routing.Strategy
		backends []routing.Backend
		want     bool
	}{
		{routing.Failover, backends(1, 1), false},
		{routing.RoundRobin, backends(1), false},
		{routing.RoundRobin, nil, false},
		{routing.RoundRobin, backends(1, 1), true},
		{routing.ClientHash, []routing.Backend{{Addresses: []string{"192.0.2.1", "192.0.2.2"}}}, true},
	} {
		if got := Needed(c.strategy, c.backends); got != c.want {
			t.Errorf("%v of %d backends: %v", c.strategy, len(c.backends), got)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	of, buffer := backends(slices.Repeat([]uint8{7}, Few)...), make([]Target, 0, Few)
	state := func(*routing.Backend, string) (int, float64) { return 3, 0.5 }
	for strategy := routing.RoundRobin; strategy <= routing.ClientHash; strategy++ {
		turn := uint64(0)
		if n := testing.AllocsPerRun(100, func() {
			turn++
			Order(buffer, of, Choice{Strategy: strategy, Turn: turn, Client: ipv4(int(turn)), State: state})
		}); n != 0 {
			t.Errorf("%v: %v allocations", strategy, n)
		}
	}
}

func BenchmarkOrder(b *testing.B) {
	state := func(*routing.Backend, string) (int, float64) { return 0, 1 }
	for _, n := range []int{1, 2, 10} {
		of, buffer := backends(slices.Repeat([]uint8{1}, n)...), make([]Target, 0, Few)
		for strategy := routing.Failover; strategy <= routing.ClientHash; strategy++ {
			b.Run(fmt.Sprintf("%v/%d", strategy, n), func(b *testing.B) {
				b.ReportAllocs()
				client, turn := ipv4(12345), uint64(0)
				for b.Loop() {
					turn++
					if Needed(strategy, of) {
						Order(buffer, of, Choice{Strategy: strategy, Turn: turn, Client: client, State: state})
					}
				}
			})
		}
	}
}
