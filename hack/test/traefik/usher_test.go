package traefik

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// publishes returns the hosts of the population that usher would publish for an object,
// and the refusals without a host.
func publishes(o client.Object, in source.Context) (published map[string]bool, refusals []source.Refusal) {
	result := read(o, in)
	published = map[string]bool{} // host → true
	for _, claim := range result.Claims {
		if claim.Refusal != nil {
			continue
		}
		for _, host := range population {
			if covers(claim.Host, host) {
				published[host] = true
			}
		}
	}
	return published, result.Refusals
}

// publishesNamed returns the hosts that usher would publish if the annotation of the
// object named the whole population.
func publishesNamed(o client.Object, in source.Context) map[string]bool {
	return publishesAnnotated(o, population, in)
}

// publishesWildcards returns the hosts below the wildcards that usher would publish if
// the annotation named the wildcards of all rules.
func publishesWildcards(o client.Object, in source.Context) map[string]bool {
	return publishesAnnotated(o, []string{"*.x.io", "*.b.x.io", "*.y.io", "*.z.io"}, in)
}

func publishesAnnotated(o client.Object, hosts []string, in source.Context) map[string]bool {
	o = o.DeepCopyObject().(client.Object)
	annotations := o.GetAnnotations()
	annotations[v1alpha1.AnnotationHosts] = strings.Join(hosts, ",")
	o.SetAnnotations(annotations)
	published, _ := publishes(o, in)
	return published
}

func read(o client.Object, in source.Context) source.Result {
	switch t := o.(type) {
	case *networkingv1.Ingress:
		return source.FromIngress(t, in)
	case *traefik.IngressRoute:
		return source.FromIngressRoute(t, in)
	case *traefik.IngressRouteTCP:
		return source.FromIngressRouteTCP(t, in)
	}
	panic("no such kind")
}

// covers reports whether a published host is the host, or the wildcard one label above it.
func covers(published, host string) bool {
	parent, wildcard := strings.CutPrefix(published, "*.")
	if !wildcard {
		return published == host
	}
	_, rest, _ := strings.Cut(host, ".")
	return rest == parent
}
