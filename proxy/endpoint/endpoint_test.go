package endpoint

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func at(cluster string, i int) Endpoint {
	return Of(cluster, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 443))
}

// expect fails the test if the standing of an address is another.
func expect(t *testing.T, m *Memory, e Endpoint, want Standing) {
	t.Helper()
	if got := m.Standing(e); got != want {
		t.Fatalf("the standing of %v is %d, want %d", e, got, want)
	}
}

// An address fails each time that it is tried: the pause doubles to maxPause, with the
// jitter below it. During the pause no connection gets Due, and after it exactly one.
func TestPausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, e := NewMemory(), at("hades", 1)
		expect(t, m, e, Good)
		longest := firstPause
		for failure := range 10 {
			m.Failed(e, failure > 0)
			time.Sleep(longest - longest/jitter)
			expect(t, m, e, Failing)
			time.Sleep(longest / jitter)
			expect(t, m, e, Due)
			expect(t, m, e, Failing)
			longest = min(2*longest, maxPause)
		}
		m.Answered(e)
		expect(t, m, e, Good)
		m.Failed(e, false)
		time.Sleep(firstPause)
		expect(t, m, e, Due) // it begins with the first pause again
	})
}

func TestPauseIsRandomWithinItsBounds(t *testing.T) {
	for failures, longest := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1000: time.Minute} {
		shortest, most := time.Duration(1<<62), time.Duration(0)
		for range 1000 {
			got := time.Duration(pause(failures))
			shortest, most = min(shortest, got), max(most, got)
		}
		if shortest <= longest-longest/jitter-1 || most > longest {
			t.Errorf("after %d failures the pause is %v to %v, want at most %v", failures, shortest, most, longest)
		}
		if most-shortest < longest/jitter/2 {
			t.Errorf("after %d failures the pause is always about %v", failures, most)
		}
	}
}

// Many connections dial a dead address at the same time, and fail one after the other:
// only the first failure counts.
func TestFailuresOfTheSameTimeCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, e := NewMemory(), at("hades", 1)
		for range 100 {
			m.Failed(e, false)
		}
		time.Sleep(firstPause)
		expect(t, m, e, Due)
		m.Failed(e, false) // of a connection that began before: the one that got Due decides
		m.Failed(e, true)
		time.Sleep(2 * firstPause)
		expect(t, m, e, Due)
	})
}

// The connection that got Due has no result: another one gets it, at once if that is
// reported, else after maxPause.
func TestTriesWithoutAResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, e := NewMemory(), at("hades", 1)
		m.Failed(e, false)
		time.Sleep(firstPause)
		expect(t, m, e, Due)
		m.Returned(e)
		expect(t, m, e, Due)
		time.Sleep(maxPause - 1)
		expect(t, m, e, Failing)
		time.Sleep(time.Nanosecond)
		expect(t, m, e, Due)
		m.Answered(e)
		m.Returned(e) // late: there is nothing to return
		expect(t, m, e, Good)
	})
}

// What one cluster's connections see does not affect the same address of another. An
// IPv4-mapped address is the IPv4 address.
func TestClustersAreSeparate(t *testing.T) {
	m, e := NewMemory(), at("hades", 1)
	m.Failed(e, false)
	expect(t, m, at("illmatic", 1), Good)
	expect(t, m, at("", 1), Good)
	mapped := netip.AddrPortFrom(netip.AddrFrom16(e.Addr.Addr().As16()), e.Addr.Port())
	expect(t, m, Of("hades", mapped), Failing)
	other := Of("hades", netip.AddrPortFrom(e.Addr.Addr(), 80))
	expect(t, m, other, Good)
	m.Answered(other)
	m.Answered(at("illmatic", 1))
	expect(t, m, e, Failing)
	if got := fmt.Sprint(m.Failing()); got != "map[hades:1]" {
		t.Errorf("failing: %s", got)
	}
}

// A hostile member has more and more addresses: the memory stays bounded, the addresses
// of another cluster stay remembered, and the member's latest are remembered when it is
// done with the earlier ones.
func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, other := NewMemory(), at("hades", 1)
		m.Failed(other, false)
		for i := range 2 * maxPerCluster {
			m.Failed(at("hostile", i), false)
		}
		if n := len(*m.marks.Load()); n != maxPerCluster+1 {
			t.Fatalf("%d addresses are remembered, want %d", n, maxPerCluster+1)
		}
		expect(t, m, other, Failing)
		expect(t, m, at("hostile", 0), Failing)
		expect(t, m, at("hostile", maxPerCluster), Good)
		time.Sleep(firstPause)
		for i := range maxPerCluster {
			m.Failed(at("hostile", maxPerCluster+i), false)
		}
		if n := len(*m.marks.Load()); n != maxPerCluster+1 {
			t.Fatalf("%d addresses are remembered, want %d", n, maxPerCluster+1)
		}
		expect(t, m, at("hostile", 0), Good)
		expect(t, m, at("hostile", maxPerCluster), Failing)
		expect(t, m, other, Due)
	})
}

// Addresses that no connection dials any longer are forgotten.
func TestAddressesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		for range 3 {
			for i := range 100 {
				m.Failed(at("hades", i), false)
			}
			time.Sleep(maxPause)
		}
		if n := m.Failing()["hades"]; n != 100 {
			t.Errorf("%d addresses fail, want 100", n)
		}
		time.Sleep(forgetAfter)
		if n := m.Failing()["hades"]; n != 0 {
			t.Errorf("%d addresses still fail", n)
		}
		m.Failed(at("illmatic", 1), false)
		m.Failed(at("hades", 1), false)
		if n := len(*m.marks.Load()); n != 2 {
			t.Errorf("%d addresses are remembered, want 2", n)
		}
		time.Sleep(firstPause)
		expect(t, m, at("hades", 1), Due) // its earlier failures are forgotten too
	})
}

// Exactly one of many goroutines gets Due, whatever the others do.
func TestOneTriesAtATime(t *testing.T) {
	m := NewMemory()
	for round := range 50 {
		e := at("hades", round)
		m.Failed(e, false)
		(*m.marks.Load())[e].due.Store(0)
		var mu sync.Mutex
		var group sync.WaitGroup
		due := 0
		for i := range 8 {
			group.Go(func() {
				m.Failed(at("illmatic", i), false)
				if m.Standing(e) == Due {
					mu.Lock()
					due++
					mu.Unlock()
				}
				m.Answered(at("illmatic", i))
				m.Failing()
			})
		}
		group.Wait()
		if due != 1 {
			t.Fatalf("%d goroutines got Due", due)
		}
	}
}

// While no address fails, nothing is allocated; nor when another one fails.
func TestNothingIsAllocated(t *testing.T) {
	m := NewMemory()
	for name, prepare := range map[string]func(){"all are well": func() {}, "another fails": func() { m.Failed(at("illmatic", 2), false) }} {
		prepare()
		n := testing.AllocsPerRun(100, func() {
			e := at("hades", 1)
			if m.Standing(e) != Good {
				t.Error("it does not fail")
			}
			m.Answered(e)
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
