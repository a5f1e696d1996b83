package source

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// The kinds of objects that can be sources, as they stand in a SourceRef.
const (
	KindIngress         = "Ingress"
	KindIngressRoute    = "IngressRoute"
	KindIngressRouteTCP = "IngressRouteTCP"
	KindHTTPRoute       = "HTTPRoute"
	KindGRPCRoute       = "GRPCRoute"
	KindTLSRoute        = "TLSRoute"
)

// Claim is one source's request to publish one host.
type Claim struct {
	// Source is the object that makes the claim.
	Source v1alpha1.SourceRef
	// Created is the object's creationTimestamp: of a host that nobody holds, the
	// oldest claim wins.
	Created time.Time
	// ResourceVersion of the object, and Manager of its annotation (see Manager), at most 128
	// bytes. Either may be empty.
	ResourceVersion, Manager string
	// Host is in routing's canonical form; a leading "*." covers one label.
	Host string
	// Options are the zero value where the annotations cannot be read.
	Options Options
	// TLSOptions are the isolating TLS options of the source's routes; empty if the
	// cluster has no isolation, or if the routes need none.
	TLSOptions string
	// Refusal is why the source's own content refuses the claim; nil if it is sound.
	Refusal *Refusal
	// RefusedPorts are the ports that the source requests and Options.Ports lacks; nil if
	// there are none.
	RefusedPorts *RefusedPorts
}

// RefusedPorts are ports of the edge on which a source is not served although it requests
// them. Only one reason is kept, so that a short annotation takes little memory.
type RefusedPorts struct {
	// Names of the ports, sorted.
	Names []string
	// First is why the first of them is refused.
	First Refusal
}

// equal reports whether two sources, which may be nil, are refused the same ports.
func (r *RefusedPorts) equal(o *RefusedPorts) bool {
	return r == o || r != nil && o != nil && r.First == o.First && slices.Equal(r.Names, o.Names)
}

// Equal reports whether two claims are the same in all that a decision rests on, or that
// an ExposedHost says of them.
func (c Claim) Equal(o Claim) bool {
	sameRefusal := c.Refusal == o.Refusal || c.Refusal != nil && o.Refusal != nil && *c.Refusal == *o.Refusal
	return c.Source == o.Source && c.Manager == o.Manager && c.Created.Equal(o.Created) && c.Host == o.Host && sameRefusal &&
		c.TLSOptions == o.TLSOptions && c.Options.PlainOnly == o.Options.PlainOnly && c.Options.Equal(o.Options) && c.Options.WholeWildcard == o.Options.WholeWildcard &&
		c.Options.ShareBelow == o.Options.ShareBelow && c.Options.DNS == o.Options.DNS && c.Options.Gateway == o.Options.Gateway &&
		c.Options.Share == o.Options.Share && c.Options.Strategy == o.Options.Strategy && ptr.Equal(c.Options.Weight, o.Options.Weight) &&
		slices.Equal(c.Options.Ports, o.Options.Ports) && c.RefusedPorts.equal(o.RefusedPorts)
}

// Options are the settings that a source requests for its hosts.
type Options struct {
	// PlainHTTP is what port 80 does for the host. It is empty if the source is not on
	// the port https, so that there is nothing to redirect to, and does not say.
	PlainHTTP v1alpha1.PlainHTTP
	// AllowFrom are the clients that may connect: masked CIDRs and @ with the names of
	// NetworkLists, sorted and without duplicates; empty allows everyone. Of several
	// sources it may have entries of package allowfrom that combine them.
	AllowFrom []string
	// PlainOnly means that the source is on entry points of plain HTTP only, and that
	// all TLS ports refuse its hosts.
	PlainOnly bool
	// Ports are the names of the edge's TLS ports on which the hosts are served, sorted;
	// empty means https alone. See TLSPorts.
	Ports []string
	// WholeWildcard means that a wildcard also publishes the names under it that only
	// objects without the annotation have.
	WholeWildcard bool
	// ShareBelow means that other clusters may publish names under a wildcard.
	ShareBelow bool
	// Share means that other clusters whose sources share the host too may serve it besides.
	Share bool
	// Strategy chooses among the addresses of the host; empty if the source does not say.
	Strategy v1alpha1.Strategy
	// Weight of the source's cluster among the backends of the host, 0 to
	// v1alpha1.MaxWeight; nil if the source does not say.
	Weight *int32
	// Gateway is the Gateway, as NAMESPACE/NAME, whose own address the host is led to;
	// empty for the ingress of the member.
	Gateway string
	// DNS is what the source says about the DNS records of its hosts.
	DNS DNS
}

// TLSPorts returns the names of the edge's TLS ports on which the hosts are served, sorted.
func (o Options) TLSPorts() []string {
	switch {
	case o.PlainOnly:
		return nil
	case len(o.Ports) == 0:
		return []string{v1alpha1.PortHTTPS}
	}
	return o.Ports
}

// WithTLSPorts returns the options with exactly these ports, which may be in any order.
func (o Options) WithTLSPorts(ports []string) Options {
	o.Ports = slices.Compact(slices.Sorted(slices.Values(ports)))
	o.PlainOnly = len(o.Ports) == 0
	if slices.Equal(o.Ports, []string{v1alpha1.PortHTTPS}) {
		o.Ports = nil
	}
	return o
}

// Equal reports whether two sources request the same settings of those that all sources of
// a host decide together.
func (o Options) Equal(other Options) bool {
	return o.PlainHTTP == other.PlainHTTP && slices.Equal(o.AllowFrom, other.AllowFrom)
}

// Refusal is why something is not published.
type Refusal struct {
	// Reason is a name of package reason.
	Reason string
	// Message is a sentence that names the object and the field, and says what to do.
	Message string
}

// Result holds all claims and refusals of one object.
type Result struct {
	// Claims are sorted by host and have one entry a host.
	Claims []Claim
	// Refusals are those without a usable host.
	Refusals []Refusal
	// More is how many hosts the object requests beyond Context.MaxHosts. Refusals then
	// has an entry that says so.
	More int
}

// Context is the part of an object's cluster that its claims depend on. Its functions
// read from caches: they must neither block nor fail, and return nil for an object that
// does not exist. A nil function stands for a cluster without objects of that kind.
type Context struct {
	// Cluster is the MemberCluster's name.
	Cluster string
	// IngressClasses are the classes whose sources may be published, for routes of the
	// Gateway API the GatewayClasses; empty allows all.
	IngressClasses []string
	// DefaultIngressClass is the IngressClass that is annotated as the cluster's
	// default, or empty. An Ingress without a class belongs to it.
	DefaultIngressClass string
	// Providers are the Kubernetes providers of the member's Traefik; nil if they are not
	// known.
	Providers *v1alpha1.TraefikProviders
	// TraefikClass reports whether an IngressClass exists whose controller is Traefik.
	TraefikClass func(name string) bool
	// MaxHosts is how many hosts one object may claim, the first by name; 0 is no limit.
	MaxHosts int
	// RuleSyntax is the syntax of a Traefik rule whose route does not set one.
	RuleSyntax traefikrule.Syntax
	// WithoutWildcards is the version of the member's Traefik if it is known to be one
	// in which Host(`*.x`) and HostSNI(`*.x`) match no host; else it is empty.
	WithoutWildcards string
	// WildcardsKnown means that the member's Traefik is known to be 3.7 or later, where
	// Host(`*.x`) matches hosts.
	WildcardsKnown bool
	// Isolation is the MemberCluster's spec.isolation; nil for none.
	Isolation *v1alpha1.Isolation
	// HTTPSEntryPoints and HTTPEntryPoints are the entry points of Traefik that TLS
	// connections and plain HTTP from usher come to; empty if they are unknown.
	HTTPSEntryPoints, HTTPEntryPoints []string
	// Ports are the member's TLS ports other than https.
	Ports []Port
	// IngressRoute finds the parents of an IngressRoute.
	IngressRoute func(namespace, name string) *traefik.IngressRoute
	// Gateway finds the parents of the routes of the Gateway API.
	Gateway func(namespace, name string) *gatewayv1.Gateway
	// ListenerSet finds their parents too, of the kinds ListenerSet and XListenerSet.
	ListenerSet func(kind, namespace, name string) *gatewayv1.ListenerSet
	// Gateways tells which Gateways answer at the member's ingress.
	Gateways func() *Gateways
	// OwnGateways means that a host is led to the address of its own Gateway if this
	// does not answer at the member's ingress.
	OwnGateways bool
	// NamespaceLabels finds the labels of a namespace, for Gateway listeners that select
	// namespaces by labels.
	NamespaceLabels func(namespace string) map[string]string
}

// Exposed reports whether an object with these annotations asks to be published:
// the value must be exactly "true".
func Exposed(annotations map[string]string) bool {
	return annotations[v1alpha1.AnnotationExpose] == "true"
}

// Publishes reports whether an object with these annotations asks to publish a host
// that it names.
func Publishes(annotations map[string]string, host string) bool {
	if !Exposed(annotations) {
		return false
	}
	list, given := annotations[v1alpha1.AnnotationHosts]
	return !given || slices.ContainsFunc(splitList(list), func(item string) bool {
		named, err := parseHost(item)
		return err == nil && named == host
	})
}

// solverLabel marks a temporary object that cert-manager creates for an HTTP-01
// challenge. It has its owner's annotations, but must never make a claim.
const solverLabel = "acme.cert-manager.io/http01-solver"

// Solver reports whether an object is a temporary one that cert-manager creates for an
// HTTP-01 challenge.
func Solver(object metav1.Object) bool { return object.GetLabels()[solverLabel] == "true" }

// makesNoClaim reports whether an object makes no claim at all, not even a refused one.
func makesNoClaim(object metav1.Object) bool {
	return !Exposed(object.GetAnnotations()) || Solver(object)
}

// classAnnotation is the older form of an object's ingress class, before the field
// existed.
const classAnnotation = "kubernetes.io/ingress.class"

// classOf returns an object's ingress class: from the field, else from the annotation,
// else "".
func classOf(object metav1.Object, field *string) string {
	if field != nil {
		return *field
	}
	return object.GetAnnotations()[classAnnotation]
}

// publishes reports whether sources of a class may be published; "" is no class.
func (in Context) publishes(class string) bool {
	return len(in.IngressClasses) == 0 || class == "" || slices.Contains(in.IngressClasses, class)
}

func (in Context) ingressRoute(namespace, name string) *traefik.IngressRoute {
	if in.IngressRoute == nil {
		return nil
	}
	return in.IngressRoute(namespace, name)
}

func (in Context) gateway(namespace, name string) *gatewayv1.Gateway {
	if in.Gateway == nil {
		return nil
	}
	return in.Gateway(namespace, name)
}

func (in Context) listenerSet(kind, namespace, name string) *gatewayv1.ListenerSet {
	if in.ListenerSet == nil {
		return nil
	}
	return in.ListenerSet(kind, namespace, name)
}

// gateways returns what is known of the cluster's Gateways.
func (in Context) gateways() *Gateways {
	if in.Gateways == nil {
		return &Gateways{}
	}
	return in.Gateways()
}

func (in Context) namespaceLabels(namespace string) map[string]string {
	if in.NamespaceLabels == nil {
		return nil
	}
	return in.NamespaceLabels(namespace)
}
