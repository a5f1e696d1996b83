package source_test

import (
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// hades is the context of most tests: a cluster that allows all, and none of the
// other objects.
var hades = source.Context{Cluster: "hades", RuleSyntax: traefikrule.V3}

// meta is the head of an exposed object, in a line, with further annotations.
func meta(annotations ...string) string {
	all := append([]string{`usher.techn.is/expose: "true"`}, annotations...)
	return "metadata: {namespace: apps, name: whoami, annotations: {" + strings.Join(all, ", ") + "}}\n"
}

// exposed is the head of most objects.
var exposed = meta()

func decode[T any](t *testing.T, manifest string) *T {
	t.Helper()
	object := new(T)
	if err := yaml.UnmarshalStrict([]byte(manifest), object); err != nil {
		t.Fatalf("%v in\n%s", err, manifest)
	}
	return object
}

// translate reads a manifest by its kind.
func translate(t *testing.T, kind, manifest string, in source.Context) source.Result {
	t.Helper()
	switch kind {
	case source.KindIngress:
		return source.FromIngress(decode[networkingv1.Ingress](t, manifest), in)
	case source.KindIngressRoute:
		return source.FromIngressRoute(decode[traefik.IngressRoute](t, manifest), in)
	case source.KindIngressRouteTCP:
		return source.FromIngressRouteTCP(decode[traefik.IngressRouteTCP](t, manifest), in)
	case source.KindHTTPRoute:
		return source.FromHTTPRoute(decode[gatewayv1.HTTPRoute](t, manifest), in)
	case source.KindGRPCRoute:
		return source.FromGRPCRoute(decode[gatewayv1.GRPCRoute](t, manifest), in)
	case source.KindTLSRoute:
		return source.FromTLSRoute(decode[gatewayv1.TLSRoute](t, manifest), in)
	}
	t.Fatalf("no kind %s", kind)
	return source.Result{}
}

// summary is a result in a line: each claim as its host, or host=Reason where it
// is refused; then in brackets the reasons that hang on no host.
func summary(r source.Result) string {
	var claims, refusals []string
	for _, c := range r.Claims {
		s := c.Host
		if c.Refusal != nil {
			s += "=" + c.Refusal.Reason
		}
		claims = append(claims, s)
	}
	for _, refusal := range r.Refusals {
		refusals = append(refusals, refusal.Reason)
	}
	return strings.TrimSpace(strings.Join(claims, " ") + " [" + strings.Join(refusals, " ") + "]")
}

// sourceTest is an object and what becomes of it.
type sourceTest struct {
	name     string
	manifest string
	want     string
}

func runSourceTests(t *testing.T, kind string, in source.Context, tests []sourceTest) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			result := translate(t, kind, test.manifest, in)
			if got := summary(result); got != test.want {
				t.Errorf("%s\n becomes %s, want %s\n%+v", test.manifest, got, test.want, result)
			}
			checkMessages(t, result)
		})
	}
}

// checkMessages asks of each refusal that it names the object and a field.
func checkMessages(t *testing.T, r source.Result) {
	t.Helper()
	refusals := r.Refusals
	for _, c := range r.Claims {
		if c.Refusal != nil {
			refusals = append(refusals, *c.Refusal)
		}
	}
	for _, refusal := range refusals {
		if head, _, ok := strings.Cut(refusal.Message, ": "); !ok || !strings.Contains(head, " apps/whoami, ") {
			t.Errorf("the message does not name object and field: %q", refusal.Message)
		}
	}
}

// Only the value true shares the names under a wildcard.
func TestShareBelow(t *testing.T) {
	for value, want := range map[string]bool{"": false, `usher.techn.is/share-below: "false"`: false, `usher.techn.is/share-below: "true"`: true} {
		head := exposed
		if value != "" {
			head = meta(value)
		}
		claims := translate(t, source.KindIngress, head+"spec: {rules: ["+rule("*.techn.is")+"]}", hades).Claims
		if len(claims) != 1 || claims[0].Options.ShareBelow != want {
			t.Errorf("%q: the claims are %+v", value, claims)
		}
		other := claims[0]
		if other.Options.ShareBelow = !want; claims[0].Equal(other) {
			t.Errorf("%q: claims that differ in it are equal", value)
		}
	}
}
