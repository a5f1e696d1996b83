package enroll

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/hack/test/testkit"
)

const (
	public  = `usher.techn.is/expose: "true"`
	private = `a: b`
)

// ingressRouteOf is an IngressRoute as a person writes it: its name is NAMESPACE/NAME.
func ingressRouteOf(name, annotations, tls string, hosts ...string) string {
	namespace, name, _ := strings.Cut(name, "/")
	routes := ""
	for _, host := range hosts {
		routes += fmt.Sprintf("{kind: Rule, match: 'Host(%#q)', services: [{name: app, port: 80}]}, ", host)
	}
	return fmt.Sprintf("{apiVersion: traefik.io/v1alpha1, kind: IngressRoute, metadata: {namespace: %s, name: %s, annotations: {%s}}, spec: {entryPoints: [websecure], routes: [%s]%s}}",
		namespace, name, annotations, routes, tls)
}

func ingressOf(name, annotations, host string) string {
	namespace, name, _ := strings.Cut(name, "/")
	return fmt.Sprintf("{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {namespace: %s, name: %s, annotations: {%s}}, spec: {rules: [{host: %s, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}}]}}",
		namespace, name, annotations, host)
}

func tcpOf(name, tls, host string) string {
	namespace, name, _ := strings.Cut(name, "/")
	return fmt.Sprintf("{apiVersion: traefik.io/v1alpha1, kind: IngressRouteTCP, metadata: {namespace: %s, name: %s, annotations: {%s}}, spec: {entryPoints: [websecure], routes: [{match: 'HostSNI(%#q)', services: [{name: app, port: 80}]}], tls: {%s}}}",
		namespace, name, public, host, tls)
}

// tlsNamed are TLS options of a route, for the end of its spec.
func tlsNamed(name string) string { return ", tls: {options: {name: " + name + "}}" }

// lan are the annotations of a route that is published for one network.
const lan = public + `, usher.techn.is/allow-from: "192.168.1.0/24"`

func TestPlannedEdits(t *testing.T) {
	for _, test := range []struct {
		name      string
		cross     bool
		manifests []string
		edits     []string // NAME → NAMESPACE/NAME of the TLSOption
		refused   []string // hosts that are not isolated
		problem   string   // a part of it
	}{
		{"nobody is published", false, []string{ingressRouteOf("a/app", private, "", "a.home")}, nil, nil, ""},
		{"a route without options", false, []string{ingressRouteOf("a/app", public, "", "a.home")}, []string{"app → a/exposed"}, []string{"a.home"}, ""},
		{"a route with the options of its namespace", false, []string{ingressRouteOf("a/app", public, tlsNamed("exposed"), "a.home")}, nil, nil, ""},
		{"a route with the options of the MemberCluster", false, []string{ingressRouteOf("a/app", public, ", tls: {options: {name: exposed, namespace: kube-system}}", "a.home")}, nil, nil, ""},
		{"options of a person's own name", false, []string{ingressRouteOf("a/app", public, tlsNamed("exposed-family"), "a.home")}, nil, nil, ""},
		{"other options", false, []string{ingressRouteOf("a/app", public, tlsNamed("modern"), "a.home")}, []string{"app → a/exposed"}, []string{"a.home"}, ""},
		{"an Ingress may refer to every namespace", false, []string{ingressOf("a/app", public, "a.home")}, []string{"app → kube-system/exposed"}, []string{"a.home"}, ""},
		{"an Ingress with the options", false, []string{ingressOf("a/app", public+`, traefik.ingress.kubernetes.io/router.tls.options: kube-system-exposed@kubernetescrd`, "a.home")}, nil, nil, ""},
		{"an Ingress beside an IngressRoute", false, []string{ingressOf("a/app", public, "a.home"), ingressRouteOf("b/route", private, "", "a.home")},
			[]string{"app → b/exposed", "route → b/exposed"}, []string{"a.home"}, ""},
		{"namespaces of their own", false, []string{ingressRouteOf("a/one", public, "", "a.home"), ingressRouteOf("b/two", public, "", "b.home")},
			[]string{"one → a/exposed", "two → b/exposed"}, []string{"a.home", "b.home"}, ""},
		{"one namespace for all", true, []string{ingressRouteOf("a/one", public, "", "a.home"), ingressRouteOf("b/two", public, "", "b.home")},
			[]string{"one → kube-system/exposed", "two → kube-system/exposed"}, []string{"a.home", "b.home"}, ""},
		{"one host in two namespaces", false, []string{ingressRouteOf("a/one", public, "", "a.home"), ingressRouteOf("b/two", private, "", "a.home")},
			nil, []string{"a.home"}, "a, b"},
		{"one host in two namespaces, which may refer to others", true, []string{ingressRouteOf("a/one", public, "", "a.home"), ingressRouteOf("b/two", private, "", "a.home")},
			[]string{"one → kube-system/exposed", "two → kube-system/exposed"}, []string{"a.home"}, ""},
		{"a route beside one with the options", false, []string{ingressRouteOf("a/one", public, tlsNamed("exposed"), "a.home"), ingressRouteOf("a/two", private, "", "a.home")},
			[]string{"two → a/exposed"}, []string{"a.home"}, ""},
		{"a private host of another router stays private", false, []string{ingressRouteOf("a/one", public+", usher.techn.is/hosts: a.home", tlsNamed("exposed"), "a.home"), ingressRouteOf("a/two", private, "", "b.home")}, nil, nil, ""},
		{"hosts with an allow-from list", false, []string{ingressRouteOf("a/all", public, tlsNamed("exposed"), "a.home"), ingressRouteOf("a/lan", lan, tlsNamed("exposed"), "b.home")},
			[]string{"lan → a/exposed-192-168-1-0-24"}, []string{"b.home"}, ""},
		{"an allow-from list with options of a person's own name", false, []string{ingressRouteOf("a/all", public, tlsNamed("exposed"), "a.home"), ingressRouteOf("a/lan", lan, tlsNamed("exposed-family"), "b.home")}, nil, nil, ""},
		{"two hosts with one list share options", false, []string{ingressRouteOf("a/one", lan, "", "a.home"), ingressRouteOf("a/two", lan, "", "b.home")},
			[]string{"one → a/exposed-192-168-1-0-24", "two → a/exposed-192-168-1-0-24"}, []string{"a.home", "b.home"}, ""},
		{"passthrough needs no options", false, []string{tcpOf("a/app", "passthrough: true", "a.home")}, nil, nil, ""},
		{"TLS that ends in a TCP router", false, []string{tcpOf("a/app", "secretName: a", "a.home")}, []string{"app → a/exposed"}, []string{"a.home"}, ""},
		{"a route of the Gateway API", false, []string{"{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {namespace: a, name: app, annotations: {" + public + "}}, spec: {hostnames: [a.home], parentRefs: [{name: gw}]}}"},
			nil, []string{"a.home"}, "HTTPRoute a/app"},
		{"a namespace that Traefik cannot refer to", false, []string{ingressRouteOf("a--b/app", public, "", "a.home")}, nil, []string{"a.home"}, "a--b"},
		{"a challenge of cert-manager", false, []string{`{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {namespace: a, name: solver, annotations: {` + public + `}, labels: {acme.cert-manager.io/http01-solver: "true"}}, spec: {rules: [{host: a.home}]}}`}, nil, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var edits, refused []string
			problem := ""
			for _, g := range planned(t, test.cross, test.manifests...) {
				for _, e := range g.edits {
					edits = append(edits, e.route.object.GetName()+" → "+g.want.String())
				}
				if problem += g.problem; !g.isolated {
					refused = append(refused, g.hosts...)
				}
			}
			slices.Sort(edits)
			slices.Sort(refused)
			if !slices.Equal(edits, test.edits) || !slices.Equal(refused, test.refused) || !strings.Contains(problem, test.problem) || (problem == "") != (test.problem == "") {
				t.Errorf("edits %q, refused %q, problem %q", edits, refused, problem)
			}
		})
	}
}

// planned plans for a member with the TLSOption kube-system/exposed.
func planned(t *testing.T, cross bool, manifests ...string) []*hostGroup {
	t.Helper()
	ref := v1alpha1.TLSOptionsRef{Namespace: "kube-system", Name: "exposed"}
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	in := source.Context{Cluster: "hades", Isolation: &v1alpha1.Isolation{TLSOptions: ref}}
	var routes []*route
	for _, manifest := range manifests {
		text, err := yaml.YAMLToJSON([]byte(manifest))
		testkit.Must(t, err)
		o, err := runtime.Decode(decoder, text)
		testkit.Must(t, err)
		if object := o.(client.Object); !source.Solver(object) {
			routes = append(routes, readRoute(object, in))
		}
	}
	return planHosts(routes, ref, cross)
}

func TestCommandsOfEdits(t *testing.T) {
	for _, test := range []struct {
		name, manifest string
		cross          bool
		command, note  string
	}{
		{"an IngressRoute", ingressRouteOf("web/app", public, "", "a.home"), false,
			`kubectl --context hades --namespace web patch ingressroute.traefik.io app --type merge --patch '{"spec":{"tls":{"options":{"name":"exposed"}}}}'`, ""},
		{"an IngressRoute that refers elsewhere", ingressRouteOf("web/app", public, ", tls: {options: {name: modern, namespace: kube-system}}", "a.home"), false,
			`'{"spec":{"tls":{"options":{"name":"exposed","namespace":null}}}}'`, ""},
		{"a reference to another namespace", ingressRouteOf("web/app", public, "", "a.home"), true,
			`'{"spec":{"tls":{"options":{"name":"exposed","namespace":"kube-system"}}}}'`, ""},
		{"plain HTTP beside TLS", strings.Replace(ingressRouteOf("web/app", public, "", "a.home"), "[websecure]", "[websecure, web]", 1), false,
			"patch ingressroute.traefik.io app", "it then serves TLS only"},
		{"Traefik 2's group", strings.Replace(ingressRouteOf("web/app", public, "", "a.home"), "traefik.io", "traefik.containo.us", 1), false,
			"patch ingressroute.traefik.containo.us app", ""},
		{"an IngressRouteTCP", tcpOf("web/app", "secretName: a", "a.home"), false, "patch ingressroutetcp.traefik.io app", ""},
		{"an Ingress", ingressOf("web/app", public+", traefik.ingress.kubernetes.io/router.tls: \"true\"", "a.home"), false,
			"kubectl --context hades --namespace web annotate --overwrite ingress app traefik.ingress.kubernetes.io/router.tls.options=kube-system-exposed@kubernetescrd", ""},
		{"an Ingress without a TLS section", ingressOf("web/app", public, "a.home"), false, "annotate --overwrite ingress app", "it then serves TLS only"},
	} {
		t.Run(test.name, func(t *testing.T) {
			groups := planned(t, test.cross, test.manifest)
			if len(groups) != 1 || len(groups[0].edits) != 1 {
				t.Fatalf("planned %+v", groups)
			}
			e := groups[0].edits[0]
			if got := e.command("hades"); !strings.Contains(got, test.command) {
				t.Errorf("the command is %s", got)
			}
			if got := e.note(); !strings.Contains(got, test.note) || (got == "") != (test.note == "") {
				t.Errorf("the note is %q", got)
			}
		})
	}
}

func TestNamesOfOptionsForAllowFromLists(t *testing.T) {
	seen := map[string]string{}
	for _, test := range []struct {
		want  string // "": any
		lists []string
	}{
		{"", []string{""}},
		{"-10-0-0-0-8", []string{"10.0.0.0/8"}},
		{"-10-0-0-0-8-192-168-1-0-24", []string{"10.0.0.0/8,192.168.1.0/24"}},
		{"?", []string{"", "10.0.0.0/8"}},
		{"?", []string{"2001:db8::1:0/112"}},
		{"?", []string{"2001:db8:1::/112"}},
		{"?", []string{strings.TrimSuffix(strings.Repeat("192.168.100.100/32,", 9), ",")}},
	} {
		got := suffix(test.lists)
		if before, taken := seen[got]; taken {
			t.Errorf("%q and %q have one name", before, test.lists)
		}
		seen[got] = fmt.Sprint(test.lists)
		if test.want != "?" && got != test.want || test.want == "?" && len(got) != len("-01234567") {
			t.Errorf("%q: %q", test.lists, got)
		}
	}
}
