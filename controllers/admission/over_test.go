package admission_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/source"
)

// over is the wildcard over host.
const over = "*.techn.is"

// overHeldBy is a wildcard that a cluster holds.
func overHeldBy(cluster string) *admission.Over {
	return &admission.Over{Host: over, Clusters: []string{cluster}}
}

// overByHand is a wildcard that a person wrote, with these clusters among its backends.
func overByHand(clusters ...string) *admission.Over {
	return &admission.Over{Host: over, Manual: true, Clusters: clusters}
}

// overClaimed is a wildcard that a cluster gets by a claim of some age.
func overClaimed(cluster string, day int) *admission.Over {
	first := claim(cluster, "wild", day, onHost(over))
	return &admission.Over{Host: over, Clusters: []string{cluster}, First: &first}
}

func TestNamesUnderAWildcard(t *testing.T) {
	tests := []struct {
		name    string
		over    *admission.Over
		claims  []source.Claim
		current *admission.Holding
		manual  bool
		policy  admission.Policy
		want    string
	}{
		{
			name:   "another cluster's claim is refused, and gives it no host",
			over:   overHeldBy("hades"),
			claims: []source.Claim{claim("illmatic", "b", 1)},
			want:   "refused UnderWildcard illmatic [b] rivals []",
		},
		{
			name:   "nor does its age matter once the wildcard is held",
			over:   overHeldBy("hades"),
			claims: []source.Claim{claim("illmatic", "b", 1), claim("hades", "a", 9)},
			want:   "Admitted hades [a] rivals [b=UnderWildcard]",
		},
		{
			name:   "a claim has its own reason first",
			over:   overHeldBy("hades"),
			claims: []source.Claim{claim("illmatic", "b", 1, refusedFor(reason.AnnotationInvalid)), claim("illmatic", "c", 2)},
			want:   "refused AnnotationInvalid illmatic [b c] rivals []",
		},
		{
			name:    "the cluster that held it before keeps it, and no other gets it",
			over:    overHeldBy("hades"),
			current: held("illmatic", "b"),
			claims:  []source.Claim{claim("illmatic", "b", 9), claim("hades", "a", 1), claim("lost", "c", 1)},
			want:    "Admitted illmatic [b] rivals [a=HeldByAnother c=ClusterNotReady]",
		},
		{
			name:    "also while it is refused to it",
			over:    overHeldBy("hades"),
			current: held("illmatic", "b"),
			claims:  []source.Claim{claim("illmatic", "b", 9, refusedFor(reason.TLSMissing)), claim("hades", "a", 1)},
			want:    "refused TLSMissing illmatic [b] rivals [a=HeldByAnother]; held by illmatic",
		},
		{
			name:    "also while it is away",
			over:    overHeldBy("hades"),
			current: held("lost", "b"),
			claims:  []source.Claim{claim("hades", "a", 1)},
			want:    "Admitted lost [b] rivals [a=HeldByAnother]",
		},
		{
			name:    "what was refused stays so while its cluster is away",
			over:    overHeldBy("hades"),
			current: underWildcard("lost", "b"),
			want:    "refused UnderWildcard lost [b] rivals []",
		},
		{
			name:    "and is not known to be so without the wildcard",
			current: underWildcard("lost", "b"),
			want:    "refused ClusterNotReady lost [b] rivals []",
		},
		{
			name:    "what was refused is given once the wildcard is gone or shared",
			current: underWildcard("illmatic", "b"),
			claims:  []source.Claim{claim("illmatic", "b", 9)},
			want:    "Admitted illmatic [b] rivals []",
		},
		{
			name:    "when its holder stops claiming it, only the wildcard's cluster waits for it",
			over:    overHeldBy("hades"),
			current: held("illmatic", "b"),
			claims:  []source.Claim{claim("hades", "a", 9), claim("thanatos", "c", 1)},
			policy:  graced(),
			want:    "Admitted illmatic [b] rivals [c=UnderWildcard a=HeldByAnother]; unclaimed by illmatic",
		},

		{
			name:   "of a wildcard that nobody holds yet, the older claim on the name wins",
			over:   overClaimed("hades", 5),
			claims: []source.Claim{claim("illmatic", "b", 4)},
			want:   "Admitted illmatic [b] rivals []",
		},
		{
			name:   "a younger one does not",
			over:   overClaimed("hades", 5),
			claims: []source.Claim{claim("illmatic", "b", 6), claim("hades", "a", 7)},
			want:   "Admitted hades [a] rivals [b=UnderWildcard]",
		},
		{
			name:   "of the same age, the cluster's name decides",
			over:   overClaimed("hades", 5),
			claims: []source.Claim{claim("illmatic", "b", 5)},
			want:   "refused UnderWildcard illmatic [b] rivals []",
		},
		{
			name:   "as between any two claims",
			over:   overClaimed("illmatic", 5),
			claims: []source.Claim{claim("hades", "b", 5)},
			want:   "Admitted hades [b] rivals []",
		},
		{
			name:   "a refused claim makes no cluster older",
			over:   overClaimed("hades", 5),
			claims: []source.Claim{claim("illmatic", "b", 1, refusedFor(reason.TLSMissing)), claim("illmatic", "c", 6)},
			want:   "refused TLSMissing illmatic [b c] rivals []",
		},
		{
			name:   "all sound claims of the older cluster are its sources, and narrow the host",
			over:   overClaimed("hades", 5),
			claims: []source.Claim{claim("illmatic", "b", 4), claim("illmatic", "c", 6, from("10.0.0.0/8"))},
			want:   "Admitted illmatic [b c] rivals []",
		},
		{
			name:   "the age of another cluster does not help",
			over:   overClaimed("hades", 5),
			claims: []source.Claim{claim("illmatic", "b", 4), claim("thanatos", "c", 6)},
			policy: graced(),
			want:   "Admitted illmatic [b] rivals [c=UnderWildcard]",
		},

		{
			name:    "a person's wildcard takes a name that was held before",
			over:    overByHand("hades"),
			current: held("illmatic", "b"),
			claims:  []source.Claim{claim("illmatic", "b", 1)},
			want:    "refused UnderWildcard illmatic [b] rivals []; held by illmatic",
		},
		{
			name:    "and gives it to its own cluster",
			over:    overByHand("hades"),
			current: held("illmatic", "b"),
			claims:  []source.Claim{claim("illmatic", "b", 1), claim("hades", "a", 9)},
			want:    "Admitted hades [a] rivals [b=UnderWildcard]",
		},
		{
			name:    "not while that one's claim is refused",
			over:    overByHand("hades"),
			current: held("illmatic", "b"),
			claims:  []source.Claim{claim("illmatic", "b", 1), claim("hades", "a", 9, refusedFor(reason.TLSMissing))},
			want:    "refused UnderWildcard illmatic [b] rivals [a=TLSMissing]; held by illmatic",
		},
		{
			name:    "also from a cluster that is away",
			over:    overByHand("hades"),
			current: held("lost", "b"),
			want:    "refused UnderWildcard lost [b] rivals []; held by lost",
		},
		{
			name:    "its own cluster keeps what it holds",
			over:    overByHand("illmatic", "hades"),
			current: held("hades", "a"),
			claims:  []source.Claim{claim("illmatic", "b", 1), claim("hades", "a", 9)},
			want:    "Admitted hades [a] rivals [b=HeldByAnother]",
		},
		{
			name:   "with an address it belongs to no cluster",
			over:   overByHand(),
			claims: []source.Claim{claim("illmatic", "b", 1), claim("hades", "a", 9)},
			want:   "refused UnderWildcard illmatic [b] rivals [a=UnderWildcard]",
		},
		{
			name:   "a name by hand stands under it",
			over:   overByHand(),
			claims: []source.Claim{claim("illmatic", "b", 1)},
			manual: true,
			want:   "Manual  [] rivals [b=HeldByManual]",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			policy := test.policy
			if policy.Clusters == nil {
				policy = everywhere
			}
			if policy.HandoverGrace > 0 {
				policy.Clusters["thanatos"] = admission.Cluster{InSync: true}
			}
			d := admission.Decide(admission.Input{Host: host, Claims: test.claims, Current: test.current, Manual: test.manual, Over: test.over}, policy)
			if got := summary(d); got != test.want {
				t.Errorf("decided:\n%s, want\n%s", got, test.want)
			}
		})
	}
}

// underWildcard is an ExposedHost that was refused to a cluster under a wildcard.
func underWildcard(cluster, name string) *admission.Holding {
	h := refusedHolding(cluster, name)
	h.Reason, h.Message = reason.UnderWildcard, "as it was"
	return h
}

// The message names the wildcard, who has it, and what to do. It is the same before and
// after the wildcard has a holder.
func TestUnderWildcardSaysWhatToDo(t *testing.T) {
	message := func(o *admission.Over) string {
		return admission.Decide(admission.Input{Host: host, Over: o, Claims: []source.Claim{claim("illmatic", "b", 9)}}, everywhere).Message
	}
	const want = `the wildcard *.techn.is of cluster hades covers it: annotate every source of the wildcard with usher.techn.is/share-below: "true" to share the names under it, or write an ExposedHost for this name`
	if held, claimed := message(overHeldBy("hades")), message(overClaimed("hades", 1)); held != want || claimed != want {
		t.Errorf("the messages are\n%s\n%s, want\n%s", held, claimed, want)
	}
	const byHand = `the wildcard *.techn.is covers it, whose ExposedHost was written manually: set spec.shareBelow: true in ExposedHost wildcard.techn.is to share the names under it, or write an ExposedHost for this name`
	if got := message(overByHand()); got != byHand {
		t.Errorf("the message is\n%s, want\n%s", got, byHand)
	}
}

func onWildcard(c *source.Claim)  { c.Host = over }
func sharesBelow(c *source.Claim) { c.Options.ShareBelow = true }

// heldWildcard is a wildcard's ExposedHost as a cluster holds it.
func heldWildcard(cluster string, shared bool) *admission.Holding {
	h := held(cluster, "wild")
	h.Options.ShareBelow = shared
	return h
}

func TestWhatAWildcardIsToTheNamesUnderIt(t *testing.T) {
	for _, test := range []struct {
		name      string
		claims    []source.Claim
		current   *admission.Holding
		unclaimed time.Duration
		policy    admission.Policy
		want      *admission.Over
	}{
		{name: "nothing, without a claim"},
		{
			name: "its holder's", current: heldWildcard("hades", false), claims: []source.Claim{claim("hades", "wild", 5, onWildcard)},
			want: overHeldBy("hades"),
		},
		{
			name: "its holder's, while it is refused", current: heldWildcard("hades", false), claims: []source.Claim{claim("hades", "wild", 5, onWildcard, refusedFor(reason.NotIsolated))},
			want: overHeldBy("hades"),
		},
		{
			name: "its holder's, while that is away", current: heldWildcard("lost", false),
			want: overHeldBy("lost"),
		},
		{
			name: "its holder's, until the end of the grace", current: heldWildcard("hades", false), unclaimed: grace - 1, policy: graced(),
			want: overHeldBy("hades"),
		},
		{
			name: "nobody's then", current: heldWildcard("hades", false), unclaimed: grace, policy: graced(),
		},
		{
			name: "the next one's, by age", current: heldWildcard("hades", false), claims: []source.Claim{claim("illmatic", "wild", 5, onWildcard)}, unclaimed: grace, policy: graced(),
			want: overClaimed("illmatic", 5),
		},
		{
			name: "nobody's, when the holder's MemberCluster is deleted", current: heldWildcard("deleted", false),
		},
		{
			name: "shared, as it is recorded", current: heldWildcard("hades", true), claims: []source.Claim{claim("hades", "wild", 5, onWildcard, sharesBelow)},
		},
		{
			name: "not yet shared", current: heldWildcard("hades", false), claims: []source.Claim{claim("hades", "wild", 5, onWildcard, sharesBelow)},
			want: overHeldBy("hades"),
		},
		{
			name: "of the oldest claim, before anybody holds it", claims: []source.Claim{claim("illmatic", "other", 6, onWildcard), claim("hades", "wild", 5, onWildcard)},
			want: overClaimed("hades", 5),
		},
		{
			name: "shared, before anybody holds it", claims: []source.Claim{claim("hades", "wild", 5, onWildcard, sharesBelow)},
		},
		{
			name: "not shared by one of two sources", claims: []source.Claim{claim("hades", "wild", 5, onWildcard, sharesBelow), claim("hades", "second", 6, onWildcard)},
			want: overClaimed("hades", 5),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			policy := test.policy
			if policy.Clusters == nil {
				policy = everywhere
			}
			in := admission.Input{Host: over, Claims: test.claims, Current: test.current, Unclaimed: test.unclaimed}
			if got := in.AsOver(admission.Decide(in, policy), policy); !got.Equal(test.want) {
				t.Errorf("it is %+v, want %+v", got, test.want)
			}
		})
	}
}

// A hostile member blocks no name by a wildcard that it may not publish, or never got.
func TestAWildcardThatNobodyMayPublishBlocksNobody(t *testing.T) {
	for name, test := range map[string]struct {
		claims  []source.Claim
		current *admission.Holding
		policy  admission.Policy
	}{
		"claimed outside of the allowed domains": {claims: []source.Claim{claim("hades", "wild", 1, onWildcard)}, policy: only("hades", "example.org")},
		"within a domain below":                  {claims: []source.Claim{claim("hades", "wild", 1, onWildcard)}, policy: only("hades", "app.techn.is")},
		"held, and outside of the allowed domains since": {
			claims: []source.Claim{claim("hades", "wild", 1, onWildcard)}, current: heldWildcard("hades", false), policy: only("hades", "example.org"),
		},
		"held, outside and away":  {current: heldWildcard("lost", false), policy: only("lost", "example.org")},
		"never soundly claimed":   {claims: []source.Claim{claim("hades", "wild", 1, onWildcard, refusedFor(reason.RuleInvalid))}, policy: everywhere},
		"refused for its options": {claims: []source.Claim{claim("hades", "a", 1, onWildcard, from("10.0.0.0/8")), claim("hades", "b", 1, onWildcard, from("192.168.0.0/16"))}, policy: everywhere},
		"of a deleted cluster":    {claims: []source.Claim{claim("deleted", "wild", 1, onWildcard)}, policy: everywhere},
		"of one that is away":     {claims: []source.Claim{claim("lost", "wild", 1, onWildcard)}, policy: everywhere},
	} {
		t.Run(name, func(t *testing.T) {
			in := admission.Input{Host: over, Claims: test.claims, Current: test.current}
			if got := in.AsOver(admission.Decide(in, test.policy), test.policy); got != nil {
				t.Errorf("it is %+v to the names under it, want nothing", got)
			}
		})
	}
}

func TestAManualWildcardIsItsBackends(t *testing.T) {
	backends := func(backends ...v1alpha1.HostBackend) *v1alpha1.ExposedHostSpec {
		return &v1alpha1.ExposedHostSpec{Host: over, Backends: backends}
	}
	hades, nas := v1alpha1.HostBackend{Cluster: "hades"}, v1alpha1.HostBackend{Address: "192.0.2.9"}
	shared := backends(hades)
	shared.ShareBelow = true
	exact := backends(hades)
	exact.Host = host
	for name, test := range map[string]struct {
		spec *v1alpha1.ExposedHostSpec
		want *admission.Over
	}{
		"none":          {backends(), overByHand()},
		"an address":    {backends(nas), overByHand()},
		"clusters":      {backends(hades, nas, v1alpha1.HostBackend{Cluster: "illmatic"}, hades), overByHand("hades", "illmatic")},
		"shared":        {shared, nil},
		"of a wildcard": {exact, nil},
	} {
		if got := admission.ManualOver(test.spec); !got.Equal(test.want) {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

// spec.shareBelow is of a wildcard that is accepted, and is read back.
func TestShareBelowIsRecorded(t *testing.T) {
	d := admission.Decide(admission.Input{Host: over, Claims: []source.Claim{claim("hades", "wild", 1, onWildcard, sharesBelow)}}, everywhere)
	eh := &v1alpha1.ExposedHost{Spec: admission.Spec(over, d), Status: status(d)}
	if !eh.Spec.ShareBelow || !admission.Recorded(eh).Options.ShareBelow {
		t.Errorf("the wildcard is %+v, and records %+v", eh.Spec, admission.Recorded(eh).Options)
	}
	if spec := admission.Spec(host, d); spec.ShareBelow {
		t.Error("a name without a wildcard is shared")
	}
	if d.Accepted = false; admission.Spec(over, d).ShareBelow {
		t.Error("a refused wildcard is shared")
	}
}

// pair is a wildcard and a name under it, as they are recorded: host → object.
type pair map[string]*v1alpha1.ExposedHost

// decide decides one of the pair as the reconciler does, and records it. It does nothing
// while the wildcard must wait for the name.
func (p pair) decide(of string, claims map[string][]source.Claim, policy admission.Policy) {
	input := func(of string) admission.Input {
		in := admission.Input{Host: of, Claims: claims[of]}
		if p[of] != nil {
			in.Current = admission.Recorded(p[of])
		}
		return in
	}
	wildcard, name := input(over), input(host)
	aboveIt := admission.Decide(wildcard, policy)
	name.Over = wildcard.AsOver(aboveIt, policy)
	d := admission.Decide(name, policy)
	if of == over {
		if name.Over != nil && name.Over.First != nil && name.Over.Awaits(name, d) {
			return
		}
		d = aboveIt
	}
	if p[of] = nil; !d.Withdraw {
		p[of] = &v1alpha1.ExposedHost{Spec: admission.Spec(of, d), Status: status(d)}
	}
}

func (p pair) String() string {
	var text []string
	for _, of := range []string{over, host} {
		if eh := p[of]; eh != nil {
			text = append(text, fmt.Sprintf("%s: holder %q, %s", of, eh.Spec.Holder, eh.Status.Conditions[0].Reason))
		}
	}
	return strings.Join(text, "; ")
}

// Whatever the order in which usher decides about a wildcard and a name under it, which
// nobody holds, the same clusters get them.
func TestTheOrderOfDecisionsDoesNotMatter(t *testing.T) {
	results := map[string]int{}
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 3))
		claims := map[string][]source.Claim{}
		for _, of := range []string{over, host} {
			for i := range r.IntN(4) {
				c := claim([]string{"hades", "illmatic", "thanatos"}[r.IntN(3)], string(rune('a'+i)), 1+r.IntN(6), onHost(of))
				switch r.IntN(5) {
				case 0:
					refusedFor(reason.TLSMissing)(&c)
				case 1:
					sharesBelow(&c)
				}
				claims[of] = append(claims[of], c)
			}
		}
		policy := admission.Policy{Clusters: map[string]admission.Cluster{"hades": {InSync: true}, "illmatic": {InSync: true}, "thanatos": {InSync: true}}}
		if r.IntN(4) == 0 {
			policy.Clusters["illmatic"] = admission.Cluster{InSync: true, AllowedDomains: []string{host}}
		}
		first, second := pair{}, pair{}
		for range 3 { // until nothing changes
			second.decide(over, claims, policy)
			first.decide(host, claims, policy)
			second.decide(host, claims, policy)
			first.decide(over, claims, policy)
		}
		if first.String() != second.String() {
			t.Fatalf("seed %d: the name first: %s; the wildcard first: %s\n%+v", seed, first, second, claims)
		}
		if eh := first[host]; eh != nil && first[over] != nil {
			results[eh.Status.Conditions[0].Reason+fmt.Sprint(eh.Spec.Holder == first[over].Spec.Holder)]++
		}
	}
	t.Log(results)
	if results["UnderWildcardfalse"] < 1000 || results["Admittedfalse"] < 1000 || results["Admittedtrue"] < 1000 {
		t.Error("the claims are too tame")
	}
}

// No cluster gets a name by a claim that the wildcard over it keeps from it.
func TestNobodyGetsANameUnderAnothersWildcard(t *testing.T) {
	anyInput(t, func(t *testing.T, _ *rand.Rand, in admission.Input, policy admission.Policy) {
		d := admission.Decide(in, policy)
		if !d.Accepted || in.Manual || in.Over == nil {
			return
		}
		for _, b := range d.Backends {
			if slices.Contains(in.Over.Clusters, b.Cluster) {
				continue
			}
			had := in.Current != nil && (in.Current.Holder == b.Cluster ||
				slices.ContainsFunc(in.Current.Sharers, func(s admission.Sharer) bool { return s.Cluster == b.Cluster }))
			older := slices.ContainsFunc(in.Claims, func(c source.Claim) bool {
				return c.Source.Cluster == b.Cluster && in.Over.First != nil && in.Over.OlderThan(c)
			})
			if in.Over.Manual || !had && !older {
				t.Errorf("%s has %s under %+v", b.Cluster, summary(d), in.Over)
			}
		}
	})
}

// A wildcard that limits nothing changes nothing.
func TestAWildcardOfTheOnlyClaimantChangesNothing(t *testing.T) {
	anyInput(t, func(t *testing.T, _ *rand.Rand, in admission.Input, policy admission.Policy) {
		in.Over = nil
		want := admission.Decide(in, policy)
		in.Over = &admission.Over{Host: over, Manual: true, Clusters: []string{"hades", "illmatic", "lost", "deleted"}}
		if got := admission.Decide(in, policy); !reflect.DeepEqual(got, want) {
			t.Errorf("decided %s, and without the wildcard %s", summary(got), summary(want))
		}
	})
}
