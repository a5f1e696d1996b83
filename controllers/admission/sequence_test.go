package admission_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/source"
)

// world is one host, the clusters that may claim it, and what usher has written down
// about it: what happens to the clusters one after another is decided by the record of
// the decision before.
type world struct {
	r        *rand.Rand
	now      time.Duration
	clusters map[string]*cluster
	object   *v1alpha1.ExposedHost // nil: there is none
	over     *admission.Over       // the wildcard over the host, held or by hand
	// unclaimed is what usher remembers, and loses by a restart.
	unclaimed struct {
		holder string
		since  time.Duration
	}
	moveTo string // the cluster that a person gives the host to; "" for none
	story  []string
}

// cluster is a member. What it claims while it is away is seen when it is back.
type cluster struct {
	admission.Cluster
	claims, seen []source.Claim
	private      bool          // it names the host in an object that is not annotated
	silentSince  time.Duration // since when it was seen in sync and without a claim; negative: it was not
}

func newWorld(seed uint64) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 1)), clusters: map[string]*cluster{}}
	for _, name := range []string{"hades", "illmatic", "thanatos"}[:2+w.r.IntN(2)] {
		w.clusters[name] = &cluster{Cluster: admission.Cluster{InSync: true}}
	}
	return w
}

// names are the clusters that there are.
func (w *world) names() []string {
	var names []string
	for name := range w.clusters {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// happen changes one cluster, the clock or usher itself, at random, and says what.
func (w *world) happen() string {
	switch w.r.IntN(20) {
	case 0:
		for _, c := range w.clusters {
			c.InSync, c.silentSince = false, -1
		}
		w.unclaimed.holder = ""
		return "usher starts again"
	case 1, 2, 3:
		by := time.Duration(w.r.IntN(int(2 * grace)))
		w.now += by
		return fmt.Sprint(by, " pass")
	case 5:
		w.moveTo = w.names()[w.r.IntN(len(w.clusters))]
		return "a person gives the host to " + w.moveTo
	case 4:
		name := w.names()[w.r.IntN(len(w.clusters))]
		switch w.r.IntN(5) {
		case 0:
			w.over = overByHand(name)
			return "a person gives the wildcard to " + name
		case 1:
			w.over = overHeldBy(name)
			return name + " holds the wildcard"
		}
		w.over = nil
		return "there is no wildcard, or it is shared"
	}
	name := w.names()[w.r.IntN(len(w.clusters))]
	c := w.clusters[name]
	did := c.change(w.r, name)
	if c.InSync && !c.Stale {
		c.seen = slices.Clone(c.claims)
	}
	return name + " " + did
}

// change does something to a cluster, well-meant or not.
func (c *cluster) change(r *rand.Rand, name string) string {
	if len(c.claims) > 0 && r.IntN(2) == 0 {
		i := r.IntN(len(c.claims))
		switch r.IntN(6) {
		case 4, 5:
			c.claims[i].Options.Share = r.IntN(3) > 0
			return "shares, or does not"
		case 0:
			c.claims = slices.Delete(c.claims, i, i+1)
			return "claims less"
		case 1:
			refusedFor([]string{reason.AnnotationInvalid, reason.IngressClass, reason.RuleInvalid}[r.IntN(3)])(&c.claims[i])
			return "has a malformed claim"
		case 2:
			c.claims[i] = claim(name, c.claims[i].Source.Name, 1+r.IntN(28))
			return "has a sound claim of another age"
		default:
			c.claims[i].Created = time.Unix(int64(r.IntN(1<<31)), 0)
			return "lies about an age"
		}
	}
	switch r.IntN(10) {
	case 0:
		c.Stale = true
		return "is away"
	case 1, 2:
		c.Stale, c.InSync = false, true
		return "is back"
	case 3, 4:
		c.claims = nil
		return "claims nothing"
	case 5:
		c.AllowedDomains = [][]string{nil, nil, {"example.org"}}[r.IntN(3)]
		return "may publish other domains"
	case 6:
		c.private, c.RequireAll = r.IntN(3) == 0, r.IntN(3) == 0
		return "has an object that is not annotated, or has not"
	default:
		next := claim(name, string(rune('a'+r.IntN(26))), 1+r.IntN(28))
		next.Options.Share = r.IntN(3) > 0
		c.claims = append(c.claims, next)
		return "claims the host"
	}
}

// decide decides as the reconciler does, and writes the decision down.
func (w *world) decide() admission.Decision {
	policy := admission.Policy{Clusters: map[string]admission.Cluster{}, HandoverGrace: grace}
	in := admission.Input{Host: host, Over: w.over}
	for name, c := range w.clusters {
		policy.Clusters[name] = c.Cluster
		if c.InSync {
			in.Claims = append(in.Claims, c.seen...)
		}
	}
	if w.object != nil {
		in.Current = admission.Recorded(w.object)
	} else if w.unclaimed.holder != "" {
		in.Current = &admission.Holding{Holder: w.unclaimed.holder, Cluster: w.unclaimed.holder}
	}
	if in.Current != nil && in.Current.Holder == w.unclaimed.holder {
		in.Unclaimed = w.now - w.unclaimed.since
	}
	var d admission.Decision
	if to := w.moveTo; to != "" {
		w.moveTo = ""
		moved, refused := in.Moved(to, policy)
		if d = w.bound(moved, policy); refused != nil || !d.Accepted || d.Cluster != to {
			d = w.bound(in, policy)
		}
	} else {
		d = w.bound(in, policy)
	}
	switch {
	case !d.Unclaimed:
		w.unclaimed.holder = ""
	case w.unclaimed.holder != d.Holder:
		w.unclaimed.holder, w.unclaimed.since = d.Holder, w.now
	}
	if w.object = exposedHost(d); d.Withdraw {
		w.object = nil
	}
	return d
}

// bound bounds decisions by what is beside the host, until one stands.
func (w *world) bound(in admission.Input, policy admission.Policy) admission.Decision {
	d := admission.Decide(in, policy)
	for d.Accepted {
		for i, b := range d.Backends {
			if !policy.Clusters[b.Cluster].InSync || !d.Accepted {
				continue
			}
			var beside admission.Beside
			if w.clusters[b.Cluster].private {
				beside.Unannotated = []v1alpha1.SourceRef{ref(b.Cluster, "private")}
			}
			if i == 0 {
				d = admission.Restrict(d, host, policy.Clusters[b.Cluster].RequireAll, beside)
			} else {
				d = admission.RestrictSharer(d, b.Cluster, host, policy.Clusters[b.Cluster].RequireAll, beside)
			}
		}
		next, passed := in.PassOver(d)
		if d.Accepted || !passed {
			break
		}
		in, d = next, admission.Decide(next, policy)
	}
	return d
}

// holder is the cluster that holds the host by what is written down.
func (w *world) holder() string {
	if w.object == nil {
		return w.unclaimed.holder
	}
	return admission.Recorded(w.object).Holder
}

// look notes since when each cluster is seen without a claim.
func (w *world) look() {
	for _, c := range w.clusters {
		switch {
		case !c.InSync || len(c.seen) > 0:
			c.silentSince = -1
		case c.silentSince < 0:
			c.silentSince = w.now
		}
	}
}

// TestNothingInAnotherClusterMovesAHost tries many sequences of events. While the
// cluster that holds the host claims it, or is not known not to, no event anywhere
// gives the host to another; and none does within the grace after that. Only a person
// does, who gives the wildcard over the host to that other cluster. A cluster that does
// not hold the host, or not by a person's word, gets none under another's wildcard.
func TestNothingInAnotherClusterMovesAHost(t *testing.T) {
	var handed, kept, refusedHeld, under, shared, leftTo int // so that the sequences come to what is asked
	for seed := range uint64(2_000) {
		w := newWorld(seed)
		for range 60 {
			w.story = append(w.story, w.happen())
			w.look()
			holder, person := w.holder(), w.moveTo != ""
			var before []v1alpha1.HostBackend
			if w.object != nil {
				before = w.object.Spec.Backends
			}
			d := w.decide()
			w.story[len(w.story)-1] += ": " + summary(d)
			shares := slices.ContainsFunc(before, func(b v1alpha1.HostBackend) bool { return b.Cluster == d.Holder })
			if o := w.over; o != nil && (o.Manual || !person && !shares) && d.Holder != "" && d.Holder != o.Cluster() && (d.Holder != holder || o.Manual && d.Accepted) {
				t.Fatalf("seed %d: %s got the host under %+v:\n%s", seed, d.Holder, o, strings.Join(w.story, "\n"))
			}
			if d.Reason == reason.UnderWildcard {
				under++
			}
			if o := w.over; o != nil && o.Manual && d.Holder == o.Cluster() {
				continue // the person has moved it
			}
			w.checkConsent(t, seed, before, d)
			if len(d.Backends) > 1 && d.Accepted {
				shared++
			}
			if person {
				continue // who has moved it, or tried to
			}
			holds := w.clusters[holder]
			if holds == nil {
				continue
			}
			claims := !holds.InSync || len(holds.seen) > 0
			sharer := slices.ContainsFunc(before, func(b v1alpha1.HostBackend) bool { return b.Cluster == d.Cluster })
			if d.Accepted && d.Holder == holder && d.Cluster != holder && sharer && (!holds.InSync || len(holds.seen) == 0) {
				leftTo++
				continue // to those that share it
			}
			moved := d.Holder != holder || d.Accepted && d.Cluster != holder
			switch {
			case claims && moved:
				t.Errorf("%s held the host, and claimed it", holder)
			case claims && d.Accepted:
				kept++
			case claims:
				refusedHeld++
			case moved && d.Holder != "" && (holds.Stale || w.now-holds.silentSince < grace):
				t.Errorf("%s held the host, and had claimed it no more for %v only", holder, w.now-holds.silentSince)
			case moved && d.Holder != "":
				handed++
			}
			if t.Failed() {
				t.Fatalf("seed %d:\n%s", seed, strings.Join(w.story, "\n"))
			}
		}
	}
	t.Logf("kept %d times, refused to its holder %d times, handed over %d times, refused under a wildcard %d times, shared %d times, left to sharers %d times", kept, refusedHeld, handed, under, shared, leftTo)
	if shared < 1000 || leftTo < 100 || kept < 1000 || refusedHeld < 1000 || handed < 150 || under < 1000 {
		t.Error("the sequences are too tame")
	}
}

// checkConsent checks that each cluster which serves the host besides another, or besides its
// holder, shares it by all of its sound claims, or is not known not to and did before.
func (w *world) checkConsent(t *testing.T, seed uint64, before []v1alpha1.HostBackend, d admission.Decision) {
	t.Helper()
	if !d.Accepted || len(d.Backends) == 1 && d.Cluster == d.Holder {
		return
	}
	for _, b := range d.Backends {
		c := w.clusters[b.Cluster]
		known := slices.ContainsFunc(before, func(was v1alpha1.HostBackend) bool { return was.Cluster == b.Cluster })
		refuses := func(c source.Claim) bool { return c.Refusal == nil && !c.Options.Share }
		if !c.InSync && !known || c.InSync && slices.ContainsFunc(c.seen, refuses) {
			t.Fatalf("seed %d: %s serves the host without consent:\n%s", seed, b.Cluster, strings.Join(w.story, "\n"))
		}
	}
}

// TestAHostThatNobodyClaimsIsNotHeldForEver lets every sequence come to rest with a
// rival that claims the host, and a holder that is in sync and does not.
func TestAHostThatNobodyClaimsIsNotHeldForEver(t *testing.T) {
	for seed := range uint64(1_000) {
		w := newWorld(seed)
		for range 30 {
			w.happen()
			w.decide()
		}
		for _, name := range w.names() {
			c := w.clusters[name]
			c.Cluster, c.private, c.claims, c.seen = admission.Cluster{InSync: true}, false, nil, nil
		}
		w.over = nil
		w.clusters["illmatic"].seen = []source.Claim{claim("illmatic", "rival", 1)}
		w.decide()
		w.now += grace
		if d := w.decide(); !d.Accepted || d.Cluster != "illmatic" {
			t.Fatalf("seed %d: %s", seed, summary(d))
		}
	}
}
