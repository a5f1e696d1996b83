package enroll

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
)

// classes are the ingress classes of the objects of servedObjects; "" is no class. There
// are IngressClasses traefik, internal and public of Traefik, and nginx of another
// controller.
var classes = []string{"", "traefik", "internal", "public", "nginx", "missing"}

const ingressClasses = `
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: internal}, spec: {controller: traefik.io/ingress-controller}}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: public}, spec: {controller: traefik.io/ingress-controller}}
---
{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: nginx}, spec: {controller: example.com/nginx}}
---
{apiVersion: v1, kind: Service, metadata: {name: served, namespace: default}, spec: {type: ExternalName, externalName: localhost, ports: [{port: 1}]}}
---
`

// servedObjects returns an annotated object of each kind and class, by the field and by
// the annotation, each with a host of its own.
func servedObjects() (manifests string, hosts []string) {
	for _, kind := range []string{"ingress", "ingressroute", "ingressroutetcp"} {
		for _, class := range classes {
			for _, by := range []string{"field", "annotation"} {
				name := fmt.Sprintf("%s-%s-%s", kind, by, "class"+class)
				host, field, annotation := name+".techn.is", "", ""
				switch {
				case class == "" && by == "annotation":
					continue
				case class != "" && by == "field":
					field = "ingressClassName: " + class + ","
				case class != "":
					annotation = ", kubernetes.io/ingress.class: " + class
				}
				head := fmt.Sprintf(`metadata: {name: %s, namespace: default, annotations: {usher.techn.is/expose: "true"%s}}`, name, annotation)
				switch kind {
				case "ingress":
					manifests += fmt.Sprintf("{apiVersion: networking.k8s.io/v1, kind: Ingress, %s, spec: {%s rules: [{host: %s, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: served, port: {number: 1}}}}]}}]}}\n---\n", head, field, host)
				case "ingressroute":
					manifests += fmt.Sprintf("{apiVersion: traefik.io/v1alpha1, kind: IngressRoute, %s, spec: {%s routes: [{kind: Rule, match: Host(%#q), services: [{kind: TraefikService, name: noop@internal}]}]}}\n---\n", head, field, host)
				case "ingressroutetcp":
					manifests += fmt.Sprintf("{apiVersion: traefik.io/v1alpha1, kind: IngressRouteTCP, %s, spec: {%s tls: {}, routes: [{match: HostSNI(%#q), services: [{name: served, port: 1}]}]}}\n---\n", head, field, host)
				}
				hosts = append(hosts, host)
			}
		}
	}
	return manifests, hosts
}

// Of two Traefiks, usher publishes exactly what the chosen one serves. Both run, and are
// asked for each host.
func TestPublishesWhatTheChosenTraefikServes(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	startTwoTraefiks(t)
	manifests, hosts := servedObjects()
	apply(t, "hades", ingressClasses+manifests)
	for _, test := range []struct {
		service types.NamespacedName
		flags   []string
		serves  int // hosts
	}{
		// Ingresses: none, three classes by the field, one by the annotation. Routes: none, and one class by each.
		{publicTraefik, nil, 5 + 3 + 3},
		{internalTraefik, []string{"--providers.kubernetesCRD.ingressClass=internal", "--providers.kubernetesIngress.ingressClass=internal"}, 2 + 2 + 2},
	} {
		t.Run(test.service.Namespace, func(t *testing.T) {
			traefik, err := bed.Cluster("hades").StartTraefik(t.Context(), test.flags...)
			testkit.Must(t, err)
			t.Cleanup(traefik.Stop)
			add(t, edge, hades, func(o *Options) { o.Service = test.service })
			var serves []string
			testkit.Eventually(t, "Traefik should serve its hosts", func() error {
				if serves = servedBy(traefik.HTTPS, hosts); len(serves) != test.serves {
					return fmt.Errorf("it serves %d: %q", len(serves), serves)
				}
				return nil
			})
			testkit.Eventually(t, "usher should publish what Traefik serves", func() error {
				published, err := publishedOf(t, edge, hosts)
				if err == nil && !slices.Equal(published, serves) {
					err = fmt.Errorf("it publishes %q, and Traefik serves %q", published, serves)
				}
				return err
			})
		})
	}
}

// servedBy returns the hosts that a Traefik serves: it answers others with 404.
func servedBy(traefik netip.AddrPort, hosts []string) (served []string) {
	for _, host := range hosts {
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{ServerName: host, InsecureSkipVerify: true},
		}}
		request, err := http.NewRequest(http.MethodGet, "https://"+traefik.String(), http.NoBody)
		if err != nil {
			continue
		}
		request.Host = host
		answer, err := client.Do(request)
		if err == nil {
			answer.Body.Close()
		}
		if err != nil || answer.StatusCode != http.StatusNotFound { // the service of a TCP route does not answer
			served = append(served, host)
		}
	}
	return served
}

// publishedOf returns the hosts that usher has accepted, once it has decided about all.
func publishedOf(t *testing.T, edge *Cluster, hosts []string) (published []string, err error) {
	t.Helper()
	var list v1alpha1.ExposedHostList
	testkit.Must(t, edge.client.List(t.Context(), &list))
	decided := map[string]bool{} // host → accepted
	for i := range list.Items {
		eh := &list.Items[i]
		accepted := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionAccepted)
		switch {
		case accepted == nil:
		case accepted.Status == "True":
			decided[eh.Spec.Host] = true
		case accepted.Reason != "IngressClass" || !strings.Contains(accepted.Message, "Traefik"):
			return nil, fmt.Errorf("%s is refused for %s: %s", eh.Spec.Host, accepted.Reason, accepted.Message)
		default:
			decided[eh.Spec.Host] = false
		}
	}
	for _, host := range hosts {
		accepted, known := decided[host]
		if !known {
			return nil, fmt.Errorf("there is no decision about %s", host)
		}
		if accepted {
			published = append(published, host)
		}
	}
	return published, nil
}
