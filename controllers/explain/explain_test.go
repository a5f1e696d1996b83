package explain_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/explain"
	"github.com/jovalle/usher/controllers/message"
)

const host = "vault.techn.is"

func is(kind string, status metav1.ConditionStatus, why, said string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: why, Message: said}
}

// member returns a member that is in sync.
func member(more ...metav1.Condition) explain.Member {
	at := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	return explain.Member{Name: "hades", Read: true, SyncedAt: &at, Service: "kube-system/traefik",
		Conditions: append([]metav1.Condition{is("Connected", "True", "Connected", ""), is("Synced", "True", "Synced", "")}, more...)}
}

func ref(name string) v1alpha1.SourceRef {
	return v1alpha1.SourceRef{Cluster: "hades", Kind: "Ingress", Namespace: "default", Name: name}
}

func object(names string, annotated bool) explain.Object {
	o := explain.Object{SourceRef: ref("web"), Group: "networking.k8s.io", Names: names, Rule: "spec.rules[0].host: " + names, Publishes: annotated}
	if annotated {
		o.Expose = "true"
	}
	return o
}

func exposedHost(of string, change func(*v1alpha1.ExposedHost), conditions ...metav1.Condition) *v1alpha1.ExposedHost {
	eh := &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.NameOfHost(of), Labels: map[string]string{v1alpha1.LabelManaged: "true"}}}
	eh.Spec.Host, eh.Spec.Holder, eh.Spec.Backends = of, "hades", []v1alpha1.HostBackend{{Cluster: "hades"}}
	eh.Status.Conditions, eh.Status.Sources = conditions, []v1alpha1.SourceRef{ref("web")}
	if change != nil {
		change(eh)
	}
	return eh
}

func accepted(of string) *v1alpha1.ExposedHost {
	return exposedHost(of, nil, is("Accepted", "True", "Admitted", "held by Ingress"), is("Ready", "True", "Ready", "usher forwards"))
}

func refused(why, said string) *v1alpha1.ExposedHost {
	return exposedHost(host, nil, is("Accepted", "False", why, said), is("Ready", "False", why, said))
}

func claim(checks ...explain.Check) []explain.Claim {
	return []explain.Claim{{SourceRef: ref("web"), Host: host, Checks: checks}}
}

func serving(of string, errs ...string) *explain.Proxy {
	p := &explain.Proxy{Process: "usher-1", Route: &explain.Route{Host: of, Ports: []string{"https"}, Everyone: true, Backends: 1, By: "Ingress default/web of hades"}}
	for _, err := range errs {
		p.Dials = append(p.Dials, explain.Dial{Cluster: "hades", Address: "192.0.2.10:443", Error: err})
	}
	return p
}

// A case is what is known of a host, and what the explanation says.
type test struct {
	facts   []explain.Facts
	verdict explain.Verdict
	why     string // the reason
	says    string // a part of the summary
	command string
	marks   string // the first letters of the marks of the steps
}

func both(c *explain.Control, p *explain.Proxy) []explain.Facts {
	c.Leads = true
	if c.Members == nil {
		c.Members = []explain.Member{member()}
	}
	return []explain.Facts{{Control: c, Proxy: p}}
}

func TestExplanations(t *testing.T) {
	nothing := &explain.Proxy{Process: "usher-1"}
	away := explain.Member{Name: "illmatic", Conditions: []metav1.Condition{is("Connected", "False", reason.Unreachable, "the API server does not answer")}}
	annotate := "kubectl --context hades -n default annotate ingress web usher.techn.is/expose=true"
	for name, test := range map[string]test{
		"exposed": {
			both(&explain.Control{Objects: []explain.Object{object(host, true)}, Claims: claim(explain.Check{Asks: "x"}), ExposedHost: accepted(host)}, serving(host, "")),
			explain.Exposed, "", host + " is exposed, by the word of Ingress default/web of hades, for everyone", "", "oooooossn",
		},
		"not annotated": {
			both(&explain.Control{Objects: []explain.Object{object(host, false)}}, nothing),
			explain.NotExposed, "", "Ingress default/web of cluster hades names it and is not annotated", annotate, "ofsffsssn",
		},
		"a value that is not true": {
			both(&explain.Control{Objects: []explain.Object{{SourceRef: ref("web"), Names: host, Expose: "yes"}}}, nothing),
			explain.NotExposed, "", "is not annotated", annotate + " --overwrite", "ofsffsssn",
		},
		"a Traefik object of the edge itself": {
			both(&explain.Control{Members: []explain.Member{{Name: "edge", Edge: true, Read: true}}, Objects: []explain.Object{{SourceRef: v1alpha1.SourceRef{Cluster: "edge", Kind: "IngressRoute", Namespace: "a", Name: "b"}, Group: "traefik.io", Names: host}}}, nothing),
			explain.NotExposed, "", "names it and is not annotated", "kubectl -n a annotate ingressroute.traefik.io b usher.techn.is/expose=true", "ffsffsssn",
		},
		"only a wildcard names it": {
			both(&explain.Control{Objects: []explain.Object{object("*.techn.is", false)}}, nothing),
			explain.NotExposed, "", "names it and is not annotated", annotate, "ofsffsssn",
		},
		"unknown": {
			both(&explain.Control{}, nothing),
			explain.NotExposed, "", "no object of any member names it", "kubectl get memberclusters", "ofsffsssn",
		},
		"a member was never read": {
			both(&explain.Control{Members: []explain.Member{member(), away}}, nothing),
			explain.NotExposed, reason.ClusterNotReady, "the objects of cluster illmatic were never read", "kubectl describe membercluster illmatic", "ffsffsssn",
		},
		"domain not allowed": {
			both(&explain.Control{Objects: []explain.Object{object(host, true)}, Claims: claim(explain.Check{Asks: "x", Refusal: &explain.Refusal{Reason: reason.AllowedDomains, Message: "only under x"}}), ExposedHost: refused(reason.AllowedDomains, "only under x")}, &explain.Proxy{Route: &explain.Route{Host: host, Refusal: reason.AllowedDomains}}),
			explain.NotExposed, reason.AllowedDomains, "only under x", `kubectl patch membercluster hades --type=json -p '[{"op":"add","path":"/spec/allowedDomains/-","value":"vault.techn.is"}]'`, "oofffsssn",
		},
		"not all annotated": {
			both(&explain.Control{Objects: []explain.Object{object(host, true), {SourceRef: ref("other"), Names: host}}, Claims: claim(), ExposedHost: refused(reason.NotAllAnnotated, "other is not annotated")}, nothing),
			explain.NotExposed, reason.NotAllAnnotated, "other is not annotated", "kubectl --context hades -n default annotate ingress other usher.techn.is/expose=true", "oooffsssn",
		},
		"a malformed annotation": {
			both(&explain.Control{Objects: []explain.Object{object(host, true)}, Claims: claim(explain.Check{Refusal: &explain.Refusal{Reason: reason.AnnotationInvalid}}), ExposedHost: refused(reason.AnnotationInvalid, "bad")}, nothing),
			explain.NotExposed, reason.AnnotationInvalid, "bad", "kubectl --context hades -n default edit ingress web", "oofffsssn",
		},
		"the object is refused without a host": {
			both(&explain.Control{Objects: []explain.Object{{SourceRef: ref("web"), Names: host, Publishes: true, Expose: "true", Refusal: &explain.Refusal{Reason: reason.UnknownHosts, Message: "names none"}}}}, nothing),
			explain.NotExposed, reason.UnknownHosts, "names none", "kubectl --context hades -n default edit ingress web", "oosffsssn",
		},
		"no ingress address": {
			both(&explain.Control{Objects: []explain.Object{object(host, true)}, Claims: claim(), ExposedHost: exposedHost(host, nil, is("Accepted", "True", "Admitted", ""), is("Ready", "False", reason.NoIngressAddress, "no address"))}, &explain.Proxy{Route: &explain.Route{Host: host}}),
			explain.NotExposed, reason.NoIngressAddress, "no address", "kubectl edit membercluster hades", "oooffsssn",
		},
		"no backend accepts": {
			both(&explain.Control{Objects: []explain.Object{object(host, true)}, Claims: claim(), ExposedHost: accepted(host)}, serving(host, "connection refused", "timeout")),
			explain.NotExposed, reason.BackendUnreachable, "none of its backends accepts a connection: 192.0.2.10:443: connection refused", "kubectl --context hades -n kube-system describe service traefik", "ooooofssn",
		},
		"one of two backends accepts": {
			both(&explain.Control{Objects: []explain.Object{object(host, true)}, Claims: claim(), ExposedHost: accepted(host)}, serving(host, "connection refused", "")),
			explain.Exposed, "", "is exposed", "", "ooooofssn",
		},
		"by a wildcard": {
			both(&explain.Control{Objects: []explain.Object{object("*.techn.is", true)}, Claims: claim(), Over: accepted("*.techn.is")}, serving("*.techn.is", "")),
			explain.Exposed, "", "by the wildcard *.techn.is", "", "oooooossn",
		},
		"excepted by a wildcard": {
			both(&explain.Control{Objects: []explain.Object{object("*.techn.is", true), object(host, false)}, Claims: claim(), Over: exposedHost("*.techn.is", func(eh *v1alpha1.ExposedHost) { eh.Spec.Except = []string{"vault"} }, is("Accepted", "True", "", ""), is("Ready", "True", "", ""))}, &explain.Proxy{Route: &explain.Route{Refusal: reason.Excepted}}),
			explain.NotExposed, reason.Excepted, "does not cover it, since it excepts the name", annotate, "oooffsssn",
		},
		"isolation is broken": {
			both(&explain.Control{Members: []explain.Member{func() explain.Member {
				m := member(is("Isolated", "False", reason.UnannotatedRoutes, "x uses them"))
				m.Isolation = true
				return m
			}()}, Objects: []explain.Object{object(host, true)}, Claims: claim(), ExposedHost: accepted(host)}, serving(host, "")),
			explain.Exposed, "", "is exposed", "", "oooooofsn",
		},
		"the world does not see the record": {
			both(&explain.Control{Objects: []explain.Object{object(host, true)}, Claims: claim(), ExposedHost: exposedHost(host, func(eh *v1alpha1.ExposedHost) {
				eh.Status.DNS = []v1alpha1.DNSRecord{{View: "Public", Type: "A", Targets: []string{"203.0.113.7"}}}
			}, is("Accepted", "True", "", ""), is("Ready", "True", "", ""), is("DNSReady", "False", reason.DNSDrift, "it answers 192.0.2.1"))}, serving(host, "")),
			explain.Exposed, "", "its DNS records are not as they should be: DNSDrift: it answers 192.0.2.1", "", "oooooosfn",
		},
		"usher is away, and the host is promised": {
			[]explain.Facts{{Control: &explain.Control{Members: []explain.Member{member()}, ExposedHost: accepted(host)}}},
			explain.CannotTell, "", "it cannot be told whether " + host + " is exposed", "kubectl get pods -l app.kubernetes.io/name=usher -A", "ouuouussu",
		},
		"usher is away, and the host is refused": {
			[]explain.Facts{{Control: &explain.Control{Members: []explain.Member{member()}, ExposedHost: refused(reason.HostInvalid, "no host")}}},
			explain.NotExposed, reason.HostInvalid, "no host", "kubectl --context hades -n default edit ingress web", "ouufuussu",
		},
		"usher is away, and there is no ExposedHost": {
			[]explain.Facts{{Control: &explain.Control{Members: []explain.Member{member()}}}},
			explain.NotExposed, "", "no leader of usher has answered", "kubectl get pods -l app.kubernetes.io/name=usher -A", "ouufuussu",
		},
		"nobody answers":                {nil, explain.CannotTell, "", "neither usher nor the API server", "kubectl get pods -l app.kubernetes.io/name=usher -A", "uuuuuuuuu"},
		"manifests, exposed":            {[]explain.Facts{{Proxy: func() *explain.Proxy { p := serving(host, ""); p.Manifests = true; return p }()}}, explain.Exposed, "", "is exposed", "", "ssssoossn"},
		"manifests, unknown":            {[]explain.Facts{{Proxy: &explain.Proxy{Manifests: true}}}, explain.NotExposed, "", "no file of --manifests names it", "usher check DIR", "ssssfsssn"},
		"no proxy has its routes":       {both(&explain.Control{ExposedHost: accepted(host)}, &explain.Proxy{NotReady: "not filled"}), explain.CannotTell, "", "no proxy serves yet: not filled", "kubectl get pods -l app.kubernetes.io/name=usher -A", "ofsousssn"},
		"accepted and not in the table": {both(&explain.Control{ExposedHost: accepted(host)}, nothing), explain.NotExposed, "", "the proxy does not serve it", "kubectl describe exposedhost " + host, "ofsofsssn"},
	} {
		t.Run(name, func(t *testing.T) {
			got := explain.Of(host, test.facts...)
			var marks string
			for _, step := range got.Steps {
				marks += string(step.Mark[0])
			}
			if got.Verdict != test.verdict || got.Reason != test.why || !strings.Contains(got.Summary, test.says) || got.Command != test.command || marks != test.marks {
				text, _ := json.MarshalIndent(got, "", " ")
				t.Errorf("want %+v, marks are %s:\n%s", test, marks, text)
			}
			if (got.Cure == "") != (got.Verdict == explain.Exposed) {
				t.Errorf("the cure is %q", got.Cure)
			}
		})
	}
}

// A leader counts more than the objects, and two proxies may differ.
func TestFactsOfSeveralProcesses(t *testing.T) {
	objects := &explain.Control{Members: []explain.Member{member()}}
	leader := &explain.Control{Leads: true, Members: []explain.Member{member()}, Objects: []explain.Object{object(host, true)}, ExposedHost: accepted(host)}
	got := explain.Of(host, explain.Facts{Control: objects, Proxy: serving(host, "")}, explain.Facts{Control: leader, Proxy: &explain.Proxy{Process: "usher-2"}})
	if route := got.Steps[4]; got.Verdict != explain.Exposed || got.Steps[1].Mark != explain.OK || route.Mark != explain.Failed || !strings.Contains(route.Summary, "1 of 2") || !strings.Contains(route.Details[1].Of, "usher-2") {
		t.Errorf("%+v", got)
	}
}

// Whatever a member's API server sends, the explanation is bounded and printable, and no
// shell is led astray by a command.
func TestHostileFacts(t *testing.T) {
	evil := "\x1b[31m$(reboot)`reboot`;reboot\n\u202e" + strings.Repeat("x", 1<<16)
	for _, name := range []string{evil, "$(reboot)", "a;b", "-n", "--overwrite", "", "a b", "a'b", "a\nb"} {
		bad := explain.Object{SourceRef: v1alpha1.SourceRef{Cluster: "hades", Kind: "Ingress", Namespace: "default", Name: name}, Names: host, Rule: evil, Expose: evil}
		many := []explain.Object{bad}
		for range 100 {
			many = append(many, bad)
		}
		got := explain.Of(host, both(&explain.Control{Objects: many}, &explain.Proxy{Process: evil, NotReady: "", Knock: &explain.Knock{Reason: evil, Networks: []string{evil}}})...)
		if got.Command != "" {
			t.Errorf("%q makes the command %q", name, got.Command)
		}
		text, _ := json.Marshal(got)
		if len(text) > 1<<19 {
			t.Errorf("the explanation has %d bytes", len(text))
		}
		eachText(t, &got, func(text string) {
			if len(text) > message.Max || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("a text is %q", text)
			}
		})
	}
}

// eachText calls check with every text of an explanation.
func eachText(t *testing.T, e *explain.Explanation, check func(string)) {
	t.Helper()
	for _, text := range []string{e.Host, e.Summary, e.Cure, e.Command, e.Reason} {
		check(text)
	}
	for _, step := range e.Steps {
		check(step.Summary)
		if len(step.Details) > 50 {
			t.Errorf("step %s has %d details", step.Name, len(step.Details))
		}
		for _, d := range step.Details {
			check(d.Of)
			check(d.Text)
			check(d.Command)
		}
	}
}
