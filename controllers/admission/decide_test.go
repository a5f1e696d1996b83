package admission_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/source"
)

const host = "app.techn.is"

// everywhere is the policy of most tests: two clusters that may publish all, and
// one that cannot be reached.
var everywhere = admission.Policy{Clusters: map[string]admission.Cluster{
	"hades":    {InSync: true},
	"illmatic": {InSync: true},
	"lost":     {InSync: false},
}}

// claimOption changes a claim.
type claimOption func(*source.Claim)

// claim is "cluster/name": a sound claim of an Ingress, as old as day says.
func claim(cluster, name string, day int, options ...claimOption) source.Claim {
	c := source.Claim{
		Source:  ref(cluster, name),
		Created: time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC),
		Host:    host,
		Options: source.Options{PlainHTTP: v1alpha1.PlainHTTPRedirect},
	}
	for _, option := range options {
		option(&c)
	}
	return c
}

func ref(cluster, name string) v1alpha1.SourceRef {
	return v1alpha1.SourceRef{Cluster: cluster, Kind: source.KindIngress, Namespace: "apps", Name: name}
}

func toGateway(name string) claimOption {
	return func(c *source.Claim) { c.Options.Gateway = name }
}

func onHost(name string) claimOption { return func(c *source.Claim) { c.Host = name } }
func ofKind(kind string) claimOption { return func(c *source.Claim) { c.Source.Kind = kind } }

func from(cidrs ...string) claimOption {
	return func(c *source.Claim) { c.Options.AllowFrom = cidrs }
}

func refusedFor(why string) claimOption {
	return func(c *source.Claim) {
		c.Refusal = &source.Refusal{Reason: why, Message: "because of " + c.Source.Name}
		if why == reason.AnnotationInvalid {
			c.Options = source.Options{}
		}
	}
}

// held is an ExposedHost as a cluster holds it.
func held(cluster, name string) *admission.Holding {
	return &admission.Holding{
		Accepted: true, Reason: reason.Admitted, Message: "held",
		Holder: cluster, Cluster: cluster, Sources: []v1alpha1.SourceRef{ref(cluster, name)},
		Options: source.Options{PlainHTTP: v1alpha1.PlainHTTPDeny},
	}
}

// heldRefused is an ExposedHost that a cluster holds, refused for a source's own reason.
func heldRefused(cluster, name string) *admission.Holding {
	h := held(cluster, name)
	h.Accepted, h.Reason, h.Message = false, reason.IngressClass, "class nginx"
	return h
}

// refusedHolding is an ExposedHost that was never accepted.
func refusedHolding(cluster, name string) *admission.Holding {
	h := heldRefused(cluster, name)
	h.Holder = ""
	return h
}

// withRivals adds claims of a cluster to those that an ExposedHost records.
func withRivals(h *admission.Holding, cluster string, names ...string) *admission.Holding {
	for _, name := range names {
		h.Rivals = append(h.Rivals, v1alpha1.Rival{SourceRef: ref(cluster, name), Reason: reason.HeldByAnother})
	}
	return h
}

// summary is a decision in a line: reason, cluster and sources, then the rivals, and
// who holds the host.
func summary(d admission.Decision) string {
	var held string
	if d.Unclaimed {
		held = "; unclaimed by " + d.Holder
	} else if !d.Accepted && d.Holder != "" {
		held = "; held by " + d.Holder
	}
	if d.Withdraw {
		return "withdrawn" + held
	}
	head := d.Reason + " " + d.Cluster
	if !d.Accepted {
		head = "refused " + head
	}
	var sources, rivals []string
	for _, s := range d.Sources {
		sources = append(sources, s.Name)
	}
	for _, r := range d.Rivals {
		rivals = append(rivals, r.Name+"="+r.Reason)
	}
	return strings.TrimSpace(head+" ["+strings.Join(sources, " ")+"]") + " rivals [" + strings.Join(rivals, " ") + "]" + held
}

func TestDecide(t *testing.T) {
	tests := []struct {
		name    string
		claims  []source.Claim
		current *admission.Holding
		manual  bool
		policy  admission.Policy
		want    string
	}{
		{
			name:   "one claim holds the host",
			claims: []source.Claim{claim("hades", "a", 1)},
			want:   "Admitted hades [a] rivals []",
		},
		{
			name: "no claim, no host",
			want: "withdrawn",
		},
		{
			name:   "the oldest source wins between clusters",
			claims: []source.Claim{claim("hades", "young", 2), claim("illmatic", "old", 1)},
			want:   "Admitted illmatic [old] rivals [young=HeldByAnother]",
		},
		{
			name:   "of the same age, the cluster's name decides",
			claims: []source.Claim{claim("illmatic", "b", 1), claim("hades", "a", 1)},
			want:   "Admitted hades [a] rivals [b=HeldByAnother]",
		},
		{
			name:   "several sources of one cluster are all its sources, the oldest first",
			claims: []source.Claim{claim("hades", "web", 3), claim("hades", "api", 2), claim("illmatic", "b", 4)},
			want:   "Admitted hades [api web] rivals [b=HeldByAnother]",
		},
		{
			name:   "of the same age and cluster, kind and name order them",
			claims: []source.Claim{claim("hades", "a", 1, ofKind(source.KindIngressRoute)), claim("hades", "z", 1), claim("hades", "b", 1)},
			want:   "Admitted hades [b z a] rivals []",
		},
		{
			name:   "a young source of the winner's cluster shares, though a rival is older",
			claims: []source.Claim{claim("hades", "first", 1), claim("illmatic", "second", 2), claim("hades", "third", 3)},
			want:   "Admitted hades [first third] rivals [second=HeldByAnother]",
		},
		{
			name:   "a refused claim does not win, however old",
			claims: []source.Claim{claim("hades", "old", 1, refusedFor(reason.IngressClass)), claim("illmatic", "young", 2)},
			want:   "Admitted illmatic [young] rivals [old=IngressClass]",
		},
		{
			name:   "nor does it keep a sound one of its own cluster from the host",
			claims: []source.Claim{claim("hades", "old", 1, refusedFor(reason.IngressClass)), claim("hades", "young", 2)},
			want:   "Admitted hades [young] rivals [old=IngressClass]",
		},
		{
			name:   "only refused claims: refused for the first one's reason",
			claims: []source.Claim{claim("illmatic", "b", 2, refusedFor(reason.HostNotCovered)), claim("hades", "a", 1, refusedFor(reason.IngressClass)), claim("hades", "c", 3, refusedFor(reason.TLSMissing))},
			want:   "refused IngressClass hades [a c] rivals [b=HostNotCovered]",
		},
		{
			name:   "malformed annotations of an older source: not even a sound one is admitted",
			claims: []source.Claim{claim("hades", "old", 1, refusedFor(reason.AnnotationInvalid)), claim("hades", "young", 2)},
			want:   "refused AnnotationInvalid hades [old young] rivals []",
		},
		{
			name:   "malformed annotations of a younger source: it may have meant to keep clients out",
			claims: []source.Claim{claim("hades", "old", 1), claim("hades", "young", 2, refusedFor(reason.AnnotationInvalid))},
			want:   "refused OptionsUncertain hades [old young] rivals []",
		},
		{
			name:   "sources that agree on no client: refused",
			claims: []source.Claim{claim("hades", "a", 1, from("10.0.0.0/8")), claim("hades", "b", 2, from("192.168.0.0/16")), claim("illmatic", "c", 3, refusedFor(reason.TLSMissing))},
			want:   "refused AllowFromDisjoint hades [a b] rivals [c=TLSMissing]",
		},
		{
			name: "sources with more lists of networks than can be combined: refused",
			claims: []source.Claim{claim("hades", "a", 1, from("@a")), claim("hades", "b", 2, from("@b")), claim("hades", "c", 3, from("@c")),
				claim("hades", "d", 4, from("@d")), claim("hades", "e", 5, from("@e"))},
			want: "refused AllowFromDisjoint hades [a b c d e] rivals []",
		},
		{
			name:   "sources of another cluster do not narrow it",
			claims: []source.Claim{claim("hades", "a", 1, from("10.0.0.0/8")), claim("illmatic", "b", 2, from("192.168.0.0/16"))},
			want:   "Admitted hades [a] rivals [b=HeldByAnother]",
		},
		{
			name:   "malformed annotations in one cluster do not bother another",
			claims: []source.Claim{claim("hades", "old", 1, refusedFor(reason.AnnotationInvalid)), claim("hades", "young", 2), claim("illmatic", "other", 3)},
			want:   "Admitted illmatic [other] rivals [old=AnnotationInvalid young=OptionsUncertain]",
		},

		{
			name:   "a person's ExposedHost wins over every claim",
			claims: []source.Claim{claim("hades", "a", 1), claim("illmatic", "b", 2, refusedFor(reason.IngressClass))},
			manual: true,
			want:   "Manual  [] rivals [a=HeldByManual b=IngressClass]",
		},
		{
			name:   "and stays without any claim",
			manual: true,
			want:   "Manual  [] rivals []",
		},

		{
			name:   "a claim outside the cluster's domains is refused",
			claims: []source.Claim{claim("hades", "a", 1)},
			policy: only("hades", "example.org", "other.org"),
			want:   "refused AllowedDomains hades [a] rivals []",
		},
		{
			name:   "and loses to one that is inside its own",
			claims: []source.Claim{claim("hades", "a", 1), claim("illmatic", "b", 2)},
			policy: only("hades", "example.org"),
			want:   "Admitted illmatic [b] rivals [a=AllowedDomains]",
		},

		{
			name:    "the holder's claim is gone and its cluster in sync: withdrawn",
			current: held("hades", "a"),
			want:    "withdrawn",
		},
		{
			name:    "the holder's cluster is not in sync: it keeps the host",
			current: held("lost", "a"),
			want:    "Admitted lost [a] rivals []",
		},
		{
			name:    "nobody takes it from a cluster that is not in sync",
			current: held("lost", "a"),
			claims:  []source.Claim{claim("hades", "old", 1)},
			want:    "Admitted lost [a] rivals [old=HeldByAnother]",
		},
		{
			name:    "what a cluster's cache still says counts no more than what it holds",
			current: held("lost", "a"),
			claims:  []source.Claim{claim("lost", "a", 1), claim("lost", "new", 1)},
			want:    "Admitted lost [a] rivals []",
		},
		{
			name:    "the holder's MemberCluster is deleted: withdrawn",
			current: held("deleted", "a"),
			claims:  []source.Claim{claim("deleted", "a", 1)},
			want:    "withdrawn",
		},
		{
			name:    "the holder's MemberCluster is deleted: handed over at once",
			current: held("deleted", "a"),
			claims:  []source.Claim{claim("hades", "b", 5)},
			want:    "Admitted hades [b] rivals []",
		},
		{
			name:    "a domain that is taken away is known also of a cluster that is not in sync",
			current: held("lost", "a"),
			claims:  []source.Claim{claim("hades", "b", 5)},
			policy:  only("lost", "example.org"),
			want:    "refused AllowedDomains lost [a] rivals [b=HeldByAnother]; held by lost",
		},
		{
			name:    "a refused host of a cluster that is not in sync stays refused",
			current: refusedHolding("lost", "a"),
			want:    "refused IngressClass lost [a] rivals []",
		},
		{
			name:    "and gives way to a sound claim, as nobody holds it",
			current: refusedHolding("lost", "a"),
			claims:  []source.Claim{claim("hades", "b", 5)},
			want:    "Admitted hades [b] rivals [a=IngressClass]",
		},
		{
			name:    "an object whose status was never written is not withdrawn either",
			current: &admission.Holding{Holder: "lost", Cluster: "lost"},
			claims:  []source.Claim{claim("hades", "b", 5)},
			want:    "refused ClusterNotReady lost [] rivals [b=HeldByAnother]; held by lost",
		},
		{
			name:    "the holder's claim is gone, and that of a cluster not in sync is not known to be: refused, so that no wildcard serves the host",
			current: withRivals(held("hades", "a"), "lost", "b"),
			want:    "refused ClusterNotReady lost [b] rivals []",
		},
		{
			name:    "that cluster's MemberCluster is deleted: nothing is left",
			current: withRivals(held("hades", "a"), "deleted", "b"),
			want:    "withdrawn",
		},
		{
			name:    "a rival that is known to be gone leaves nothing either",
			current: withRivals(held("hades", "a"), "illmatic", "b"),
			want:    "withdrawn",
		},
		{
			name:   "a claim of a cluster that is not in sync gains nothing new",
			claims: []source.Claim{claim("lost", "a", 1), claim("hades", "b", 2)},
			want:   "Admitted hades [b] rivals [a=ClusterNotReady]",
		},
		{
			name:   "a source that leads the host to another Gateway than the oldest one is refused",
			claims: []source.Claim{claim("hades", "young", 2), claim("hades", "old", 1, toGateway("a/b")), claim("hades", "too", 3, toGateway("a/b")), claim("illmatic", "other", 4)},
			want:   "Admitted hades [old too] rivals [young=GatewayElsewhere other=HeldByAnother]",
		},
		{
			name:   "a refused source does not say where the host is led to",
			claims: []source.Claim{claim("hades", "young", 2), claim("hades", "old", 1, toGateway("a/b"), refusedFor(reason.IngressClass))},
			want:   "Admitted hades [young] rivals [old=IngressClass]",
		},
		{
			name:   "not even where it is alone",
			claims: []source.Claim{claim("lost", "a", 1)},
			want:   "refused ClusterNotReady lost [a] rivals []",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			policy := test.policy
			if policy.Clusters == nil {
				policy = everywhere
			}
			in := admission.Input{Host: host, Claims: test.claims, Manual: test.manual, Current: test.current}
			if got := summary(admission.Decide(in, policy)); got != test.want {
				t.Errorf("decided:\n%s, want\n%s", got, test.want)
			}
		})
	}
}

// only is everywhere, but for the domains of one cluster.
func only(cluster string, domains ...string) admission.Policy {
	p := admission.Policy{Clusters: map[string]admission.Cluster{}}
	for name, c := range everywhere.Clusters {
		if name == cluster {
			c.AllowedDomains = domains
		}
		p.Clusters[name] = c
	}
	return p
}

func TestAllowedDomains(t *testing.T) {
	tests := []struct {
		host, domain string
		inside       bool
	}{
		{"techn.is", "techn.is", true},
		{"a.techn.is", "techn.is", true},
		{"a.b.techn.is", "techn.is", true},
		{"*.techn.is", "techn.is", true},
		{"*.a.techn.is", "techn.is", true},
		{"xtechn.is", "techn.is", false},
		{"techn.is.example.org", "techn.is", false},
		{"is", "techn.is", false},
		{"*.is", "techn.is", false},
		{"techn.is", "a.techn.is", false},
		{"*.techn.is", "a.techn.is", false},
	}
	for _, test := range tests {
		t.Run(test.host+" in "+test.domain, func(t *testing.T) {
			in := admission.Input{Host: test.host, Claims: []source.Claim{claim("hades", "a", 1, onHost(test.host))}}
			d := admission.Decide(in, only("hades", test.domain))
			if d.Accepted != test.inside {
				t.Errorf("accepted: %v (%s), want %v", d.Accepted, d.Message, test.inside)
			}
		})
	}
}

func TestWhatAllSourcesAllowCounts(t *testing.T) {
	mode := func(m v1alpha1.PlainHTTP) claimOption { return func(c *source.Claim) { c.Options.PlainHTTP = m } }
	tests := []struct {
		name   string
		claims []source.Claim
		want   source.Options
	}{
		{
			"an older source for everyone does not open a younger one's",
			[]source.Claim{claim("hades", "old", 1), claim("hades", "young", 2, from("10.0.0.0/8"))},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPRedirect, AllowFrom: []string{"10.0.0.0/8"}},
		},
		{
			"nor a younger one an older one's",
			[]source.Claim{claim("hades", "old", 1, from("10.0.0.0/8")), claim("hades", "young", 2)},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPRedirect, AllowFrom: []string{"10.0.0.0/8"}},
		},
		{
			"the narrower of two ranges, and what three have in common",
			[]source.Claim{
				claim("hades", "a", 1, from("10.0.0.0/8", "192.168.0.0/16", "2001:db8::/32")),
				claim("hades", "b", 2, from("10.1.0.0/16", "192.168.0.0/16", "2001:db8:1::/48")),
				claim("hades", "c", 3, from("0.0.0.0/0", "2001:db8:1:2::/64")),
			},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPRedirect, AllowFrom: []string{"10.1.0.0/16", "192.168.0.0/16", "2001:db8:1:2::/64"}},
		},
		{
			"a list of networks by name, and everyone",
			[]source.Claim{claim("hades", "old", 1), claim("hades", "young", 2, from("@family"))},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPRedirect, AllowFrom: []string{"@family"}},
		},
		{
			"what different lists of networks have in common is not known, and is kept by name",
			[]source.Claim{claim("hades", "a", 1, from("@family")), claim("hades", "b", 2, from("10.0.0.0/8", "@vpn"))},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPRedirect, AllowFrom: []string{"@family&10.0.0.0/8", "@family&@vpn"}},
		},
		{
			"the same lists of networks",
			[]source.Claim{claim("hades", "a", 1, from("10.0.0.0/8", "@family")), claim("hades", "b", 2, from("10.0.0.0/8", "@family"))},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPRedirect, AllowFrom: []string{"10.0.0.0/8", "@family"}},
		},
		{
			"the strictest mode of plain HTTP",
			[]source.Claim{claim("hades", "a", 1, mode(v1alpha1.PlainHTTPForward)), claim("hades", "b", 2, mode(v1alpha1.PlainHTTPDeny)), claim("hades", "c", 3)},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPDeny},
		},
		{
			"a source that is refused for its class has no say",
			[]source.Claim{claim("hades", "a", 1), claim("hades", "b", 2, from("10.0.0.0/8"), refusedFor(reason.IngressClass))},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPRedirect},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := admission.Decide(admission.Input{Host: host, Claims: test.claims}, everywhere)
			if !d.Accepted || !d.Options.Equal(test.want) {
				t.Errorf("accepted: %v, options %+v, want %+v", d.Accepted, d.Options, test.want)
			}
		})
	}
}

// A host is led to the Gateway of its sources, also while its cluster is not in sync.
func TestGatewayIsRecorded(t *testing.T) {
	claims := []source.Claim{claim("hades", "a", 1, toGateway("apps/front"))}
	spec := admission.Spec(host, admission.Decide(admission.Input{Host: host, Claims: claims}, everywhere))
	want := []v1alpha1.HostBackend{{Cluster: "hades", Gateway: "apps/front"}}
	if !reflect.DeepEqual(spec.Backends, want) {
		t.Fatalf("backends are %+v", spec.Backends)
	}
	eh := &v1alpha1.ExposedHost{Spec: spec, Status: v1alpha1.ExposedHostStatus{Sources: []v1alpha1.SourceRef{ref("hades", "a")}}}
	meta.SetStatusCondition(&eh.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: reason.Admitted})
	away := admission.Policy{Clusters: map[string]admission.Cluster{"hades": {}}}
	spec = admission.Spec(host, admission.Decide(admission.Input{Host: host, Current: admission.Recorded(eh)}, away))
	if !reflect.DeepEqual(spec.Backends, want) {
		t.Errorf("while the cluster is not in sync, backends are %+v", spec.Backends)
	}
}

// onPorts makes a claim request these ports; one without https says nothing of plain HTTP.
func onPorts(names ...string) claimOption {
	return func(c *source.Claim) {
		if c.Options = c.Options.WithTLSPorts(names); !slices.Contains(names, "https") {
			c.Options.PlainHTTP = ""
		}
	}
}

// The host is served on the ports of all its sources; everything else is what all allow.
func TestPortsOfAllSourcesCount(t *testing.T) {
	plain := func(m v1alpha1.PlainHTTP) claimOption { return func(c *source.Claim) { c.Options.PlainHTTP = m } }
	tests := []struct {
		name   string
		claims []source.Claim
		want   source.Options
		tls    v1alpha1.TLSMode
	}{
		{
			"https and a port of another source",
			[]source.Claim{claim("hades", "web", 1), claim("hades", "broker", 2, ofKind(source.KindIngressRouteTCP), onPorts("mqtts"))},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPRedirect, Ports: []string{"https", "mqtts"}}, "",
		},
		{
			"the other one is older",
			[]source.Claim{claim("hades", "web", 3), claim("hades", "broker", 2, onPorts("mqtts"))},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPRedirect, Ports: []string{"https", "mqtts"}}, "",
		},
		{
			"a narrow source narrows the clients of every port",
			[]source.Claim{claim("hades", "web", 1), claim("hades", "broker", 2, onPorts("mqtts"), from("10.0.0.0/8"))},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPRedirect, AllowFrom: []string{"10.0.0.0/8"}, Ports: []string{"https", "mqtts"}}, "",
		},
		{
			"a port alone has no plain HTTP",
			[]source.Claim{claim("hades", "broker", 1, onPorts("mqtts"))},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPDeny, Ports: []string{"mqtts"}}, "",
		},
		{
			"unless its source says so",
			[]source.Claim{claim("hades", "broker", 1, onPorts("mqtts"), plain(v1alpha1.PlainHTTPForward))},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPForward, Ports: []string{"mqtts"}}, "",
		},
		{
			"a port and a source on plain HTTP only",
			[]source.Claim{claim("hades", "web", 1, onPorts(), plain(v1alpha1.PlainHTTPForward)), claim("hades", "broker", 2, onPorts("mqtts"))},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPForward, Ports: []string{"mqtts"}}, "",
		},
		{
			"plain HTTP only",
			[]source.Claim{claim("hades", "web", 1, onPorts(), plain(v1alpha1.PlainHTTPForward))},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPForward, PlainOnly: true}, v1alpha1.TLSDeny,
		},
		{
			"a rival's ports do not count",
			[]source.Claim{claim("hades", "web", 1), claim("illmatic", "broker", 2, onPorts("mqtts"))},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPRedirect}, "",
		},
		{
			"nor those of a refused source",
			[]source.Claim{claim("hades", "web", 1), claim("hades", "broker", 2, onPorts("mqtts"), refusedFor(reason.NotIsolated))},
			source.Options{PlainHTTP: v1alpha1.PlainHTTPRedirect}, "",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := admission.Decide(admission.Input{Host: host, Claims: test.claims}, everywhere)
			if !d.Accepted || !reflect.DeepEqual(d.Options, test.want) {
				t.Errorf("accepted: %v, options %+v, want %+v", d.Accepted, d.Options, test.want)
			}
			if narrows := len(test.want.AllowFrom) > 0; narrows != (len(d.Differences) > 0) {
				t.Errorf("differences are %+v", d.Differences)
			}
			spec := admission.Spec(host, d)
			if spec.TLS != test.tls || !slices.Equal(spec.Ports, test.want.Ports) || spec.PlainHTTP != test.want.PlainHTTP {
				t.Errorf("the spec is %+v", spec)
			}
			if again := admission.Recorded(&v1alpha1.ExposedHost{Spec: spec}).Options; !reflect.DeepEqual(again, test.want) {
				t.Errorf("recorded as %+v", again)
			}
		})
	}
}

// A host keeps its good ports, and its message names the bad one.
func TestRefusedPortsAreInTheMessage(t *testing.T) {
	bad := func(c *source.Claim) {
		c.RefusedPorts = &source.RefusedPorts{Names: []string{"mqtts", "smtps"}, First: source.Refusal{Reason: reason.PortUnknown, Message: "cluster hades has no port mqtts"}}
	}
	d := admission.Decide(admission.Input{Host: host, Claims: []source.Claim{claim("hades", "web", 1, bad), claim("hades", "admin", 2, bad)}}, everywhere)
	if !d.Accepted || len(d.Options.Ports) > 0 || !strings.HasSuffix(d.Message, "; port mqtts is refused: cluster hades has no port mqtts; refused are also smtps; 1 more sources have refused ports") {
		t.Errorf("the decision is %+v", d)
	}
	rival := claim("illmatic", "web", 2, bad)
	if d := admission.Decide(admission.Input{Host: host, Claims: []source.Claim{claim("hades", "web", 1), rival}}, everywhere); len(d.RefusedPorts) > 0 {
		t.Errorf("a rival's ports are in the decision: %+v", d)
	}
}

func TestTheMessageSaysWhoNarrowsWhom(t *testing.T) {
	claims := []source.Claim{
		claim("hades", "new", 3, from("10.0.0.0/8")),
		claim("hades", "old", 1),
		claim("illmatic", "rival", 4, from("172.16.0.0/12")),
	}
	d := admission.Decide(admission.Input{Host: host, Claims: claims}, everywhere)
	want := []admission.Difference{{
		Source:  ref("hades", "old"),
		Message: "Ingress apps/old of cluster hades requests allow-from everyone, but allow-from 10.0.0.0/8 applies, because Ingress apps/new of cluster hades is stricter; a host allows what all its sources allow",
	}}
	if !reflect.DeepEqual(d.Differences, want) {
		t.Errorf("differences are %+v, want %+v", d.Differences, want)
	}
	if !strings.Contains(d.Message, want[0].Message) {
		t.Errorf("the message is %q, and does not say who narrows whom", d.Message)
	}
}

func TestAHeldHostKeepsItsRecordedOptions(t *testing.T) {
	d := admission.Decide(admission.Input{Host: host, Current: held("lost", "a")}, everywhere)
	if d.Options.PlainHTTP != v1alpha1.PlainHTTPDeny {
		t.Errorf("options are %+v, want those that were recorded", d.Options)
	}
	if !strings.Contains(d.Message, "not in sync") {
		t.Errorf("the message %q does not say that the cluster is not in sync", d.Message)
	}
}

// A status lists the first sources alone: how many there were is not forgotten
// while their cluster is away.
func TestRecordedSourcesAreCounted(t *testing.T) {
	current := held("lost", "a")
	current.SourcesTotal = 40
	if d := admission.Decide(admission.Input{Host: host, Current: current}, everywhere); d.RecordedSources != 40 {
		t.Errorf("%d sources are recorded, want 40", d.RecordedSources)
	}
	current = held("hades", "a")
	current.SourcesTotal = 40
	in := admission.Input{Host: host, Current: current, Claims: []source.Claim{claim("hades", "a", 1)}}
	if d := admission.Decide(in, everywhere); d.RecordedSources != 0 {
		t.Errorf("%d sources are recorded of a cluster that is in sync", d.RecordedSources)
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	tests := []struct {
		name   string
		claims []source.Claim
		policy admission.Policy
		want   string
	}{
		{
			"a domain", []source.Claim{claim("hades", "a", 1)}, only("hades", "example.org", "other.org"),
			"cluster hades may publish only under example.org, other.org; add a domain to its MemberCluster's spec.allowedDomains, or choose another host",
		},
		{
			"a cluster", []source.Claim{claim("lost", "a", 1)}, everywhere,
			"cluster lost is not in sync, so its claims are unknown; see the conditions of its MemberCluster",
		},
		{
			"the source's own", []source.Claim{claim("hades", "a", 1, refusedFor(reason.RuleInvalid))}, everywhere,
			"because of a",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := admission.Decide(admission.Input{Host: host, Claims: test.claims}, test.policy)
			if d.Accepted || d.Message != test.want {
				t.Errorf("accepted: %v, message %q, want %q", d.Accepted, d.Message, test.want)
			}
		})
	}
}
