package admission_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/utils/ptr"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/source"
)

func shared(c *source.Claim) { c.Options.Share = true }

func weighing(w int32) claimOption { return func(c *source.Claim) { c.Options.Weight = &w } }
func spread(s v1alpha1.Strategy) claimOption {
	return func(c *source.Claim) { c.Options.Strategy = s }
}
func plain(p v1alpha1.PlainHTTP) claimOption {
	return func(c *source.Claim) { c.Options.PlainHTTP = p }
}

// heldShared is an ExposedHost that a cluster holds and others share.
func heldShared(cluster, name string, sharers ...string) *admission.Holding {
	h := held(cluster, name)
	h.Options.Share, h.Options.PlainHTTP = true, v1alpha1.PlainHTTPRedirect
	for _, sharer := range sharers {
		h.Sharers = append(h.Sharers, admission.Sharer{Backend: admission.Backend{Cluster: sharer}, Sources: []v1alpha1.SourceRef{ref(sharer, "of-"+sharer)}})
	}
	return h
}

// left is heldShared after its holder stopped claiming it.
func left(h *admission.Holding) *admission.Holding {
	h.Left, h.Accepted, h.Reason, h.Message, h.Sources = true, false, "", "", nil
	return h
}

// backendsOf is the backends of a decision in a line.
func backendsOf(d admission.Decision) string {
	var all []string
	for _, b := range admission.Spec(host, d).Backends {
		name := b.Cluster
		if b.Gateway != "" {
			name += "@" + b.Gateway
		}
		if b.Weight != nil {
			name += fmt.Sprintf("=%d", *b.Weight)
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}

func TestSharing(t *testing.T) {
	two := func(options ...claimOption) []source.Claim {
		return []source.Claim{claim("hades", "a", 1, shared), claim("illmatic", "b", 2, append([]claimOption{shared}, options...)...)}
	}
	three := admission.Policy{HandoverGrace: grace, Clusters: map[string]admission.Cluster{"hades": {InSync: true}, "illmatic": {InSync: true}, "thanatos": {InSync: true}}}
	with := func(name string, c admission.Cluster) admission.Policy {
		p := three
		p.Clusters = maps.Clone(three.Clusters)
		p.Clusters[name] = c
		return p
	}
	without := func(name string) admission.Policy {
		p := with(name, admission.Cluster{})
		delete(p.Clusters, name)
		return p
	}
	for _, test := range []struct {
		name     string
		claims   []source.Claim
		current  *admission.Holding
		policy   admission.Policy
		expired  bool
		over     *admission.Over
		want     string
		backends string
		said     string
	}{
		{name: "all share", claims: two(), want: "Admitted hades [a b] rivals []", backends: "hades illmatic", said: "shared with cluster illmatic"},
		{name: "the other does not", claims: []source.Claim{claim("hades", "a", 1, shared), claim("illmatic", "b", 2)},
			want: "Admitted hades [a] rivals [b=NotShared]", backends: "hades", said: `cluster illmatic does not share the host: annotate every source`},
		{name: "one source of the other does not", claims: append(two(), claim("illmatic", "c", 3)), want: "Admitted hades [a] rivals [b=NotShared c=NotShared]", backends: "hades"},
		{name: "the holder does not", claims: []source.Claim{claim("hades", "a", 1), claim("illmatic", "b", 2, shared)},
			want: "Admitted hades [a] rivals [b=HeldByAnother]", backends: "hades", said: "cluster illmatic shares the host, and its holder does not"},
		{name: "one source of the holder does not", claims: append(two(), claim("hades", "c", 3)), want: "Admitted hades [a c] rivals [b=HeldByAnother]", backends: "hades"},
		{name: "a refused source of the other does not count", claims: append(two(), claim("illmatic", "c", 3, refusedFor(reason.IngressClass))),
			want: "Admitted hades [a b] rivals [c=IngressClass]", backends: "hades illmatic"},
		{name: "a malformed source of the other", claims: append(two(), claim("illmatic", "c", 3, refusedFor(reason.AnnotationInvalid))),
			want: "Admitted hades [a] rivals [b=OptionsUncertain c=AnnotationInvalid]", backends: "hades"},
		{name: "a malformed source of the holder", claims: append(two(), claim("hades", "c", 3, refusedFor(reason.AnnotationInvalid))), current: heldShared("hades", "a", "illmatic"),
			want: "refused OptionsUncertain hades [a c] rivals [b=HeldByAnother]; held by hades"},
		{name: "the holder is first, and not the oldest", claims: []source.Claim{claim("hades", "a", 3, shared), claim("illmatic", "b", 2, shared), claim("thanatos", "c", 1, shared)}, current: held("hades", "a"),
			want: "Admitted hades [a c b] rivals []", backends: "hades thanatos illmatic"},
		{name: "those that share it already keep their order", claims: []source.Claim{claim("hades", "a", 3, shared), claim("illmatic", "b", 2, shared), claim("thanatos", "c", 1, shared)}, current: heldShared("hades", "a", "illmatic"),
			want: "Admitted hades [a b c] rivals []", backends: "hades illmatic thanatos"},
		{name: "other ports", claims: two(onPorts("https", "mqtts")), want: "Admitted hades [a] rivals [b=ShareDiffers]", backends: "hades", said: "on port https, mqtts, and its holder on port https"},
		{name: "plain HTTP only", claims: two(onPorts()), want: "Admitted hades [a] rivals [b=ShareDiffers]", backends: "hades"},
		{name: "no client in common", claims: []source.Claim{claim("hades", "a", 1, shared, from("10.0.0.0/8")), claim("illmatic", "b", 2, shared, from("192.168.0.0/16")), claim("thanatos", "c", 3, shared, from("10.1.0.0/16"))},
			want: "Admitted hades [a c] rivals [b=AllowFromDisjoint]", backends: "hades thanatos"},
		{name: "Gateways and weights are those of each cluster", claims: append(two(toGateway("apps/front"), weighing(0)), claim("illmatic", "c", 3, shared, toGateway("apps/front"), weighing(50)), claim("hades", "d", 4, shared, weighing(7))),
			want: "Admitted hades [a d b c] rivals []", backends: "hades=7 illmatic@apps/front=0", said: "weight 50, but 0 applies"},
		{name: "the strategy of the holder", claims: append(two(spread(v1alpha1.StrategyRoundRobin)), claim("hades", "d", 4, shared, spread(v1alpha1.StrategyClientHash))),
			want: "Admitted hades [a d b] rivals []", backends: "hades illmatic", said: "strategy RoundRobin, but ClientHash applies"},
		{name: "outside its domains", claims: two(), policy: with("illmatic", admission.Cluster{InSync: true, AllowedDomains: []string{"example.org"}}),
			want: "Admitted hades [a] rivals [b=AllowedDomains]", backends: "hades"},
		{name: "under the holder's wildcard", claims: two(), over: overHeldBy("hades"), want: "Admitted hades [a] rivals [b=UnderWildcard]", backends: "hades"},
		{name: "under a wildcard that came later", claims: two(), over: overHeldBy("thanatos"), current: heldShared("hades", "a", "illmatic"), want: "Admitted hades [a b] rivals []", backends: "hades illmatic"},
		{name: "under a manual wildcard of the holder", claims: two(), over: overByHand("hades"), current: heldShared("hades", "a", "illmatic"), want: "Admitted hades [a] rivals [b=UnderWildcard]", backends: "hades"},

		{name: "a sharer away keeps its backend", claims: []source.Claim{claim("hades", "a", 1, shared)}, policy: with("illmatic", admission.Cluster{}), current: heldShared("hades", "a", "illmatic"),
			want: "Admitted hades [a of-illmatic] rivals []", backends: "hades illmatic"},
		{name: "a cluster away does not join", claims: two(), policy: with("illmatic", admission.Cluster{}), current: held("hades", "a"), want: "Admitted hades [a] rivals [b=ClusterNotReady]", backends: "hades"},
		{name: "a sharer away, whose domains changed", claims: []source.Claim{claim("hades", "a", 1, shared)}, policy: with("illmatic", admission.Cluster{AllowedDomains: []string{"example.org"}}), current: heldShared("hades", "a", "illmatic"),
			want: "Admitted hades [a] rivals [of-illmatic=AllowedDomains]", backends: "hades"},
		{name: "a sharer away, and the holder takes its consent back", claims: []source.Claim{claim("hades", "a", 1)}, policy: with("illmatic", admission.Cluster{}), current: heldShared("hades", "a", "illmatic"),
			want: "Admitted hades [a] rivals [of-illmatic=HeldByAnother]", backends: "hades"},
		{name: "the holder away lets others join and leave", claims: []source.Claim{claim("thanatos", "c", 1, shared)}, policy: with("hades", admission.Cluster{}), current: heldShared("hades", "a", "illmatic"),
			want: "Admitted hades [a c] rivals []", backends: "hades thanatos"},
		{name: "the holder away that did not share", claims: []source.Claim{claim("thanatos", "c", 1, shared)}, policy: with("hades", admission.Cluster{}), current: held("hades", "a"),
			want: "Admitted hades [a] rivals [c=HeldByAnother]", backends: "hades"},

		{name: "the holder claims it no more", claims: two()[1:], current: heldShared("hades", "a", "illmatic"), want: "Admitted illmatic [b] rivals []; unclaimed by hades", backends: "illmatic", said: "served by Ingress apps/b of cluster illmatic"},
		{name: "then nobody joins", claims: append(two()[1:], claim("thanatos", "c", 1, shared)), current: heldShared("hades", "a", "illmatic"), want: "Admitted illmatic [b] rivals [c=HeldByAnother]; unclaimed by hades", backends: "illmatic"},
		{name: "and claims it again", claims: two(), current: left(heldShared("hades", "", "illmatic")), want: "Admitted hades [a b] rivals []", backends: "hades illmatic"},
		{name: "and again without sharing it", claims: []source.Claim{claim("hades", "a", 9), claim("illmatic", "b", 2, shared)}, current: left(heldShared("hades", "", "illmatic")), want: "Admitted hades [a] rivals [b=HeldByAnother]", backends: "hades"},
		{name: "and is away after a restart", claims: two()[1:], policy: with("hades", admission.Cluster{}), expired: true, current: left(heldShared("hades", "", "illmatic")), want: "Admitted illmatic [b] rivals []", backends: "illmatic", said: "not in sync"},
		{name: "both are away then", policy: admission.Policy{HandoverGrace: grace, Clusters: map[string]admission.Cluster{"hades": {}, "illmatic": {}}}, current: left(heldShared("hades", "", "illmatic")), want: "Admitted illmatic [of-illmatic] rivals []", backends: "illmatic"},
		{name: "after the grace the first sharer holds it", claims: append(two()[1:], claim("thanatos", "c", 1)), expired: true, current: left(heldShared("hades", "", "illmatic")), want: "Admitted illmatic [b] rivals [c=NotShared]", backends: "illmatic"},
		{name: "a sharer that is refused does not get it", claims: []source.Claim{claim("illmatic", "b", 2, shared, refusedFor(reason.RuleInvalid)), claim("thanatos", "c", 3, shared)}, expired: true, current: left(heldShared("hades", "", "illmatic", "thanatos")),
			want: "Admitted thanatos [c] rivals [b=RuleInvalid]", backends: "thanatos"},
		{name: "nobody shares it any more", claims: []source.Claim{claim("illmatic", "b", 2)}, current: left(heldShared("hades", "", "illmatic")), want: "refused HeldByAnother hades [] rivals [b=HeldByAnother]; unclaimed by hades"},
		{name: "an unreachable holder does not lose it", claims: two()[1:], policy: with("hades", admission.Cluster{InSync: true, Stale: true}), expired: true, current: heldShared("hades", "a", "illmatic"), want: "Admitted illmatic [b] rivals []; unclaimed by hades", backends: "illmatic"},
		{name: "the MemberCluster of the holder is deleted", claims: append(two()[1:], claim("thanatos", "c", 1)), policy: without("hades"), current: heldShared("hades", "a", "illmatic"), want: "Admitted illmatic [b] rivals [c=NotShared]", backends: "illmatic"},
		{name: "that of a sharer", claims: two(), policy: without("illmatic"), current: heldShared("hades", "a", "illmatic"), want: "Admitted hades [a] rivals []", backends: "hades"},
	} {
		t.Run(test.name, func(t *testing.T) {
			policy := test.policy
			if policy.Clusters == nil {
				policy = three
			}
			in := admission.Input{Host: host, Claims: test.claims, Current: test.current, Over: test.over}
			if test.expired {
				in.Unclaimed = grace
			}
			d := admission.Decide(in, policy)
			got := summary(d)
			if d.Unclaimed && d.Accepted && !strings.Contains(got, "unclaimed") {
				got += "; unclaimed by " + d.Holder
			}
			if got != test.want || backendsOf(d) != test.backends || !strings.Contains(d.Message, test.said) {
				t.Errorf("decided\n%s, backends %s\n%s; want\n%s, backends %s\n%s", got, backendsOf(d), d.Message, test.want, test.backends, test.said)
			}
		})
	}
}

// A host has what all of its sources allow, in all clusters.
func TestSharersNarrowAHost(t *testing.T) {
	claims := []source.Claim{
		claim("hades", "a", 1, shared, from("10.0.0.0/8"), plain(v1alpha1.PlainHTTPForward)),
		claim("illmatic", "b", 2, shared, from("10.1.0.0/16"), plain(v1alpha1.PlainHTTPDeny)),
	}
	d := admission.Decide(admission.Input{Host: host, Claims: claims}, everywhere)
	if fmt.Sprint(d.Options.AllowFrom) != "[10.1.0.0/16]" || d.Options.PlainHTTP != v1alpha1.PlainHTTPDeny || len(d.Differences) != 1 {
		t.Errorf("the options are %+v, the differences %v", d.Options, d.Differences)
	}
}

// As many clusters share a host as the API can say, and no more.
func TestTooManyBackends(t *testing.T) {
	policy := admission.Policy{Clusters: map[string]admission.Cluster{}}
	var claims []source.Claim
	for i := range v1alpha1.MaxBackends + 2 {
		name := fmt.Sprintf("c%02d", i)
		policy.Clusters[name] = admission.Cluster{InSync: true}
		claims = append(claims, claim(name, "a"+name, 1+i, shared))
	}
	d := admission.Decide(admission.Input{Host: host, Claims: claims}, policy)
	if len(d.Backends) != v1alpha1.MaxBackends || len(d.Rivals) != 2 || d.Rivals[1].Reason != reason.TooManyBackends {
		t.Errorf("decided %s with %d backends", summary(d), len(d.Backends))
	}
}

// What the spec and the status record of a shared host is read back.
func TestASharedHostIsRecorded(t *testing.T) {
	d := admission.Decide(admission.Input{Host: host, Claims: []source.Claim{
		claim("hades", "a", 1, shared, weighing(3), spread(v1alpha1.StrategyRoundRobin)), claim("illmatic", "b", 2, shared, weighing(0), toGateway("apps/front")), claim("thanatos", "c", 3),
	}}, admission.Policy{Clusters: map[string]admission.Cluster{"hades": {InSync: true}, "illmatic": {InSync: true}, "thanatos": {InSync: true}}})
	h := admission.Recorded(exposedHost(d))
	if h.Holder != "hades" || !h.Accepted || !h.Options.Share || h.Options.Strategy != v1alpha1.StrategyRoundRobin || ptr.Deref(h.Options.Weight, -1) != 3 || h.Left ||
		len(h.Sources) != 1 || len(h.Sharers) != 1 || h.Sharers[0].Gateway != "apps/front" || ptr.Deref(h.Sharers[0].Weight, -1) != 0 || len(h.Sharers[0].Sources) != 1 {
		t.Errorf("recorded %+v", h)
	}
}

// Restrict applies to each cluster, and what a sharer lacks does not refuse the host.
func TestRestrictSharer(t *testing.T) {
	wildcard := admission.Decision{Accepted: true, Cluster: "hades", Backends: []admission.Backend{{Cluster: "hades"}, {Cluster: "illmatic"}}}
	d := admission.Restrict(wildcard, "*.techn.is", false, admission.Beside{Names: []string{"a", "vault"}, Private: []string{"vault"}})
	d = admission.RestrictSharer(d, "illmatic", "*.techn.is", false, admission.Beside{Names: []string{"a", "nas"}, Private: []string{"nas"}})
	if !d.Accepted || !slices.Equal(d.Except, []string{"a", "nas", "vault"}) || !strings.Contains(d.Message, "cluster illmatic: these names under it are refused") {
		t.Errorf("restricted to %+v", d)
	}
	private := admission.Beside{Unannotated: []v1alpha1.SourceRef{ref("illmatic", "private")}}
	if d := admission.RestrictSharer(wildcard, "illmatic", host, true, private); d.Accepted || d.Cluster != "illmatic" || d.Reason != reason.NotAllAnnotated {
		t.Errorf("restricted to %+v", d)
	}
	if d := admission.RestrictSharer(wildcard, "illmatic", host, false, private); !d.Accepted || !strings.Contains(d.Message, "cluster illmatic: these objects name the host without the annotation") {
		t.Errorf("restricted to %+v", d)
	}
}

func TestMoved(t *testing.T) {
	policy := admission.Policy{HandoverGrace: grace, Clusters: map[string]admission.Cluster{"hades": {InSync: true}, "illmatic": {InSync: true}, "lost": {}, "bound": {InSync: true, AllowedDomains: []string{"example.org"}}}}
	both := []source.Claim{claim("hades", "a", 1), claim("illmatic", "b", 2), claim("bound", "c", 3)}
	for _, test := range []struct {
		name, to string
		claims   []source.Claim
		current  *admission.Holding
		manual   bool
		refused  string
		want     string
		backends string
	}{
		{name: "to a rival", to: "illmatic", claims: both, current: held("hades", "a"), want: "Admitted illmatic [b] rivals [a=HeldByAnother c=AllowedDomains]", backends: "illmatic"},
		{name: "to a sharer", to: "illmatic", claims: []source.Claim{claim("hades", "a", 1, shared), claim("illmatic", "b", 2, shared)}, current: heldShared("hades", "a", "illmatic"), want: "Admitted illmatic [b a] rivals []", backends: "illmatic hades"},
		{name: "to where it is", to: "hades", claims: both, current: held("hades", "a"), want: "Admitted hades [a] rivals [b=HeldByAnother c=AllowedDomains]", backends: "hades"},
		{name: "to a refused claim", to: "bound", claims: both, current: held("hades", "a"), want: "refused AllowedDomains bound [c] rivals [a=HeldByAnother b=HeldByAnother]; held by bound"},
		{name: "to a cluster without a claim", to: "illmatic", claims: both[:1], current: held("hades", "a"), refused: "cluster illmatic makes no claim on the host"},
		{name: "to a cluster that is away", to: "lost", claims: both, current: held("hades", "a"), refused: "cluster lost is not in sync"},
		{name: "to no cluster", to: "nowhere", claims: both, current: held("hades", "a"), refused: `there is no MemberCluster "nowhere"`},
		{name: "a manual host", to: "illmatic", claims: both, manual: true, refused: "written manually"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, refused := admission.Input{Host: host, Claims: test.claims, Current: test.current, Manual: test.manual}.Moved(test.to, policy)
			if refused != nil || test.refused != "" {
				if refused == nil || !strings.Contains(refused.Message, test.refused) {
					t.Errorf("refused for %+v, want %s", refused, test.refused)
				}
				return
			}
			if d := admission.Decide(in, policy); summary(d) != test.want || backendsOf(d) != test.backends {
				t.Errorf("decided\n%s, backends %s; want\n%s, backends %s", summary(d), backendsOf(d), test.want, test.backends)
			}
		})
	}
}
