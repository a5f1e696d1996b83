package source_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// routes is the spec of an IngressRoute, or the part of it, with these rules.
func routes(rules ...string) string {
	var list []string
	for _, rule := range rules {
		list = append(list, fmt.Sprintf("{match: %q}", rule))
	}
	return "routes: [" + strings.Join(list, ", ") + "]"
}

func TestFromIngressRoute(t *testing.T) {
	spec := func(rules ...string) string { return exposed + "spec: {" + routes(rules...) + "}" }
	runSourceTests(t, source.KindIngressRoute, hades, []sourceTest{
		{"a host", spec("Host(`a.techn.is`)"), "a.techn.is []"},
		{"without the annotation", "metadata: {name: whoami}\nspec: {" + routes("Host(`a.techn.is`)") + "}", "[]"},
		{"a host and a path", spec("Host(`a.techn.is`) && PathPrefix(`/api`)"), "a.techn.is []"},
		{"several routes of one host", spec("Host(`a.techn.is`) && Path(`/b`)", "Host(`a.techn.is`)"), "a.techn.is []"},
		{"several hosts", spec("Host(`b.techn.is`) || Host(`a.techn.is`)", "Host(`c.techn.is`)"), "a.techn.is b.techn.is c.techn.is []"},
		{"a wildcard", spec("Host(`*.techn.is`)"), "*.techn.is []"},
		{"all but a host is not a list", spec("!Host(`a.techn.is`)"), "[UnknownHosts]"},
		{"a host or a path is every host", spec("Host(`a.techn.is`) || Path(`/b`)"), "[UnknownHosts]"},
		{"a regular expression", spec("HostRegexp(`^a`)"), "[UnknownHosts]"},
		{"a rule that matches nothing", spec("Host(`a.techn.is`) && Host(`b.techn.is`)"), "[RuleInvalid]"},
		{"a rule that cannot be read", spec("Host('a.techn.is')"), "[RuleInvalid]"},
		{"an empty rule", spec(""), "[RuleInvalid]"},
		{"no routes", exposed + "spec: {}", "[UnknownHosts]"},
		{"each route stands alone", spec("Host('a.techn.is')", "Host(`b.techn.is`)", "Path(`/`)", "Host(`c.techn.is`, `d.techn.is`)"), "b.techn.is [RuleInvalid RuleInvalid UnknownHosts]"},
		{"a host with a port", spec("Host(`a.techn.is:443`) || Host(`b.techn.is`)"), "b.techn.is [HostInvalid]"},
		{"upper case, which Traefik ignores", spec("Host(`A.techn.is`)"), "a.techn.is []"},
		{"a kind of route that Traefik does not know", exposed + "spec: {routes: [{kind: Rules, match: Host(`a.techn.is`)}]}", "[RuleInvalid]"},
		{"the one it knows", exposed + "spec: {routes: [{kind: Rule, match: Host(`a.techn.is`)}]}", "a.techn.is []"},
		{"Traefik 2's syntax", exposed + "spec: {routes: [{syntax: v2, match: 'Host(`a.techn.is`, `b.techn.is`)'}]}", "a.techn.is b.techn.is []"},
		{"an unknown syntax", exposed + "spec: {routes: [{syntax: v4, match: Host(`a.techn.is`)}]}", "[RuleInvalid]"},
	})
}

func TestHostsAnnotationOfIngressRoutes(t *testing.T) {
	spec := func(hosts string, rules ...string) string {
		return meta(fmt.Sprintf("usher.techn.is/hosts: %q", hosts)) + "spec: {" + routes(rules...) + "}"
	}
	runSourceTests(t, source.KindIngressRoute, hades, []sourceTest{
		{"names the hosts of a catch-all", spec("a.techn.is", "PathPrefix(`/`)"), "a.techn.is []"},
		{"names hosts that a regular expression matches", spec("a.techn.is, 1.techn.is", "HostRegexp(`^[a-z]+\\.techn\\.is$`)"), "1.techn.is=HostNotCovered a.techn.is []"},
		{"names a wildcard that one covers", spec("*.techn.is,*.a.techn.is", "HostRegexp(`^[^.]+\\.techn\\.is$`)"), "*.a.techn.is=HostNotCovered *.techn.is []"},
		{"does not name what is excepted", spec("a.techn.is,b.techn.is", "!Host(`a.techn.is`)"), "a.techn.is=HostNotCovered b.techn.is []"},
		{"names a wildcard's part", spec("b.techn.is,a.techn.is", "Host(`*.techn.is`) && !Host(`a.techn.is`)"), "a.techn.is=HostNotCovered b.techn.is []"},
		{"picks from several routes", spec("a.techn.is,c.techn.is", "Host(`a.techn.is`)", "Host(`b.techn.is`)", "Host(`c.techn.is`)"), "a.techn.is c.techn.is []"},
		{"a route that cannot be read is reported beside it", spec("a.techn.is", "Host(`a.techn.is`)", "Hots(`b.techn.is`)"), "a.techn.is [RuleInvalid]"},
	})
}

func TestRulesWithoutSyntax(t *testing.T) {
	route := func(rule string) string { return exposed + "spec: {" + routes(rule) + "}" }
	absent := source.Context{Cluster: "hades"}
	runSourceTests(t, source.KindIngressRoute, absent, []sourceTest{
		{"both read the same", route("Host(`a.techn.is`)"), "a.techn.is []"},
		{"only Traefik 2's", route("Host(`a.techn.is`, `b.techn.is`)"), "a.techn.is b.techn.is []"},
		{"a wildcard in one and nothing in the other", route("Host(`*.techn.is`)"), "[RuleInvalid]"},
	})
	two := source.Context{Cluster: "hades", RuleSyntax: traefikrule.V2}
	runSourceTests(t, source.KindIngressRoute, two, []sourceTest{
		{"the cluster's syntax is Traefik 2's", route("Host(`a.techn.is`, `b.techn.is`)"), "a.techn.is b.techn.is []"},
		{"which has no wildcards", route("Host(`*.techn.is`)"), "[RuleInvalid]"},
		{"a route may say otherwise", exposed + "spec: {routes: [{syntax: v3, match: Host(`*.techn.is`)}]}", "*.techn.is []"},
	})
}

// A Traefik before 3.7 serves no host by a wildcard of a rule; other rules, and
// Ingresses, it serves.
func TestWildcardsOfRulesInAnOldTraefik(t *testing.T) {
	spec := func(rules ...string) string { return exposed + "spec: {tls: {}, " + routes(rules...) + "}" }
	named := func(hosts string, rules ...string) string {
		return meta(fmt.Sprintf("usher.techn.is/hosts: %q", hosts)) + "spec: {" + routes(rules...) + "}"
	}
	old := hades
	old.WithoutWildcards = "v3.6.2"
	old.IngressRoute = func(namespace, name string) *traefik.IngressRoute {
		return decode[traefik.IngressRoute](t, fmt.Sprintf("metadata: {namespace: %s, name: %s}\nspec: {%s}", namespace, name, routes("Host(`*.techn.is`)", "Host(`b.techn.is`)")))
	}
	runSourceTests(t, source.KindIngressRoute, old, []sourceTest{
		{"a wildcard", spec("Host(`*.techn.is`)"), "*.techn.is=RuleInvalid []"},
		{"a host", spec("Host(`a.techn.is`)"), "a.techn.is []"},
		{"a wildcard and a host", spec("Host(`*.techn.is`) || Host(`a.example.org`)"), "*.techn.is=RuleInvalid a.example.org []"},
		{"a host by way of a wildcard", spec("Host(`*.techn.is`) && Host(`a.techn.is`)"), "a.techn.is=RuleInvalid []"},
		{"and by a route of its own", spec("Host(`*.techn.is`) && Host(`a.techn.is`)", "Host(`a.techn.is`)"), "a.techn.is []"},
		{"a host within a parent's wildcard", exposed + "spec: {parentRefs: [{name: parent}], " + routes("Host(`a.techn.is`) || Host(`b.techn.is`)") + "}", "a.techn.is=RuleInvalid b.techn.is []"},
		{"all but a wildcard, which is everything", spec("!Host(`*.techn.is`)"), "[UnknownHosts]"},
		{"a malformed wildcard", spec("Host(`*.a b`)"), "[HostInvalid]"},
		{"a name that is annotated", named("a.techn.is", "Host(`*.techn.is`)"), "a.techn.is=RuleInvalid []"},
		{"and that a regular expression matches too", named("a.techn.is", "Host(`*.techn.is`)", "HostRegexp(`^[a-z]+\\.techn\\.is$`)"), "a.techn.is []"},
		{"and that nothing matches", named("a.example.org", "Host(`*.techn.is`)"), "a.example.org=HostNotCovered []"},
	})
	runSourceTests(t, source.KindIngressRouteTCP, old, []sourceTest{
		{"a wildcard of server names", spec("HostSNI(`*.techn.is`)"), "*.techn.is=RuleInvalid []"},
	})
	runSourceTests(t, source.KindIngress, old, []sourceTest{
		{"an Ingress's wildcard", exposed + "spec: {rules: [{host: '*.techn.is', http: {paths: [{path: /}]}}]}", "*.techn.is []"},
	})
	route := decode[traefik.IngressRoute](t, spec("Host(`*.techn.is`)"))
	refusal := source.FromIngressRoute(route, old).Claims[0].Refusal
	for _, part := range []string{"Traefik v3.6.2", "upgrade Traefik to 3.7", "Ingress", "HostRegexp", "usher.techn.is/hosts", "spec.routes[0].match"} {
		if !strings.Contains(refusal.Message, part) {
			t.Errorf("the message does not have %q: %s", part, refusal.Message)
		}
	}
}

func TestClassOfIngressRoutes(t *testing.T) {
	only := hades
	only.IngressClasses = []string{"traefik"}
	only.DefaultIngressClass = "nginx" // which is for Ingresses
	rules := routes("Host(`a.techn.is`)")
	runSourceTests(t, source.KindIngressRoute, only, []sourceTest{
		{"none", exposed + "spec: {" + rules + "}", "a.techn.is []"},
		{"by the field", exposed + "spec: {ingressClassName: internal, " + rules + "}", "a.techn.is=IngressClass []"},
		{"by the annotation", meta("kubernetes.io/ingress.class: internal") + "spec: {" + rules + "}", "a.techn.is=IngressClass []"},
		{"one that is allowed", meta("kubernetes.io/ingress.class: traefik") + "spec: {" + rules + "}", "a.techn.is []"},
		{"one that is not, and a rule without hosts", exposed + "spec: {ingressClassName: internal, " + routes("Path(`/`)") + "}", "[UnknownHosts IngressClass]"},
	})
}

func TestParentsOfIngressRoutes(t *testing.T) {
	parents := map[string]string{ // namespace/name → spec
		"apps/site":     routes("Host(`a.techn.is`)", "Host(`b.techn.is`)"),
		"apps/wildcard": routes("Host(`*.techn.is`)"),
		"apps/paths":    routes("PathPrefix(`/`)"),
		"apps/broken":   routes("Hots(`a.techn.is`)"),
		"apps/partly":   routes("Hots(`a.techn.is`)", "Host(`b.techn.is`)"),
		"apps/middle":   "parentRefs: [{name: site}], " + routes("Host(`b.techn.is`) || Host(`c.techn.is`)"),
		"apps/circle":   "parentRefs: [{name: circle}], " + routes("Host(`a.techn.is`)"),
		"infra/site":    routes("Host(`i.techn.is`)"),
	}
	family := hades
	family.IngressRoute = func(namespace, name string) *traefik.IngressRoute {
		spec, found := parents[namespace+"/"+name]
		if !found {
			return nil
		}
		return decode[traefik.IngressRoute](t, fmt.Sprintf("metadata: {namespace: %s, name: %s}\nspec: {%s}", namespace, name, spec))
	}
	child := func(refs string, rules ...string) string {
		return exposed + "spec: {parentRefs: [" + refs + "], " + routes(rules...) + "}"
	}
	runSourceTests(t, source.KindIngressRoute, family, []sourceTest{
		{"a path within the parent's hosts", child("{name: site}", "Path(`/api`)"), "a.techn.is b.techn.is []"},
		{"a host of the parent's", child("{name: site}", "Host(`a.techn.is`)"), "a.techn.is []"},
		{"a host that is not the parent's", child("{name: site}", "Host(`c.techn.is`)"), "[RuleInvalid]"},
		{"a host under the parent's wildcard", child("{name: wildcard}", "Host(`c.techn.is`) || Host(`c.example.org`)"), "c.techn.is []"},
		{"neither has hosts", child("{name: paths}", "Path(`/api`)"), "[UnknownHosts]"},
		{"two parents", child("{name: site}, {namespace: infra, name: site}", "Path(`/api`)"), "a.techn.is b.techn.is i.techn.is []"},
		{"a parent that has a parent", child("{name: middle}", "Path(`/api`)"), "b.techn.is []"},
		{"a parent that is not there", child("{name: missing}", "Host(`a.techn.is`)"), "a.techn.is=ParentNotAccepted []"},
		{"one of two is not there, which disables the object", child("{name: site}, {name: missing}", "Host(`a.techn.is`)"), "a.techn.is=ParentNotAccepted []"},
		{"a parent without a rule that can be read", child("{name: broken}", "Path(`/`)"), "[UnknownHosts ParentNotAccepted]"},
		{"a parent with one that can", child("{name: partly}", "Path(`/`)"), "b.techn.is []"},
		{"a parent that is its own", child("{name: circle}", "Host(`a.techn.is`)"), "a.techn.is=ParentNotAccepted []"},
	})
	runSourceTests(t, source.KindIngressRoute, hades, []sourceTest{
		{"no parents are known", child("{name: site}", "Host(`a.techn.is`)"), "a.techn.is=ParentNotAccepted []"},
	})
}

// What a hostile member can write into a family of IngressRoutes is bounded in time.
func TestLargeFamiliesAreRefused(t *testing.T) {
	names := func(n int, suffix string) string { // a rule of so many hosts
		hosts := make([]string, n)
		for i := range hosts {
			hosts[i] = fmt.Sprintf("Host(`h%d.%s`)", i, suffix)
		}
		return strings.Join(hosts, " || ")
	}
	many := func(n int, rule string) []string { return slices.Repeat([]string{rule}, n) }
	repeated := func(n int, ref string) string { return strings.Join(slices.Repeat([]string{ref}, n), ", ") }
	parents := map[string]string{ // namespace/name → spec
		"apps/large":   routes(many(90, names(400, "techn.is"))...),
		"apps/regexps": routes(many(90, "HostRegexp(`^"+strings.Repeat("(a|b)*", 50)+"$`) || "+names(200, strings.Repeat("abab.", 30)+"is"))...),
		"apps/broken":  routes(append(many(20, "Hots(`"+strings.Repeat("x", 60000)+"`)"), "Host(`a.techn.is`)")...),
		"apps/middle":  "parentRefs: [" + repeated(90, "{name: leaf}") + "], " + routes("PathPrefix(`/`)"),
		"apps/leaf":    routes("Host(`a.techn.is`)"),
	}
	decoded := map[string]*traefik.IngressRoute{}
	for key, spec := range parents {
		_, name, _ := strings.Cut(key, "/")
		decoded[key] = decode[traefik.IngressRoute](t, fmt.Sprintf("metadata: {namespace: apps, name: %s}\nspec: {%s}", name, spec))
	}
	in := hades
	in.IngressRoute = func(namespace, name string) *traefik.IngressRoute { return decoded[namespace+"/"+name] }
	for _, test := range []struct{ name, refs, rule string }{
		{"many routes under many large rules", "{name: large}", "PathPrefix(`/`)"},
		{"regular expressions over the names of others", "{name: regexps}", names(400, "techn.is")},
		{"many references to what cannot be read", repeated(2000, "{name: broken}"), "PathPrefix(`/`)"},
		{"many references at each level", repeated(2000, "{name: middle}"), "PathPrefix(`/`)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			child := decode[traefik.IngressRoute](t, "metadata: {namespace: apps, name: child, annotations: {usher.techn.is/expose: 'true', usher.techn.is/hosts: h1.techn.is}}\nspec: {parentRefs: ["+test.refs+"], "+routes(many(200, test.rule)...)+"}")
			began := time.Now()
			result := source.FromIngressRoute(child, in)
			if took := time.Since(began); took > 20*time.Second { // a tenth of a second of work; without the bound it is minutes
				t.Errorf("took %v", took)
			}
			if len(result.Claims) != 1 || result.Claims[0].Refusal == nil || result.Claims[0].Refusal.Reason != reason.ParentNotAccepted {
				t.Errorf("got %+v and %d refusals", result.Claims, len(result.Refusals))
			}
		})
	}
}

func TestFromIngressRouteTCP(t *testing.T) {
	spec := func(rules ...string) string { return exposed + "spec: {tls: {}, " + routes(rules...) + "}" }
	runSourceTests(t, source.KindIngressRouteTCP, hades, []sourceTest{
		{"a host", spec("HostSNI(`a.techn.is`)"), "a.techn.is []"},
		{"a host whose TLS the service ends", exposed + "spec: {tls: {passthrough: true}, " + routes("HostSNI(`a.techn.is`)") + "}", "a.techn.is []"},
		{"a wildcard", spec("HostSNI(`*.techn.is`)"), "*.techn.is []"},
		{"every host", spec("HostSNI(`*`)"), "[UnknownHosts]"},
		{"without TLS there are no names", exposed + "spec: {" + routes("HostSNI(`a.techn.is`)") + "}", "a.techn.is=TLSMissing []"},
		{"nor for every host", exposed + "spec: {" + routes("HostSNI(`*`)") + "}", "[UnknownHosts TLSMissing]"},
		{"a matcher of HTTP", spec("Host(`a.techn.is`)"), "[RuleInvalid]"},
		{"an unknown syntax", exposed + "spec: {tls: {}, routes: [{syntax: v4, match: HostSNI(`a.techn.is`)}]}", "[RuleInvalid]"},
		{"a protocol narrows a host", spec("HostSNI(`a.techn.is`) && ALPN(`h2`)"), "a.techn.is []"},
		{"not exposed", "metadata: {name: whoami}\nspec: {tls: {}, " + routes("HostSNI(`a.techn.is`)") + "}", "[]"},
	})
	runSourceTests(t, source.KindIngressRouteTCP, hades, []sourceTest{
		{"the annotation names the hosts of a catch-all", meta("usher.techn.is/hosts: a.techn.is") + "spec: {tls: {}, " + routes("HostSNI(`*`)") + "}", "a.techn.is []"},
	})
}
