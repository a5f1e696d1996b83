package admission_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/source"
)

const grace = 10 * time.Second

// graced is everywhere, with a grace.
func graced(change ...func(map[string]admission.Cluster)) admission.Policy {
	p := only("nobody")
	p.HandoverGrace = grace
	for _, change := range change {
		change(p.Clusters)
	}
	return p
}

// stale has a cluster that is in sync answer no more.
func stale(name string) func(map[string]admission.Cluster) {
	return func(clusters map[string]admission.Cluster) {
		clusters[name] = admission.Cluster{InSync: true, Stale: true}
	}
}

func TestTheHolderKeepsTheHost(t *testing.T) {
	tests := []struct {
		name    string
		current *admission.Holding
		claims  []source.Claim
		want    string
	}{
		{
			name:    "from an older object that is annotated later",
			current: held("hades", "a"),
			claims:  []source.Claim{claim("hades", "a", 5), claim("illmatic", "old", 1)},
			want:    "Admitted hades [a] rivals [old=HeldByAnother]",
		},
		{
			name:    "by another object than the one that got it",
			current: held("hades", "a"),
			claims:  []source.Claim{claim("hades", "new", 9), claim("illmatic", "old", 1)},
			want:    "Admitted hades [new] rivals [old=HeldByAnother]",
		},
		{
			name:    "though its annotation is malformed: the host is refused, and served nowhere",
			current: held("hades", "a"),
			claims:  []source.Claim{claim("hades", "a", 5, refusedFor(reason.AnnotationInvalid)), claim("illmatic", "b", 6)},
			want:    "refused AnnotationInvalid hades [a] rivals [b=HeldByAnother]; held by hades",
		},
		{
			name:    "while it stays refused",
			current: heldRefused("hades", "a"),
			claims:  []source.Claim{claim("hades", "a", 5, refusedFor(reason.IngressClass)), claim("illmatic", "b", 1)},
			want:    "refused IngressClass hades [a] rivals [b=HeldByAnother]; held by hades",
		},
		{
			name:    "and has it again once its claim is sound",
			current: heldRefused("hades", "a"),
			claims:  []source.Claim{claim("hades", "a", 5), claim("illmatic", "b", 1)},
			want:    "Admitted hades [a] rivals [b=HeldByAnother]",
		},
		{
			name:    "refused and away",
			current: heldRefused("lost", "a"),
			claims:  []source.Claim{claim("illmatic", "b", 1)},
			want:    "refused IngressClass lost [a] rivals [b=HeldByAnother]; held by lost",
		},
		{
			name:    "by a sound claim beside a refused one",
			current: held("hades", "a"),
			claims:  []source.Claim{claim("hades", "a", 5, refusedFor(reason.IngressClass)), claim("hades", "c", 6), claim("illmatic", "b", 1)},
			want:    "Admitted hades [c] rivals [b=HeldByAnother a=IngressClass]",
		},
		{
			name:    "but nobody holds a host that was never accepted",
			current: refusedHolding("hades", "a"),
			claims:  []source.Claim{claim("hades", "a", 1, refusedFor(reason.IngressClass)), claim("illmatic", "b", 5)},
			want:    "Admitted illmatic [b] rivals [a=IngressClass]",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := admission.Input{Host: host, Claims: test.claims, Current: test.current, Unclaimed: time.Hour}
			if got := summary(admission.Decide(in, graced())); got != test.want {
				t.Errorf("decided:\n%s, want\n%s", got, test.want)
			}
		})
	}
}

func TestHandOver(t *testing.T) {
	rival := []source.Claim{claim("illmatic", "b", 5)}
	tests := []struct {
		name      string
		current   *admission.Holding
		claims    []source.Claim
		unclaimed time.Duration
		policy    admission.Policy
		want      string
	}{
		{
			name: "the claim is gone: the holder keeps the host for the grace", current: held("hades", "a"), claims: rival,
			want: "Admitted hades [a] rivals [b=HeldByAnother]; unclaimed by hades",
		},
		{
			name: "until its end", current: held("hades", "a"), claims: rival, unclaimed: grace - 1,
			want: "Admitted hades [a] rivals [b=HeldByAnother]; unclaimed by hades",
		},
		{
			name: "and then the rival gets it", current: held("hades", "a"), claims: rival, unclaimed: grace,
			want: "Admitted illmatic [b] rivals []",
		},
		{
			name: "the oldest of several", current: held("hades", "a"), unclaimed: grace,
			claims: []source.Claim{claim("illmatic", "young", 5), claim("illmatic", "old", 1, refusedFor(reason.TLSMissing)), claim("illmatic", "older", 2)},
			want:   "Admitted illmatic [older young] rivals [old=TLSMissing]",
		},
		{
			name: "without a grace at once", current: held("hades", "a"), claims: rival, policy: everywhere,
			want: "Admitted illmatic [b] rivals []",
		},
		{
			name: "a host that the holder was refused is not served meanwhile either", current: heldRefused("hades", "a"), claims: rival,
			want: "refused HeldByAnother hades [a] rivals [b=HeldByAnother]; unclaimed by hades",
		},
		{
			name: "nor one that its cluster may publish no longer", current: held("hades", "a"), claims: rival,
			policy: graced(func(c map[string]admission.Cluster) {
				c["hades"] = admission.Cluster{InSync: true, AllowedDomains: []string{"example.org"}}
			}),
			want: "refused AllowedDomains hades [a] rivals [b=HeldByAnother]; unclaimed by hades",
		},
		{
			name: "the MemberCluster is deleted: no grace", current: held("deleted", "a"), claims: rival,
			want: "Admitted illmatic [b] rivals []",
		},
		{
			name: "nobody else claims it: withdrawn at once", current: held("hades", "a"),
			want: "withdrawn; unclaimed by hades",
		},
		{
			name: "and forgotten after the grace", current: held("hades", "a"), unclaimed: grace,
			want: "withdrawn",
		},
		{
			name: "who claims a host that was withdrawn a moment ago waits too", claims: rival,
			current: &admission.Holding{Holder: "hades", Cluster: "hades"}, unclaimed: grace / 2,
			want: "refused HeldByAnother hades [] rivals [b=HeldByAnother]; unclaimed by hades",
		},
		{
			name: "a refused rival delays no withdrawal", current: held("hades", "a"), claims: []source.Claim{claim("illmatic", "b", 5, refusedFor(reason.TLSMissing))},
			want: "refused TLSMissing illmatic [b] rivals []; unclaimed by hades",
		},
		{
			name: "and holds nothing after the grace", current: held("hades", "a"), unclaimed: grace, claims: []source.Claim{claim("illmatic", "b", 5, refusedFor(reason.TLSMissing))},
			want: "refused TLSMissing illmatic [b] rivals []",
		},
		{
			name: "a holder that is away may have claimed it again: nobody gets it", current: held("hades", "a"), claims: rival, unclaimed: time.Hour, policy: graced(stale("hades")),
			want: "refused HeldByAnother hades [a] rivals [b=HeldByAnother]; unclaimed by hades",
		},
		{
			name: "without a grace neither", current: held("hades", "a"), claims: rival,
			policy: admission.Policy{Clusters: graced(stale("hades")).Clusters},
			want:   "refused HeldByAnother hades [a] rivals [b=HeldByAnother]; unclaimed by hades",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			policy := test.policy
			if policy.Clusters == nil {
				policy = graced()
			}
			in := admission.Input{Host: host, Claims: test.claims, Current: test.current, Unclaimed: test.unclaimed}
			if got := summary(admission.Decide(in, policy)); got != test.want {
				t.Errorf("decided:\n%s, want\n%s", got, test.want)
			}
		})
	}
}

// What is served in the grace is what was accepted last, and the message says when it
// ends, the same words for as long as it lasts.
func TestAnUnclaimedHostKeepsItsOptions(t *testing.T) {
	current := held("hades", "a")
	current.SourcesTotal = 40
	in := admission.Input{Host: host, Current: current, Claims: []source.Claim{claim("illmatic", "b", 5)}}
	d := admission.Decide(in, graced())
	if !d.Options.Equal(current.Options) || d.RecordedSources != 40 {
		t.Errorf("options are %+v of %d sources, want those that were recorded", d.Options, d.RecordedSources)
	}
	const want = "held by cluster hades, which no longer claims it; Ingress apps/b of cluster illmatic gets it unless cluster hades claims it again within the hand-over grace"
	if d.Message != want {
		t.Errorf("the message is %q, want %q", d.Message, want)
	}
	in.Unclaimed = grace - 1
	if again := admission.Decide(in, graced()); again.Message != want {
		t.Errorf("the message became %q", again.Message)
	}
}

// An object that is there still, and is annotated no more, was made private.
func TestAnUnclaimedHostOpensNothingPrivate(t *testing.T) {
	in := admission.Input{Host: host, Current: held("hades", "a"), Claims: []source.Claim{claim("illmatic", "b", 5)}}
	d := admission.Decide(in, graced())
	if bound := admission.Restrict(d, host, false, admission.Beside{}); !bound.Accepted {
		t.Errorf("it is not served, though nothing names it: %s", summary(bound))
	}
	bound := admission.Restrict(d, host, false, admission.Beside{Unannotated: []v1alpha1.SourceRef{ref("hades", "a")}})
	if got, want := summary(bound), "refused HeldByAnother hades [a] rivals [b=HeldByAnother]; unclaimed by hades"; got != want {
		t.Errorf("decided:\n%s, want\n%s", got, want)
	}
	// It stays so, in the same words, when the object is gone as well.
	in.Current = admission.Recorded(exposedHost(bound))
	if again := admission.Decide(in, graced()); summary(again) != summary(bound) || again.Message != bound.Message {
		t.Errorf("decided %q, and then %q", bound.Message, again.Message)
	}
	if !strings.Contains(bound.Message, "within the hand-over grace; it is not served until then") {
		t.Errorf("the message is %q", bound.Message)
	}
}

// Where what is beside it refuses a host that nobody holds, another cluster gets it;
// the holder is passed over by nobody.
func TestOnlyWhoHoldsNothingIsPassedOver(t *testing.T) {
	in := admission.Input{Host: host, Claims: []source.Claim{claim("hades", "a", 1), claim("illmatic", "b", 2)}}
	beside := admission.Beside{Unannotated: []v1alpha1.SourceRef{ref("hades", "silent")}}
	refused := admission.Restrict(admission.Decide(in, everywhere), host, true, beside)
	next, passed := in.PassOver(refused)
	if got, want := summary(admission.Decide(next, everywhere)), "Admitted illmatic [b] rivals [a=NotAllAnnotated]"; !passed || got != want {
		t.Errorf("passed over: %v; decided:\n%s, want\n%s", passed, got, want)
	}
	if in.Claims[0].Refusal != nil {
		t.Error("the claims were changed")
	}
	in.Current = held("hades", "a")
	refused = admission.Restrict(admission.Decide(in, everywhere), host, true, beside)
	if _, passed := in.PassOver(refused); passed {
		t.Error("the holder was passed over")
	}
	if got, want := summary(refused), "refused NotAllAnnotated hades [a] rivals [b=HeldByAnother]; held by hades"; got != want {
		t.Errorf("decided:\n%s, want\n%s", got, want)
	}
}

// A refused host lists the claims of the first cluster as its sources. They are rivals
// of a holder that no longer claims the host, and are not lost while their cluster is
// not in sync.
func TestRefusedRivalsAreRecorded(t *testing.T) {
	in := admission.Input{Host: host, Current: held("hades", "a"), Claims: []source.Claim{claim("illmatic", "b", 1, refusedFor(reason.TLSMissing))}}
	in.Current = admission.Recorded(exposedHost(admission.Decide(in, graced())))
	in.Claims = nil
	away := graced()
	away.Clusters["illmatic"] = admission.Cluster{}
	if got, want := summary(admission.Decide(in, away)), "refused ClusterNotReady illmatic [b] rivals []; unclaimed by hades"; got != want {
		t.Errorf("decided:\n%s, want\n%s", got, want)
	}
}

// exposedHost is how an object records a decision, its status as far as decisions
// read it.
func exposedHost(d admission.Decision) *v1alpha1.ExposedHost {
	eh := &v1alpha1.ExposedHost{Spec: admission.Spec(host, d)}
	eh.Status = status(d)
	return eh
}

func status(d admission.Decision) v1alpha1.ExposedHostStatus {
	accepted := metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionFalse, Reason: d.Reason, Message: d.Message}
	if d.Accepted {
		accepted.Status = metav1.ConditionTrue
	}
	return v1alpha1.ExposedHostStatus{
		Conditions: []metav1.Condition{accepted},
		Sources:    d.Sources, SourcesTotal: int32(max(len(d.Sources), d.RecordedSources)),
	}
}

func TestRecorded(t *testing.T) {
	accepted := admission.Decide(admission.Input{Host: host, Claims: []source.Claim{claim("hades", "a", 1)}}, everywhere)
	other := admission.Decide(admission.Input{Host: host, Claims: []source.Claim{claim("illmatic", "b", 1)}}, everywhere)
	vain := admission.Decide(admission.Input{Host: host, Claims: []source.Claim{claim("hades", "a", 1, refusedFor(reason.TLSMissing))}}, everywhere)
	refused := admission.Decide(admission.Input{Host: host, Current: held("hades", "a"), Claims: []source.Claim{claim("hades", "a", 1, refusedFor(reason.TLSMissing))}}, everywhere)
	left := admission.Decide(admission.Input{Host: host, Current: held("illmatic", "b"), Claims: []source.Claim{claim("hades", "a", 1, refusedFor(reason.TLSMissing))}}, graced())
	for _, test := range []struct {
		name   string
		object *v1alpha1.ExposedHost
		change func(*v1alpha1.ExposedHost)
		want   admission.Holding
	}{
		{"accepted", exposedHost(accepted), nil, admission.Holding{Holder: "hades", Cluster: "hades", Accepted: true, Reason: reason.Admitted}},
		{"refused, and held", exposedHost(refused), nil, admission.Holding{Holder: "hades", Cluster: "hades", Reason: reason.TLSMissing}},
		{"refused, and held by nobody", exposedHost(vain), nil, admission.Holding{Cluster: "hades", Reason: reason.TLSMissing}},
		{"left to a refused rival", exposedHost(left), nil, admission.Holding{Holder: "illmatic", Cluster: "illmatic"}},
		{"by an usher that knew no holder", exposedHost(accepted), func(eh *v1alpha1.ExposedHost) { eh.Spec.Holder = "" },
			admission.Holding{Holder: "hades", Cluster: "hades", Accepted: true, Reason: reason.Admitted}},
		{"restored without its status", exposedHost(refused), func(eh *v1alpha1.ExposedHost) { eh.Status = v1alpha1.ExposedHostStatus{} },
			admission.Holding{Holder: "hades", Cluster: "hades"}},
		{"handed over, as far as its spec was written", exposedHost(accepted), func(eh *v1alpha1.ExposedHost) { eh.Status = status(other) },
			admission.Holding{Holder: "hades", Cluster: "hades", Accepted: true, Reason: reason.Admitted}},
		{"refused, as far as its spec was written", exposedHost(refused), func(eh *v1alpha1.ExposedHost) { eh.Status = status(accepted) },
			admission.Holding{Holder: "hades", Cluster: "hades"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.change != nil {
				test.change(test.object)
			}
			got := admission.Recorded(test.object)
			is := admission.Holding{Holder: got.Holder, Cluster: got.Cluster, Accepted: got.Accepted, Reason: got.Reason}
			if !reflect.DeepEqual(is, test.want) {
				t.Errorf("it records %+v, want %+v", is, test.want)
			}
		})
	}
}
