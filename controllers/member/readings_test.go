package member

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
)

// After any sequence of additions, changes and removals, the claims on each host are
// those of the oldest objects within the limit. Each host whose claims change is reported.
func TestReadingsFollowTheObjects(t *testing.T) {
	limits := Limits{MemberHosts: 12}
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 5))
		b := newReadings(limits)
		objects := map[sourceID]*reading{} // as they were last read, never cut
		claims := map[string]string{}      // host → its claims, as they were last reported
		for step := range 300 {
			id := sourceID{random.IntN(2), types.NamespacedName{Namespace: "default", Name: fmt.Sprint("o", random.IntN(8))}}
			c := b.put(id, copyOf(setReading(random, objects, id)))
			reported := c.hosts
			for rounds := 0; len(c.again) > 0; rounds++ {
				if rounds == 20 {
					t.Fatalf("seed %d, step %d: %v are read again and again", seed, step, c.again)
				}
				c = b.put(c.again[0], copyOf(objects[c.again[0]]))
				reported = append(reported, c.hosts...)
			}
			want := claimsWithin(objects, limits.MemberHosts)
			for host := range maps.Keys(union(claims, want)) {
				if got := fmt.Sprint(describe(b.on(host, all))); got != fmt.Sprint(want[host]) && !(got == "[]" && want[host] == "") {
					t.Fatalf("seed %d, step %d: %s is claimed by %v, want %v", seed, step, host, got, want[host])
				}
				if claims[host] != want[host] && !slices.Contains(reported, host) {
					t.Fatalf("seed %d, step %d: %s is claimed by %v instead of %v, and only %v are reported", seed, step, host, want[host], claims[host], reported)
				}
			}
			if hosts := slices.Sorted(maps.Keys(want)); !slices.Equal(b.claimedHosts(all), hosts) {
				t.Fatalf("seed %d, step %d: the hosts are %v, want %v", seed, step, b.claimedHosts(all), hosts)
			}
			if under := slices.Sorted(slices.Values(b.claimedUnder("*.x.is"))); !slices.Equal(under, slices.Sorted(maps.Keys(want))) {
				t.Fatalf("seed %d, step %d: the hosts under the wildcard are %v, want those of %v", seed, step, under, want)
			}
			claims = want
		}
		for id := range objects {
			b.put(id, nil)
		}
		if len(b.byID)+len(b.byAge)+len(b.byHost)+len(b.under)+b.hosts+b.more+b.cuts != 0 {
			t.Fatalf("seed %d: without objects there is left %+v", seed, b)
		}
	}
}

func all(int) bool { return true }

// setReading changes an object, or removes it: nil.
func setReading(random *rand.Rand, objects map[sourceID]*reading, id sourceID) *reading {
	if random.IntN(4) == 0 {
		delete(objects, id)
		return nil
	}
	r := &reading{id: id, created: time.Unix(int64(random.IntN(3)), 0), more: random.IntN(2)}
	if before := objects[id]; before != nil {
		r.created = before.created
	}
	ref := v1alpha1.SourceRef{Kind: sources[id.kind].gvk.Kind, Namespace: id.Namespace, Name: id.Name}
	for i := range 6 {
		if random.IntN(2) == 0 {
			claim := source.Claim{Source: ref, Created: r.created, Host: fmt.Sprintf("h%d.x.is", i)}
			if random.IntN(3) == 0 {
				claim.Options.AllowFrom = []string{"192.0.2.0/24"}
			}
			r.claims = append(r.claims, claim)
		}
	}
	r.hosts = len(r.claims)
	objects[id] = r
	return r
}

// copyOf is a reading that the readings may change.
func copyOf(r *reading) *reading {
	if r == nil {
		return nil
	}
	c := *r
	c.claims = slices.Clone(r.claims)
	return &c
}

// claimsWithin returns the claims of the oldest objects that have at most limit claims
// together.
func claimsWithin(objects map[sourceID]*reading, limit int) map[string]string {
	byHost := map[string][]source.Claim{}
	total := 0
	for _, r := range slices.SortedFunc(maps.Values(objects), (*reading).compareAge) {
		if total += len(r.claims); total > limit {
			break
		}
		for _, claim := range r.claims {
			byHost[claim.Host] = append(byHost[claim.Host], claim)
		}
	}
	described := map[string]string{}
	for host, claims := range byHost {
		described[host] = fmt.Sprint(describe(claims))
	}
	return described
}

// describe writes claims, sorted.
func describe(claims []source.Claim) []string {
	var written []string
	for _, c := range claims {
		written = append(written, fmt.Sprint(c.Source, c.Created.Unix(), c.Options.AllowFrom))
	}
	slices.Sort(written)
	return written
}

func union(a, b map[string]string) map[string]string {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}

// Of many refused objects the newest are reported. Their refusals say which are beyond
// the limit.
func TestRefusalsAreOfTheNewestObjects(t *testing.T) {
	b := newReadings(Limits{MemberHosts: 3})
	for i := range 6 {
		id := sourceID{0, types.NamespacedName{Namespace: "default", Name: fmt.Sprint("o", i)}}
		b.put(id, &reading{id: id, created: time.Unix(int64(i), 0), hosts: 1, claims: []source.Claim{{Host: fmt.Sprintf("h%d.x.is", i)}}, refusals: []source.Refusal{{Reason: "HostInvalid"}}})
	}
	var got []string
	for _, refusal := range b.refusals(8, all) {
		got = append(got, refusal.Name+" "+refusal.Reason)
	}
	want := []string{"o5 TooManyHosts", "o5 HostInvalid", "o4 TooManyHosts", "o4 HostInvalid", "o3 TooManyHosts", "o3 HostInvalid", "o2 HostInvalid", "o1 HostInvalid"}
	if !slices.Equal(got, want) {
		t.Errorf("they are %q, want %q", got, want)
	}
}

// The cost of one more reading does not depend on how many there are, within the limit
// or beyond it.
func BenchmarkReadings(b *testing.B) {
	for _, objects := range []int{100, 60_000} {
		b.Run(fmt.Sprint(objects), func(b *testing.B) {
			all := newReadings(Limits{MemberHosts: 10_000})
			put := func(i int) {
				id := sourceID{0, types.NamespacedName{Namespace: "default", Name: fmt.Sprint("o", i)}}
				all.put(id, &reading{id: id, created: time.Unix(int64(i), 0), hosts: 1, claims: []source.Claim{{Host: fmt.Sprintf("h%d.x.is", i)}}})
			}
			for i := range objects {
				put(i)
			}
			for b.Loop() {
				put(objects / 2)
			}
		})
	}
}
