package knocks

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var phone = netip.MustParseAddr("198.51.100.7")

func find(t *testing.T, top []Knock, host string) Knock {
	t.Helper()
	at := slices.IndexFunc(top, func(k Knock) bool { return k.Host == host })
	if at < 0 {
		t.Fatalf("%q is not among %d knocks", host, len(top))
	}
	return top[at]
}

// An attacker asks for a million names once each, and for some of them twice. The 149 names
// that others have asked for three times stay, and the memory does not grow.
func TestAScanDisplacesNoNameThatIsAskedForOften(t *testing.T) {
	var book Book
	r := book.Recorder()
	const often = 149 // with the line of requests without a name, three quarters of 200
	vault := func(i int) string { return fmt.Sprintf("vault%d.techn.is", i) }
	for i := range 3 * often {
		r.Add(phone, vault(i%often), "unknown_host")
	}
	scan := func(from, to int) {
		for i := from; i < to; i++ {
			host := fmt.Sprintf("%08x.techn.is", i)
			r.Add(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), host, "unknown_host")
			if i%3 == 0 {
				r.Add(phone, host, "unknown_host")
			}
		}
	}
	scan(0, 10_000)
	before := heap()
	scan(10_000, 1_000_000)
	if grown := heap() - before; grown > 256<<10 {
		t.Errorf("a scan takes %d bytes", grown)
	}
	if frequent, latest := len(r.frequent), len(r.latest); frequent > maxFrequent || latest > maxLatest {
		t.Errorf("%d and %d names are kept", frequent, latest)
	}
	top := book.Top(200)
	for i := range often {
		if k := find(t, top, vault(i)); k.Count != 3 || len(top) != 200 {
			t.Errorf("%+v, of %d", k, len(top))
		}
	}
}

func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// After a scan has filled all places, a name that is asked for again and again gets one.
func TestANameGetsAPlaceAfterAScan(t *testing.T) {
	var book Book
	r := book.Recorder()
	for i := range 10_000 {
		for range 2 {
			r.Add(phone, fmt.Sprintf("%d.techn.is", i), "unknown_host")
		}
	}
	for range 5 {
		r.Add(phone, "new.techn.is", "unknown_host")
	}
	if k := find(t, book.Top(10), "new.techn.is"); k.Count != 5 {
		t.Errorf("%+v", k)
	}
	if r.frequent["new.techn.is"] == nil {
		t.Error("it can still be displaced")
	}
	for at, k := range r.ring {
		if k.at != at || r.latest[k.Host] != k || r.frequent[k.Host] != nil {
			t.Fatalf("place %d has %+v", at, k)
		}
	}
}

// A name that was asked for a thousand times a week ago makes way for others.
func TestOldNamesMakeWay(t *testing.T) {
	var book Book
	r := book.Recorder()
	now := time.Now()
	for i := range maxFrequent {
		for range 1000 {
			r.add(now, phone, fmt.Sprintf("%d.old", i), "unknown_host")
		}
	}
	now = now.Add(7 * 24 * time.Hour)
	for range 2 {
		r.add(now, phone, "new.techn.is", "unknown_host")
	}
	if r.frequent["new.techn.is"] == nil {
		t.Error("an old name keeps its place")
	}
	r.add(now.Add(100*365*24*time.Hour), phone, "new.techn.is", "unknown_host") // the clock was set
}

func TestKnock(t *testing.T) {
	var book Book
	tls, http := book.Recorder(), book.Recorder()
	tls.Add(phone, "a.is", "unknown_host")
	tls.Add(netip.MustParseAddr("::ffff:198.51.100.9"), "a.is", "unknown_host")
	time.Sleep(time.Millisecond)
	http.Add(netip.MustParseAddr("2001:db8:1:2::3"), "a.is", "refused_host")
	for range 3 {
		http.Add(phone, "", "bad_request")
	}
	http.Add(netip.Addr{}, "b.is", "unknown_host")
	top := book.Top(200)
	if len(top) != 3 || top[0].Host != "a.is" || top[2].Host != "" || top[2].Count != 3 {
		t.Fatalf("%+v", top)
	}
	a := top[0]
	if a.Count != 3 || a.Reason != "refused_host" || !a.First.Before(a.Last) || fmt.Sprint(a.Networks) != "[2001:db8:1::/48 198.51.100.0/24]" {
		t.Errorf("%+v", a)
	}
	for i := range 10 {
		tls.Add(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), "b.is", "unknown_host")
	}
	if b := find(t, book.Top(200), "b.is"); fmt.Sprint(b.Networks) != "[10.0.9.0/24 10.0.8.0/24 10.0.7.0/24 10.0.6.0/24]" {
		t.Errorf("%v", b.Networks)
	}
	if n := len(book.Top(1)); n != 1 {
		t.Errorf("Top(1) returns %d", n)
	}
	(*Recorder)(nil).Add(phone, "a.is", "unknown_host")
}

func TestConcurrentUse(t *testing.T) {
	var book Book
	var using sync.WaitGroup
	for range 4 {
		using.Go(func() {
			r := book.Recorder()
			for i := range 2000 {
				r.Add(phone, fmt.Sprintf("%d.is", i%700), "unknown_host")
				if i%100 == 0 {
					book.Top(50)
				}
			}
		})
	}
	using.Wait()
}

// BenchmarkAdd measures a refusal of a known name, and of a new one.
func BenchmarkAdd(b *testing.B) {
	names := make([]string, 1<<16)
	for i := range names {
		names[i] = strings.Repeat("x", 8) + fmt.Sprint(i) + ".techn.is"
	}
	for name, n := range map[string]int{"known": 100, "scan": len(names)} {
		b.Run(name, func(b *testing.B) {
			r := new(Book).Recorder()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r.Add(phone, names[i%n], "unknown_host")
			}
		})
	}
}

// The knocks of two processes are one list.
func TestMerge(t *testing.T) {
	now := time.Now()
	var first, second Book
	r := first.Recorder()
	r.add(now.Add(-time.Hour), phone, "vault.techn.is", "unknown_host")
	r.add(now, phone, "a.techn.is", "unknown_host")
	r = second.Recorder()
	r.add(now, netip.MustParseAddr("203.0.113.9"), "vault.techn.is", "NotAllowed")
	leader := second.Top(10)
	leader[0].ServedBy = []string{"hades"}
	merged := Merge(10, first.Top(10), leader)
	k := find(t, merged, "vault.techn.is")
	if len(merged) != 2 || k.Count != 2 || !k.First.Equal(now.Add(-time.Hour)) || !k.Last.Equal(now) || k.Reason != "NotAllowed" ||
		len(k.ServedBy) != 1 || fmt.Sprint(k.Networks) != "[203.0.113.0/24 198.51.100.0/24]" {
		t.Errorf("%+v", merged)
	}
	if top := Merge(1, merged); len(top) != 1 || top[0].Host != "vault.techn.is" {
		t.Errorf("the first: %+v", top)
	}
}
