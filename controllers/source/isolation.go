package source

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// Traefik's annotations of an Ingress that usher reads. Any annotation whose name
// starts with AnnotationRouterTLS gives the Ingress's routers a TLS section.
const (
	AnnotationRouterTLS         = "traefik.ingress.kubernetes.io/router.tls"
	annotationRouterTLSOptions  = AnnotationRouterTLS + ".options"
	AnnotationRouterEntryPoints = "traefik.ingress.kubernetes.io/router.entrypoints"
)

// plainEntryPoint and tlsEntryPoint are the entry points of plain HTTP and of TLS in
// Traefik's chart and in K3s.
const (
	plainEntryPoint = "web"
	tlsEntryPoint   = "websecure"
)

// TLSMark says which TLS options Traefik uses for connections to an object's hosts.
type TLSMark struct {
	// Options are the isolating TLS options, as NAMESPACE-NAME; empty if Traefik uses
	// other ones.
	Options string
	// Stream means that a TLS connection goes to the object's own service as a stream,
	// and no HTTP router of Traefik sees its requests.
	Stream bool
	// Partial means that the object's own service takes some of the TLS connections to
	// its hosts. Traefik gives the rest to its HTTP routers, with the TLS options that
	// other objects set.
	Partial bool
	// Plain means that the object takes no TLS connections from usher.
	Plain bool
}

// Isolated reports whether a client that connects with the name of one of the object's
// hosts reaches no other host.
func (m TLSMark) Isolated() bool { return m.Stream || m.Options != "" }

// Keeps reports whether the object leaves the TLS options of its hosts as other
// objects set them.
func (m TLSMark) Keeps(options string) bool {
	return m.Stream || m.Partial || m.Plain || m.Options == options
}

// Sharing is an object that uses the same TLS options as another one: a client of one
// of its hosts reaches the hosts of the other.
type Sharing struct {
	// Source is the object, and Host one of its hosts.
	Source v1alpha1.SourceRef
	Host   string
	// AllowFrom are the clients that it allows; empty allows everyone.
	AllowFrom []string
}

// routerTLS is what an object says about the TLS of its routers.
type routerTLS struct {
	namespace   string
	entryPoints []string // empty: Traefik's default entry points
	section     bool     // the object has a TLS section: the one of the entry point does not apply
	options     string   // reference to a TLSOption as NAMESPACE-NAME; empty: Traefik's default
}

// mark applies a cluster's isolation to the TLS of an object's routers.
func (t routerTLS) mark(in Context) TLSMark {
	switch isolation := in.Isolation; {
	case isolation == nil:
		return TLSMark{}
	case in.plainOnly(t):
		return TLSMark{Plain: true}
	case t.section && isolates(isolation.TLSOptions, t.options, t.namespace):
		return TLSMark{Options: t.options}
	case !t.section && within(t.entryPoints, isolation.EntryPoints):
		return TLSMark{Options: optionsName(isolation.TLSOptions.Namespace, isolation.TLSOptions.Name)}
	}
	return TLSMark{}
}

// plainOnly reports whether routers take no TLS connections that usher could forward:
// they are on other entry points only. If the cluster's entry points are unknown, a
// router without a TLS section on the entry point web is one of these.
func (in Context) plainOnly(t routerTLS) bool {
	if len(t.entryPoints) == 0 {
		return false
	}
	if served, known := in.tlsEntryPoints(); known {
		return !common(t.entryPoints, served)
	}
	return !t.section && within(t.entryPoints, []string{plainEntryPoint})
}

// tlsEntryPoints returns the entry points of Traefik that TLS connections from usher come
// to, on any port; false if those of one port are unknown.
func (in Context) tlsEntryPoints() (served []string, known bool) {
	served, known = slices.Clone(in.HTTPSEntryPoints), len(in.HTTPSEntryPoints) > 0
	for _, port := range in.Ports {
		served, known = append(served, port.EntryPoints...), known && len(port.EntryPoints) > 0
	}
	return served, known
}

// within reports whether a list is not empty and all its names are in another.
func within(names, all []string) bool {
	return len(names) > 0 && !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(all, name) })
}

// isolates reports whether TLS options are the isolating ones, or extend their name by
// a hyphen and a suffix. A route may also use a TLSOption of this name in its own
// namespace: by default Traefik refuses references to another namespace.
func isolates(ref v1alpha1.TLSOptionsRef, options, namespace string) bool {
	for _, of := range []string{ref.Namespace, namespace} {
		base := optionsName(of, ref.Name)
		if options == base || strings.HasPrefix(options, base+"-") {
			return true
		}
	}
	return false
}

// optionsName returns the name that Traefik's CRD provider gives a TLSOption: two
// TLSOptions with the same name are the same for Traefik (pkg/provider/kubernetes/crd,
// makeID).
func optionsName(namespace, name string) string {
	words := strings.FieldsFunc(namespace+"-"+name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) })
	return strings.Join(words, "-")
}

// crdProvider is the suffix of references to TLSOptions by Traefik's own name.
const crdProvider = "@kubernetescrd"

// referredOptions resolves a reference of an IngressRoute to a TLSOption as Traefik does.
func referredOptions(ref *traefik.TLSOptionRef, namespace string) string {
	if ref == nil || ref.Name == "" {
		return ""
	}
	if strings.Contains(ref.Name, "@") {
		return qualifiedOptions(ref.Name)
	}
	return optionsName(cmp.Or(ref.Namespace, namespace), ref.Name)
}

// qualifiedOptions returns the TLSOption of a reference NAMESPACE-NAME@kubernetescrd;
// empty for options of another provider.
func qualifiedOptions(reference string) string {
	name, ok := strings.CutSuffix(reference, crdProvider)
	if !ok {
		return ""
	}
	return name
}

// TLSOfIngress returns how Traefik ends TLS for an Ingress. Its spec.tls only names
// certificates.
func TLSOfIngress(ingress *networkingv1.Ingress, in Context) TLSMark {
	return tlsOfIngress(ingress).mark(in)
}

func tlsOfIngress(ingress *networkingv1.Ingress) routerTLS {
	t := routerTLS{namespace: ingress.Namespace, entryPoints: entryPointsOfIngress(ingress)}
	for name, value := range ingress.Annotations {
		if strings.HasPrefix(name, AnnotationRouterTLS) {
			t.section = true
		}
		if name == annotationRouterTLSOptions {
			t.options = qualifiedOptions(value)
		}
	}
	return t
}

func entryPointsOfIngress(ingress *networkingv1.Ingress) []string {
	return strings.FieldsFunc(ingress.Annotations[AnnotationRouterEntryPoints], func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}

// TLSOfIngressRoute returns how Traefik ends TLS for an IngressRoute. TLS of a route
// with parents is that of the routes at the top.
func TLSOfIngressRoute(route *traefik.IngressRoute, in Context) TLSMark {
	var mark TLSMark
	for i, root := range in.roots(route) {
		t := routerTLS{namespace: root.Namespace, entryPoints: root.Spec.EntryPoints, section: root.Spec.TLS != nil}
		if t.section {
			t.options = referredOptions(root.Spec.TLS.Options, root.Namespace)
		}
		switch of := t.mark(in); {
		case i == 0:
			mark = of
		case mark != of:
			return TLSMark{}
		}
	}
	return mark
}

// namedByIngressRoute returns the hosts for which Traefik uses the TLS options of an
// IngressRoute: those that the routes at the top name.
func (in Context) namedByIngressRoute(route *traefik.IngressRoute) []string {
	named := []string{}
	for _, root := range in.roots(route) {
		for _, r := range root.Spec.Routes {
			named = append(named, traefikrule.Domains(r.Match)...)
		}
	}
	return named
}

// maxAncestors bounds the IngressRoutes above one, its own parents and theirs.
const maxAncestors = 100

// roots returns the IngressRoutes at the top of the parents of one, which is the only
// one if it has no parents. It returns none if there are too many above it.
func (in Context) roots(route *traefik.IngressRoute) []*traefik.IngressRoute {
	var roots []*traefik.IngressRoute
	level, seen := []*traefik.IngressRoute{route}, map[types.NamespacedName]bool{}
	for len(level) > 0 {
		r := level[0]
		level = level[1:]
		if len(r.Spec.ParentRefs) == 0 {
			roots = append(roots, r)
		}
		for _, ref := range r.Spec.ParentRefs {
			name := types.NamespacedName{Namespace: cmp.Or(ref.Namespace, r.Namespace), Name: ref.Name}
			parent := in.ingressRoute(name.Namespace, name.Name)
			if parent == nil || seen[name] {
				continue
			}
			if seen[name] = true; len(seen) > maxAncestors {
				return nil
			}
			level = append(level, parent)
		}
	}
	return roots
}

// TLSOfIngressRouteTCP returns how Traefik ends TLS for an IngressRouteTCP.
func TLSOfIngressRouteTCP(route *traefik.IngressRouteTCP, in Context) TLSMark {
	switch {
	case route.Spec.TLS == nil:
		return TLSMark{Plain: true}
	case !in.takesAll(route):
		return TLSMark{Partial: true}
	case route.Spec.TLS.Passthrough:
		return TLSMark{Stream: true}
	}
	return routerTLS{
		namespace: route.Namespace, entryPoints: route.Spec.EntryPoints, section: true,
		options: referredOptions(route.Spec.TLS.Options, route.Namespace),
	}.mark(in)
}

// takesAll reports whether an IngressRouteTCP takes each connection that usher leads to
// its hosts: its rules are about host names alone, and the entry points that it names are
// known to be the member's, or can be checked. If those of the member are unknown, websecure
// is taken for the one of TLS.
func (in Context) takesAll(route *traefik.IngressRouteTCP) bool {
	served, _ := in.tlsEntryPoints()
	if len(in.HTTPSEntryPoints) == 0 && len(route.Spec.EntryPoints) > 0 && !within(route.Spec.EntryPoints, append(served, tlsEntryPoint)) {
		return false
	}
	return !slices.ContainsFunc(route.Spec.Routes, func(r traefik.RouteTCP) bool { return !traefikrule.HostsAlone(r.Match) })
}

// TLSOfHTTPRoute returns Traefik's default TLS options: its Gateway API provider
// cannot set others.
func TLSOfHTTPRoute(*gatewayv1.HTTPRoute, Context) TLSMark { return TLSMark{} }

// TLSOfGRPCRoute returns Traefik's default TLS options, as TLSOfHTTPRoute.
func TLSOfGRPCRoute(*gatewayv1.GRPCRoute, Context) TLSMark { return TLSMark{} }

// TLSOfTLSRoute returns a stream: a TLSRoute forwards each connection to its own
// service, whether Traefik ends TLS or not.
func TLSOfTLSRoute(*gatewayv1.TLSRoute, Context) TLSMark { return TLSMark{Stream: true} }

// RouterHosts returns the hosts of the routers of an IngressRoute that name a host.
// Traefik chooses TLS options for a router as a whole: where they conflict for one
// host of a router, it uses its default options for all of them. It subtracts the bytes
// of the rules that it reads from fuel, and returns false if there is not enough.
func RouterHosts(route *traefik.IngressRoute, host string, fuel *int) (hosts []string, ok bool) {
	for _, r := range route.Spec.Routes {
		if *fuel -= len(r.Match); *fuel < 0 {
			return nil, false
		}
		if domains := traefikrule.Domains(r.Match); slices.Contains(domains, host) {
			hosts = append(hosts, domains...)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), true
}

// checkIsolation refuses an object whose routes do not use the TLS options that the
// cluster's isolation asks for.
func (p *publication) checkIsolation(mark TLSMark, field, cure string) {
	p.mark = mark
	if p.in.Isolation == nil || mark.Isolated() || p.request.options.PlainOnly {
		return
	}
	ref := p.in.Isolation.TLSOptions
	p.refuseObject(reason.NotIsolated, field, "cluster %s publishes only routes with the TLSOption %s/%s, so that a client of a published host reaches no other one of its Traefik; %s",
		p.in.Cluster, ref.Namespace, ref.Name, cure)
}

// notNamed returns why a host is refused that no rule names: Traefik chooses TLS
// options by the names in Host(), and uses its default options for other hosts.
func (p *publication) notNamed(host string) *Refusal {
	names := func(pattern string) bool { return covers(pattern, host, false) }
	if p.mark.Options == "" || p.named == nil || slices.ContainsFunc(p.named, names) {
		return nil
	}
	if p.source.Kind == KindIngress {
		return p.refuse(reason.NotIsolated, "spec.rules", "no rule names %s for which Traefik uses the TLS options of the Ingress: a rule without a host has Traefik's default options, and so has a wildcard, unless this is known to be Traefik 3.7 or later; name the host in a rule of its own", host)
	}
	field := "spec.routes"
	if p.source.Kind == v1alpha1.KindTraefikRouter {
		field = fieldRule
	}
	return p.refuse(reason.NotIsolated, field, "no rule names %s in Host(), so Traefik uses its default TLS options for it and not those of the route; add Host(`%s`) to the rule", host, host)
}

// namedByIngress returns the hosts for which Traefik uses the TLS options of an Ingress.
// Before 3.7, and with the syntax v2, a wildcard becomes a HostRegexp.
func (in Context) namedByIngress(ingress *networkingv1.Ingress) []string {
	wildcards := in.RuleSyntax == traefikrule.V3 && in.WildcardsKnown
	named := []string{}
	for _, rule := range ingress.Spec.Rules {
		if rule.Host != "" && (wildcards || !strings.HasPrefix(rule.Host, "*")) {
			named = append(named, rule.Host)
		}
	}
	return named
}
