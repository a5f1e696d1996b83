package source

import (
	"cmp"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// Names are the hosts that an object names, annotated or not. usher compares them
// with the published hosts of the same cluster.
type Names struct {
	// Hosts are the hosts that it names, sorted, in lower case and without duplicates. A
	// leading "*." covers at least one label.
	Hosts []string
	// Open means that it may serve hosts that it does not name: any host, or if it has
	// parents, any host of theirs.
	Open bool
	// Within are its parent IngressRoutes: it serves only hosts that they serve.
	Within []types.NamespacedName
}

// NamesOfIngress returns the names of an Ingress.
func NamesOfIngress(ingress *networkingv1.Ingress) Names {
	n := Names{Open: len(ingress.Spec.Rules) == 0 && ingress.Spec.DefaultBackend != nil}
	for _, rule := range ingress.Spec.Rules {
		n.add(rule.Host)
	}
	return n.sorted()
}

// NamesOfIngressRoute returns the names of a Traefik IngressRoute.
func NamesOfIngressRoute(route *traefik.IngressRoute) Names {
	var n Names
	for _, r := range route.Spec.Routes {
		n.addRule(r.Match, r.Syntax, traefikrule.NamesHTTP)
	}
	for _, ref := range route.Spec.ParentRefs {
		n.Within = append(n.Within, types.NamespacedName{Namespace: cmp.Or(ref.Namespace, route.Namespace), Name: ref.Name})
	}
	return n.sorted()
}

// NamesOfIngressRouteTCP returns the names of a Traefik IngressRouteTCP. Without TLS there
// are none, since it gets no TLS connection.
func NamesOfIngressRouteTCP(route *traefik.IngressRouteTCP) Names {
	var n Names
	if route.Spec.TLS == nil {
		return n
	}
	for _, r := range route.Spec.Routes {
		n.addRule(r.Match, r.Syntax, traefikrule.NamesTCP)
	}
	return n.sorted()
}

// NamesOfHTTPRoute returns the names of an HTTPRoute. Without hostnames it serves those
// of its listeners.
func NamesOfHTTPRoute(route *gatewayv1.HTTPRoute) Names {
	return namesOfHostnames(route.Spec.Hostnames)
}

// NamesOfGRPCRoute returns the names of a GRPCRoute, as NamesOfHTTPRoute.
func NamesOfGRPCRoute(route *gatewayv1.GRPCRoute) Names {
	return namesOfHostnames(route.Spec.Hostnames)
}

// NamesOfTLSRoute returns the names of a TLSRoute.
func NamesOfTLSRoute(route *gatewayv1.TLSRoute) Names { return namesOfHostnames(route.Spec.Hostnames) }

func namesOfHostnames(hostnames []gatewayv1.Hostname) Names {
	n := Names{Open: len(hostnames) == 0}
	for _, host := range hostnames {
		n.add(string(host))
	}
	return n.sorted()
}

// add adds a host in the spelling of an object. An empty host means every host.
func (n *Names) add(host string) {
	if host == "" {
		n.Open = true
		return
	}
	n.Hosts = append(n.Hosts, strings.TrimSuffix(strings.ToLower(host), "."))
}

// addRule adds the names of a rule. A rule that usher cannot read may serve any host,
// since Traefik might accept it.
func (n *Names) addRule(rule, syntax string, names func(string, traefikrule.Syntax) ([]string, bool, error)) {
	parsed, err := traefikrule.ParseSyntax(syntax)
	if err != nil {
		n.Open = true
		return
	}
	hosts, all, err := names(rule, parsed)
	n.Hosts = append(n.Hosts, hosts...)
	n.Open = n.Open || !all || err != nil
}

// Anywhere reports whether the object may serve hosts that neither it nor a parent names.
func (n *Names) Anywhere() bool { return n.Open && len(n.Within) == 0 }

func (n *Names) sorted() Names {
	slices.Sort(n.Hosts)
	n.Hosts = slices.Compact(n.Hosts)
	return *n
}
