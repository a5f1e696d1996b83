package testbed

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// traefikOf returns a cluster's Traefik, and starts it at the first call.
func traefikOf(t *testing.T, cluster string) *Traefik {
	t.Helper()
	traefik, err := traefiks[cluster]()
	if err != nil {
		t.Fatal(err)
	}
	return traefik
}

var traefiks = map[string]func() (*Traefik, error){ // cluster → its Traefik
	"hades":    startTraefik("hades"),
	"illmatic": startTraefik("illmatic"),
}

func startTraefik(cluster string) func() (*Traefik, error) {
	return sync.OnceValues(func() (*Traefik, error) {
		return bed.Cluster(cluster).StartTraefik(context.Background())
	})
}

const ingressRoute = `
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  routes: [{kind: Rule, match: "Host(` + "`%[4]s`" + `)", services: [{name: %[1]s, port: %[3]d}]}]
`

const ingress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  ingressClassName: traefik
  rules:
  - host: %[4]s
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: %[1]s, port: {number: %[3]d}}}}]}
`

func TestTraefikServesEachKindOverTLS(t *testing.T) {
	for _, c := range []struct{ cluster, kind, manifest, app, host string }{
		{"hades", "IngressRoute", ingressRoute, "whoami", "whoami.example.com"},
		{"hades", "Ingress", ingress, "wiki", "wiki.example.com"},
		{"illmatic", "IngressRoute of the same name", ingressRoute, "whoami", "whoami.example.net"},
	} {
		t.Run(c.cluster+"/"+c.kind, func(t *testing.T) {
			traefik := traefikOf(t, c.cluster)
			app, err := bed.Cluster(c.cluster).StartApp(t.Context(), "default", c.app)
			if err != nil {
				t.Fatal(err)
			}
			apply(t, bed.Cluster(c.cluster), fmt.Sprintf(c.manifest, app.Service, app.Namespace, app.Port, c.host))
			if err := traefik.AwaitHost(t.Context(), c.host); err != nil {
				t.Fatal(err)
			}
			got, err := GetAnswer(t.Context(), ClientTo(traefik.HTTPS.String()), "https://"+c.host+"/some/path?and=query")
			if err != nil {
				t.Fatal(err)
			}
			want := Answer{
				Cluster: c.cluster, App: c.app, Host: c.host, Path: "/some/path?and=query",
				ForwardedFor: "127.0.0.1", ForwardedHost: c.host, ForwardedPort: "443", ForwardedProto: "https",
			}
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestTraefikAnswersPlainHTTP(t *testing.T) {
	traefik := traefikOf(t, "hades")
	response, err := ClientTo(traefik.HTTP.String()).Get("http://nobody.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown host: %s, want 404", response.Status)
	}
}

func TestTraefikContinuesAfterItsAPIServerRestarts(t *testing.T) {
	illmatic, traefik := bed.Cluster("illmatic"), traefikOf(t, "illmatic")
	app, err := illmatic.StartApp(t.Context(), "default", "later")
	if err != nil {
		t.Fatal(err)
	}
	illmatic.Stop()
	if err := illmatic.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	apply(t, illmatic, fmt.Sprintf(ingressRoute, app.Service, app.Namespace, app.Port, "later.example.com"))
	if err := traefik.AwaitHost(t.Context(), "later.example.com"); err != nil {
		t.Fatal(err)
	}
}

func TestDefinitionsOfAllKindsAreServed(t *testing.T) {
	illmatic := bed.Cluster("illmatic")
	for _, c := range []struct {
		name    string
		install func(context.Context) error
		kind    string
	}{
		{"Traefik's", illmatic.InstallTraefikCRDs, "ingressroutetcps.traefik.io"},
		{"Traefik's in its former group", illmatic.InstallOldTraefikCRDs, "ingressroutes.traefik.containo.us"},
		{"the Gateway API's", illmatic.InstallGatewayCRDs, "tlsroutes.gateway.networking.k8s.io"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.install(t.Context()); err != nil {
				t.Fatal(err)
			}
			kubectl(t, illmatic, "get", c.kind)
		})
	}
}

func TestAnObjectMayFollowItsKindsDefinition(t *testing.T) {
	apply(t, bed.Cluster("hades"), `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: lamps.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {kind: Lamp, plural: lamps, singular: lamp}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
---
---
apiVersion: example.com/v1
kind: Lamp
metadata: {name: lit}
`)
	kubectl(t, bed.Cluster("hades"), "get", "lamp", "lit")
}
