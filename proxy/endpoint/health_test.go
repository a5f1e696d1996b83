package endpoint

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// An address that fails its check is dialled last for as long as that, whatever
// connections see.
func TestDownUntilUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, e := NewMemory(), at("hades", 1)
		m.Down(e)
		m.Down(e)
		m.Failed(e, false)
		expect(t, m, e, Failing)
		time.Sleep(2 * forgetAfter)
		expect(t, m, e, Failing)
		m.Answered(e)
		expect(t, m, e, Failing)
		if n := m.Failing()["hades"]; n != 1 {
			t.Errorf("%d addresses fail, want 1", n)
		}
		m.Up(e)
		expect(t, m, e, Good)
		m.Up(e) // again: it has no effect
		m.Down(e)
		m.Unchecked(e)
		expect(t, m, e, Good)
		m.Failed(e, false) // the failures of connections count as before
		expect(t, m, e, Failing)
		m.Unchecked(e)
		expect(t, m, e, Failing)
		if n := len(*m.marks.Load()); n != 1 {
			t.Errorf("%d addresses are remembered", n)
		}
	})
}

// Failures of connections neither evict an address that is down, nor are they kept out by it.
func TestDownIsNotEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		for i := range maxPerCluster {
			m.Down(at("hades", i))
		}
		for range 3 {
			for i := range 2 * maxPerCluster {
				m.Failed(at("hades", maxPerCluster+i), false)
			}
			time.Sleep(maxPause)
		}
		for i := range maxPerCluster {
			expect(t, m, at("hades", i), Failing)
		}
		if n := len(*m.marks.Load()); n != 2*maxPerCluster {
			t.Errorf("%d addresses are remembered, want %d", n, 2*maxPerCluster)
		}
	})
}

// An address that returns, after its check or after several failures, gets a growing part.
func TestSlowStart(t *testing.T) {
	for name, leave := range map[string]func(m *Memory, e Endpoint){
		"after its check": func(m *Memory, e Endpoint) {
			m.Down(e)
			m.Up(e)
		},
		"after failures": func(m *Memory, e Endpoint) {
			m.Failed(e, false)
			m.Failed(e, true)
			m.Answered(e)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, e := NewMemory(), at("hades", 1)
				leave(m, e)
				for second := range 30 {
					if got, want := m.Part(e), max(float64(second)/30, firstPart); math.Abs(got-want) > 1e-9 {
						t.Fatalf("after %d s the part is %v, want %v", second, got, want)
					}
					time.Sleep(time.Second)
				}
				if !m.returning() {
					t.Error("no address is returning")
				}
				if got := m.Part(e); got != 1 || m.returning() {
					t.Errorf("after 30 s the part is %v", got)
				}
			})
		})
	}
}

func TestOneFailureIsNoSlowStart(t *testing.T) {
	m, e := NewMemory(), at("hades", 1)
	m.Failed(e, false)
	m.Answered(e)
	if m.Part(e) != 1 || m.returning() {
		t.Error("a lost SYN begins a slow start")
	}
}

// A member whose addresses come and go does not fill the memory.
func TestSlowStartsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory()
		for i := range 4 * maxPerCluster {
			m.Down(at("hostile", i))
			m.Up(at("hostile", i))
		}
		m.Down(at("hades", 1))
		m.Up(at("hades", 1))
		if n := len(*m.returned.Load()); n != maxPerCluster+1 {
			t.Errorf("%d addresses are remembered, want %d", n, maxPerCluster+1)
		}
		if m.Part(at("hades", 1)) != firstPart {
			t.Error("another cluster's address has no slow start")
		}
	})
}

func TestConnectionsAreCounted(t *testing.T) {
	var c Connections
	a, b := Backend{"hades", "192.0.2.1"}, Backend{"illmatic", "192.0.2.1"}
	first, second := c.Begin(a), c.Begin(a)
	other := c.Begin(b)
	if got := fmt.Sprint(c.Count(a), c.Count(b), c.Count(Backend{}), c.Len()); got != "2 1 0 2" {
		t.Errorf("counts %s", got)
	}
	first.End()
	other.End()
	if got := fmt.Sprint(c.Count(a), c.Count(b), c.Len()); got != "1 0 1" {
		t.Errorf("counts %s", got)
	}
	second.End()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 1000 {
				c.Begin(Backend{"hades", fmt.Sprint(i % 3)}).End()
			}
		})
	}
	group.Wait()
	if n := c.Len(); n != 0 {
		t.Errorf("%d addresses have connections", n)
	}
}
