package source_test

import (
	"strings"
	"testing"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// served returns the context of a cluster whose Traefik has a class for each provider.
func served(crd, ingress *v1alpha1.TraefikProvider) source.Context {
	in := hades
	in.DefaultIngressClass = "public" // which Traefik does not know of
	in.Providers = &v1alpha1.TraefikProviders{KubernetesCRD: crd, KubernetesIngress: ingress}
	in.TraefikClass = func(name string) bool { return name == "public" || name == "internal" || name == "traefik" }
	return in
}

var (
	anyClass = &v1alpha1.TraefikProvider{}
	internal = &v1alpha1.TraefikProvider{IngressClass: "internal"}
)

const ingressClass = "kubernetes.io/ingress.class: "

func TestClassesOfIngressesThatTraefikServes(t *testing.T) {
	rules := "rules: [" + rule("a.techn.is") + "]}"
	field := func(class string) string { return exposed + "spec: {ingressClassName: " + class + ", " + rules }
	const refused, accepted = "a.techn.is=IngressClass []", "a.techn.is []"
	for name, test := range map[string]struct{ manifest, unclassed, classed string }{
		"none":                                 {exposed + "spec: {" + rules, accepted, refused},
		"traefik in the annotation":            {meta(ingressClass+"traefik") + "spec: {" + rules, accepted, refused},
		"internal in the annotation":           {meta(ingressClass+"internal") + "spec: {" + rules, refused, accepted},
		"nginx in the annotation":              {meta(ingressClass+"nginx") + "spec: {" + rules, refused, refused},
		"traefik in the field":                 {field("traefik"), accepted, refused},
		"internal in the field":                {field("internal"), accepted, accepted},
		"another of Traefik's":                 {field("public"), accepted, refused},
		"one of another controller":            {field("nginx"), refused, refused},
		"the field counts, not the annotation": {meta(ingressClass+"internal") + "spec: {ingressClassName: public, " + rules, accepted, refused},
	} {
		runSourceTests(t, source.KindIngress, served(anyClass, anyClass), []sourceTest{{name + ", and Traefik has no class", test.manifest, test.unclassed}})
		runSourceTests(t, source.KindIngress, served(anyClass, internal), []sourceTest{{name + ", and Traefik has one", test.manifest, test.classed}})
		runSourceTests(t, source.KindIngress, served(anyClass, nil), []sourceTest{{name + ", and Traefik does not read Ingresses", test.manifest, refused}})
	}
	missing := served(anyClass, internal)
	missing.TraefikClass = nil
	runSourceTests(t, source.KindIngress, missing, []sourceTest{{"an IngressClass that does not exist", field("internal"), refused}})
}

func TestClassesOfIngressRoutesThatTraefikServes(t *testing.T) {
	for kind, rules := range map[string]string{
		source.KindIngressRoute:    routes("Host(`a.techn.is`)") + "}",
		source.KindIngressRouteTCP: routes("HostSNI(`a.techn.is`)") + ", tls: {}}",
	} {
		field := func(class string) string { return exposed + "spec: {ingressClassName: " + class + ", " + rules }
		const refused, accepted = "a.techn.is=IngressClass []", "a.techn.is []"
		for name, test := range map[string]struct{ manifest, unclassed, classed string }{
			"none":                       {exposed + "spec: {" + rules, accepted, refused},
			"an empty field":             {field(`""`), accepted, refused},
			"traefik in the field":       {field("traefik"), accepted, refused},
			"internal in the field":      {field("internal"), refused, accepted},
			"internal in the annotation": {meta(ingressClass+"internal") + "spec: {" + rules, refused, accepted},
			"an IngressClass of Traefik": {field("public"), refused, refused},
		} {
			runSourceTests(t, kind, served(anyClass, nil), []sourceTest{{name + ", and Traefik has no class", test.manifest, test.unclassed}})
			runSourceTests(t, kind, served(internal, anyClass), []sourceTest{{name + ", and Traefik has one", test.manifest, test.classed}})
			runSourceTests(t, kind, served(nil, anyClass), []sourceTest{{name + ", and Traefik does not read IngressRoutes", test.manifest, refused}})
		}
	}
}

// A child is served by the Traefik that serves its parent.
func TestClassOfAParent(t *testing.T) {
	in := served(internal, nil)
	in.IngressRoute = func(_, name string) *traefik.IngressRoute {
		class := map[string]string{"own": "internal", "other": "public"}[name]
		return decode[traefik.IngressRoute](t, "spec: {ingressClassName: "+class+", "+routes("Host(`a.techn.is`)")+"}")
	}
	child := func(parent string) string {
		return exposed + "spec: {ingressClassName: internal, parentRefs: [{name: " + parent + "}], " + routes("Host(`a.techn.is`)") + "}"
	}
	runSourceTests(t, source.KindIngressRoute, in, []sourceTest{
		{"of the same class", child("own"), "a.techn.is []"},
		{"of another class", child("other"), "a.techn.is=ParentNotAccepted []"},
	})
}

func TestRefusedClassSaysWhatTraefikServes(t *testing.T) {
	for _, test := range []struct {
		in   source.Context
		says []string
	}{
		{served(internal, nil), []string{"ingress class: none is set", `only objects of class "internal"`, "spec.ingress.providers.kubernetesCRD"}},
		{served(nil, internal), []string{"does not read IngressRoutes", "spec.ingress.providers, which has no kubernetesCRD"}},
	} {
		claims := translate(t, source.KindIngressRoute, exposed+"spec: {"+routes("Host(`a.techn.is`)")+"}", test.in).Claims
		if len(claims) != 1 || claims[0].Refusal == nil || claims[0].Refusal.Reason != reason.IngressClass {
			t.Fatalf("claims %+v", claims)
		}
		for _, part := range test.says {
			if !strings.Contains(claims[0].Refusal.Message, part) {
				t.Errorf("%q is missing in %s", part, claims[0].Refusal.Message)
			}
		}
	}
}
