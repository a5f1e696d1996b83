package traefik_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/controllers/source/traefik"
)

// manifest is an object with fields that usher does not read.
const manifest = `
kind: IngressRoute
metadata: {namespace: apps, name: whoami, annotations: {usher.techn.is/expose: "true"}}
spec:
  entryPoints: [websecure]
  ingressClassName: traefik
  parentRefs: [{name: site}]
  routes: [{match: Host(` + "`a.techn.is`" + `), kind: Rule, syntax: v3, services: [{name: whoami, port: 80}]}]
  tls: {secretName: whoami}
`

func TestEachGroupHasTypesOfItsOwn(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := traefik.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	for _, version := range []string{"traefik.io/v1alpha1", "traefik.containo.us/v1alpha1"} {
		t.Run(version, func(t *testing.T) {
			text, err := yaml.YAMLToJSON([]byte("apiVersion: " + version + manifest))
			if err != nil {
				t.Fatal(err)
			}
			object, _, err := decoder.Decode(text, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			kinds, _, err := scheme.ObjectKinds(object.DeepCopyObject())
			if err != nil {
				t.Fatal(err)
			}
			if len(kinds) != 1 || kinds[0].GroupVersion().String() != version || kinds[0].Kind != "IngressRoute" {
				t.Errorf("a copy of the object is a %v", kinds)
			}
			check(t, object)
		})
	}
}

// check asks for the fields that usher reads.
func check(t *testing.T, object runtime.Object) {
	t.Helper()
	var route traefik.IngressRoute
	switch o := object.(type) {
	case *traefik.IngressRoute:
		route = *o
	case *traefik.ContainousIngressRoute:
		route = o.IngressRoute
	default:
		t.Fatalf("the object is a %T", object)
	}
	if route.Namespace != "apps" || route.Annotations["usher.techn.is/expose"] != "true" {
		t.Errorf("the metadata is %+v", route.ObjectMeta)
	}
	spec := route.Spec
	if *spec.IngressClassName != "traefik" || spec.ParentRefs[0].Name != "site" || spec.Routes[0] != (traefik.Route{Match: "Host(`a.techn.is`)", Kind: "Rule", Syntax: "v3"}) {
		t.Errorf("the spec is %+v", spec)
	}
}
