package traefik

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/hack/testbed"
)

// subject is an ingress object whose requests no other object serves: its rules require
// its name in the request.
type subject struct {
	name       string
	kind       string
	rules      []string
	conditions int
	regexps    bool
	unsaid     bool // whether its routes do not set their syntax
	manifest   string
	object     client.Object // as the API server has it
}

// newSubject returns an object with one route, or sometimes two.
func newSubject(random *rand.Rand, n int, kind string, g grammar) *subject {
	gen := &generator{Rand: random, grammar: g}
	s := &subject{name: fmt.Sprintf("rule-%d", n), kind: kind, unsaid: g.syntax == ""}
	for range 1 + random.IntN(5)/4 {
		s.rules = append(s.rules, gen.rule())
	}
	s.conditions, s.regexps = gen.conditions, gen.regexps
	return s
}

// route returns the route of an IngressRoute, which requires a path, or of an
// IngressRouteTCP, which requires an ALPN protocol. Both syntaxes read this alike.
func (s *subject) route(rule string, g grammar, app *testbed.App) string {
	own := "PathPrefix(`/%s/`)"
	if s.kind == source.KindIngressRouteTCP {
		own = "ALPN(`%s`)"
	}
	match := fmt.Sprintf("(%s) && "+own, rule, s.name)
	return fmt.Sprintf("{match: %q, %s services: [{name: %s, port: %d}]}", match, s.syntax(g), app.Service, app.Port)
}

func (s *subject) syntax(g grammar) string {
	fields := ""
	if s.kind == source.KindIngressRoute {
		fields = "kind: Rule, "
	}
	if g.syntax != "" {
		fields += "syntax: " + g.syntax + ","
	}
	return fields
}

func (s *subject) traefikManifest(g grammar, app *testbed.App) string {
	routes := make([]string, len(s.rules))
	for i, rule := range s.rules {
		routes[i] = s.route(rule, g, app)
	}
	entryPoint, tls := "websecure", ""
	if s.kind == source.KindIngressRouteTCP {
		// It has its own entry point, since on a shared one Traefik's HTTP routers get their hosts.
		entryPoint, tls = "web", "\n  tls: {passthrough: true}"
	}
	return fmt.Sprintf(`
apiVersion: traefik.io/v1alpha1
kind: %s
metadata: {name: %s, namespace: default, annotations: {usher.techn.is/expose: "true"}}
spec:
  entryPoints: [%s]%s
  routes: [%s]
`, s.kind, s.name, entryPoint, tls, strings.Join(routes, ",\n    "))
}

// newIngress returns an Ingress with some hosts; the path of its requests is its name.
func newIngress(random *rand.Rand, n int, app *testbed.App) *subject {
	gen := &generator{Rand: random}
	s := &subject{name: fmt.Sprintf("rule-%d", n), kind: source.KindIngress}
	for range 1 + random.IntN(3) {
		host := strings.ToLower(strings.TrimSuffix(gen.name(), "."))
		switch random.IntN(6) {
		case 0:
			host = gen.wildcard()
		case 1:
			host = ""
		}
		s.rules = append(s.rules, s.ingressRule(host, random.IntN(8) > 0, app))
	}
	s.manifest = s.ingressManifest()
	return s
}

func (s *subject) ingressManifest() string {
	return fmt.Sprintf(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %s, namespace: default, annotations: {usher.techn.is/expose: "true"}}
spec:
  ingressClassName: traefik
  rules: [%s]
`, s.name, strings.Join(s.rules, ",\n    "))
}

func (s *subject) ingressRule(host string, paths bool, app *testbed.App) string {
	if !paths {
		return fmt.Sprintf("{host: %q}", host)
	}
	return fmt.Sprintf("{host: %q, http: {paths: [{path: /%s, pathType: Prefix, backend: {service: {name: %s, port: {number: %d}}}}]}}", host, s.name, app.Service, app.Port)
}

func (s *subject) String() string {
	return fmt.Sprintf("%s %s: %s", s.kind, s.name, strings.Join(s.rules, " ; "))
}

// mentions reports whether a rule names a host literally.
func (s *subject) mentions(host string) bool {
	text := strings.ToLower(strings.Join(s.rules, " "))
	for _, quoted := range []string{"`" + host + "`", "`" + host + ".`", `"` + host + `"`, `"` + host + `."`} {
		if strings.Contains(text, quoted) {
			return true
		}
	}
	return false
}
