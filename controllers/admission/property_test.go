package admission_test

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/allowfrom"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/proxy/routing"
)

// random is a random input on one host, and a random policy.
func random(r *rand.Rand) (admission.Input, admission.Policy) {
	clusters := []string{"hades", "illmatic", "lost", "deleted"}
	policy := admission.Policy{Clusters: map[string]admission.Cluster{}, HandoverGrace: time.Duration(r.IntN(2)) * grace}
	for _, name := range clusters[:3] {
		c := admission.Cluster{InSync: r.IntN(4) > 0, Stale: r.IntN(4) == 0}
		if r.IntN(4) == 0 {
			c.AllowedDomains = []string{"example.org"}
		}
		policy.Clusters[name] = c
	}
	in := admission.Input{Host: host, Manual: r.IntN(10) == 0, Unclaimed: time.Duration(r.IntN(3)) * grace / 2}
	for i := range r.IntN(6) {
		c := claim(clusters[r.IntN(4)], string(rune('a'+i)), 1+r.IntN(3))
		switch r.IntN(8) {
		case 0:
			refusedFor(reason.IngressClass)(&c)
		case 1:
			refusedFor(reason.AnnotationInvalid)(&c)
		case 2:
			from("10.0.0.0/8")(&c)
		case 3:
			from("10.1.0.0/16", "192.168.0.0/16")(&c)
		case 4:
			from("@family")(&c)
		case 5:
			from("192.168.0.0/16", "@vpn")(&c)
		}
		if r.IntN(2) == 0 {
			shared(&c)
		}
		in.Claims = append(in.Claims, c)
	}
	switch r.IntN(4) {
	case 0:
		in.Current = held(clusters[r.IntN(4)], "current")
	case 1:
		in.Current = heldRefused(clusters[r.IntN(4)], "current")
	case 2:
		in.Current = refusedHolding(clusters[r.IntN(4)], "current")
	}
	if in.Current != nil && in.Current.Accepted && r.IntN(2) == 0 {
		sharers := slices.DeleteFunc(slices.Clone(clusters), func(name string) bool { return name == in.Current.Holder || r.IntN(2) == 0 })
		if in.Current = heldShared(in.Current.Holder, "current", sharers...); len(sharers) > 0 && r.IntN(3) == 0 {
			left(in.Current)
		}
	}
	switch r.IntN(8) {
	case 0:
		in.Over = overHeldBy(clusters[r.IntN(3)])
	case 1:
		in.Over = overClaimed(clusters[r.IntN(3)], 1+r.IntN(3))
	case 2:
		in.Over = overByHand(clusters[r.IntN(4)])
	}
	return in, policy
}

// anyInput runs a check on many random inputs.
func anyInput(t *testing.T, check func(*testing.T, *rand.Rand, admission.Input, admission.Policy)) {
	t.Helper()
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 0))
		in, policy := random(r)
		check(t, r, in, policy)
		if t.Failed() {
			t.Fatalf("seed %d: input %+v\npolicy %+v", seed, in, policy)
		}
	}
}

func TestTheOrderOfClaimsDoesNotMatter(t *testing.T) {
	anyInput(t, func(t *testing.T, r *rand.Rand, in admission.Input, policy admission.Policy) {
		want := admission.Decide(in, policy)
		given := slices.Clone(in.Claims)
		shuffled := in
		shuffled.Claims = slices.Clone(in.Claims)
		r.Shuffle(len(shuffled.Claims), func(i, j int) {
			shuffled.Claims[i], shuffled.Claims[j] = shuffled.Claims[j], shuffled.Claims[i]
		})
		if got := admission.Decide(shuffled, policy); !reflect.DeepEqual(got, want) {
			t.Errorf("decided %s, and in another order %s", summary(want), summary(got))
		}
		if !reflect.DeepEqual(in.Claims, given) {
			t.Errorf("the claims were changed")
		}
	})
}

func TestOnlySoundClaimsAreAdmitted(t *testing.T) {
	anyInput(t, func(t *testing.T, _ *rand.Rand, in admission.Input, policy admission.Policy) {
		d := admission.Decide(in, policy)
		if !d.Accepted || in.Manual {
			return
		}
		serving := map[string]bool{} // cluster → true
		for _, b := range d.Backends {
			serving[b.Cluster] = true
			if len(policy.Clusters[b.Cluster].AllowedDomains) > 0 {
				t.Errorf("admitted outside the allowed domains: %s", summary(d))
			}
		}
		for _, ref := range d.Sources {
			sound := slices.ContainsFunc(in.Claims, func(c source.Claim) bool { return c.Source == ref && c.Refusal == nil })
			if !serving[ref.Cluster] || !isRecorded(in.Current, ref) && !sound {
				t.Errorf("%+v is a source without a sound claim: %s", ref, summary(d))
			}
		}
	})
}

// isRecorded reports whether a source of an accepted host is recorded.
func isRecorded(h *admission.Holding, ref v1alpha1.SourceRef) bool {
	if h == nil {
		return false
	}
	return h.Accepted && slices.Contains(h.Sources, ref) ||
		slices.ContainsFunc(h.Sharers, func(s admission.Sharer) bool { return slices.Contains(s.Sources, ref) })
}

// TestAllSharersConsent: where several clusters serve a host, or others than its holder,
// every sound claim of each that is in sync shares it, and each that is not in sync is
// recorded to.
func TestAllSharersConsent(t *testing.T) {
	var many int
	anyInput(t, func(t *testing.T, _ *rand.Rand, in admission.Input, policy admission.Policy) {
		d := admission.Decide(in, policy)
		if !d.Accepted || in.Manual || len(d.Backends) == 1 && d.Backends[0].Cluster == d.Holder {
			return
		}
		many++
		for _, b := range d.Backends {
			if !policy.Clusters[b.Cluster].InSync {
				if in.Current == nil || in.Current.Holder != b.Cluster && !slices.ContainsFunc(in.Current.Sharers, func(s admission.Sharer) bool { return s.Cluster == b.Cluster }) {
					t.Errorf("%s is not in sync and joins: %s", b.Cluster, summary(d))
				}
				continue
			}
			for _, c := range in.Claims {
				if c.Source.Cluster == b.Cluster && c.Refusal == nil && !c.Options.Share {
					t.Errorf("%s shares without the consent of %s: %s", b.Cluster, c.Source.Name, summary(d))
				}
			}
		}
	})
	if many < 300 {
		t.Errorf("only %d inputs are shared", many)
	}
}

// TestNoSourceWidensAnothers asks about clients in each range and outside all:
// who may connect is within the allow-from of every source.
func TestNoSourceWidensAnothers(t *testing.T) {
	var clients []netip.Addr
	for _, client := range []string{"10.0.0.1", "10.1.0.1", "192.168.0.1", "203.0.113.1", "2001:db8::1"} {
		clients = append(clients, netip.MustParseAddr(client))
	}
	lists, _ := allowfrom.Read([]v1alpha1.NetworkList{
		{ObjectMeta: metav1.ObjectMeta{Name: "family"}, Spec: v1alpha1.NetworkListSpec{Networks: []string{"10.1.0.0/16", "2001:db8::/32"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "vpn"}, Spec: v1alpha1.NetworkListSpec{Networks: []string{"10.0.0.0/8"}}},
	})
	allows := func(o source.Options, client netip.Addr) bool {
		networks, within, invalid := allowfrom.Resolve(o.AllowFrom, lists)
		if invalid != nil {
			t.Fatalf("%v: %+v", o.AllowFrom, invalid)
		}
		route := routing.Route{AllowFrom: networks, AllowWithin: within}
		return route.Allows(client)
	}
	anyInput(t, func(t *testing.T, _ *rand.Rand, in admission.Input, policy admission.Policy) {
		d := admission.Decide(in, policy)
		if !d.Accepted || in.Manual {
			return
		}
		for _, c := range in.Claims {
			if !slices.ContainsFunc(d.Backends, func(b admission.Backend) bool {
				return b.Cluster == c.Source.Cluster && policy.Clusters[b.Cluster].InSync
			}) {
				continue
			}
			if c.Refusal != nil && c.Refusal.Reason == reason.AnnotationInvalid {
				t.Errorf("admitted beside annotations that cannot be read: %s", summary(d))
			}
			for _, client := range clients {
				if c.Refusal == nil && allows(d.Options, client) && !allows(c.Options, client) {
					t.Errorf("%s may connect by %v, and %s keeps it out", client, d.Options.AllowFrom, c.Source.Name)
				}
			}
		}
	})
}

func TestEveryClaimOfAClusterInSyncIsAccountedFor(t *testing.T) {
	anyInput(t, func(t *testing.T, _ *rand.Rand, in admission.Input, policy admission.Policy) {
		d := admission.Decide(in, policy)
		for _, c := range in.Claims {
			if !policy.Clusters[c.Source.Cluster].InSync {
				continue
			}
			count := 0
			for _, s := range d.Sources {
				if s == c.Source {
					count++
				}
			}
			for _, r := range d.Rivals {
				if r.SourceRef == c.Source && r.Reason != "" {
					count++
				}
			}
			if count != 1 {
				t.Errorf("%s stands %d times in: %s", c.Source.Name, count, summary(d))
			}
		}
	})
}

func TestHostsAreWithdrawnOnEvidenceOnly(t *testing.T) {
	anyInput(t, func(t *testing.T, _ *rand.Rand, in admission.Input, policy admission.Policy) {
		if in.Current == nil || !in.Current.Accepted || in.Manual || in.Over != nil && in.Over.Manual {
			return
		}
		cluster, exists := policy.Clusters[in.Current.Cluster]
		if !exists || cluster.InSync || len(cluster.AllowedDomains) > 0 {
			return
		}
		if d := admission.Decide(in, policy); !d.Accepted || d.Cluster != in.Current.Cluster {
			t.Errorf("a cluster that is not in sync lost its host: %s", summary(d))
		}
	})
}
