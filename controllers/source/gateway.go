package source

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
)

// FromHTTPRoute reads a Gateway API HTTPRoute. Without hostnames it has those of
// the listeners that it is attached to.
func FromHTTPRoute(route *gatewayv1.HTTPRoute, in Context) Result {
	return fromGatewayRoute(route, gatewayRoute{
		kind:      KindHTTPRoute,
		hostnames: route.Spec.Hostnames,
		parents:   route.Spec.ParentRefs,
		status:    route.Status.Parents,
		protocols: httpProtocols,
		mark:      TLSOfHTTPRoute(route, in),
	}, in)
}

// FromGRPCRoute reads a Gateway API GRPCRoute, as FromHTTPRoute.
func FromGRPCRoute(route *gatewayv1.GRPCRoute, in Context) Result {
	return fromGatewayRoute(route, gatewayRoute{
		kind:      KindGRPCRoute,
		hostnames: route.Spec.Hostnames,
		parents:   route.Spec.ParentRefs,
		status:    route.Status.Parents,
		protocols: httpProtocols,
		mark:      TLSOfGRPCRoute(route, in),
	}, in)
}

// FromTLSRoute reads a Gateway API TLSRoute.
func FromTLSRoute(route *gatewayv1.TLSRoute, in Context) Result {
	return fromGatewayRoute(route, gatewayRoute{
		kind:      KindTLSRoute,
		hostnames: route.Spec.Hostnames,
		parents:   route.Spec.ParentRefs,
		status:    route.Status.Parents,
		protocols: []gatewayv1.ProtocolType{gatewayv1.TLSProtocolType},
		mark:      TLSOfTLSRoute(route, in),
	}, in)
}

// httpProtocols are those of the listeners that HTTPRoutes and GRPCRoutes can be attached to.
var httpProtocols = []gatewayv1.ProtocolType{gatewayv1.HTTPProtocolType, gatewayv1.HTTPSProtocolType}

// fromGatewayRoute reads a route of the Gateway API.
func fromGatewayRoute(object metav1.Object, route gatewayRoute, in Context) Result {
	if makesNoClaim(object) {
		return Result{}
	}
	route.namespace = object.GetNamespace()
	p := newPublication(route.kind, object, "", "", in)
	p.checkPorts("spec.parentRefs", nil)
	p.checkIsolation(route.mark, "spec", "Traefik's Gateway API provider cannot set TLS options: publish the host by an IngressRoute or an Ingress")
	return p.publish(p.routeHosts(route, in))
}

// gatewayRoute is what the routes of the Gateway API have in common.
type gatewayRoute struct {
	kind      string
	namespace string
	hostnames []gatewayv1.Hostname
	parents   []gatewayv1.ParentReference
	status    []gatewayv1.RouteParentStatus
	// protocols are those of the listeners that the kind can be attached to.
	protocols []gatewayv1.ProtocolType
	mark      TLSMark
}

// routeHosts returns a route's hostnames that listeners of Gateways serve, if the
// Gateways have accepted the route.
//
// A wildcard of the Gateway API covers any number of labels, and a wildcard of usher
// covers one. Therefore "*.example.org" publishes the names of one label, and deeper
// names only if the hosts annotation lists them.
func (p *publication) routeHosts(route gatewayRoute, in Context) []routeHosts {
	const field = "spec.hostnames"
	own := hostnames{list: hostnameStrings(route.hostnames), deep: true}
	attached := route.listeners(in)
	p.request.options.Gateway = attached.own
	if len(attached.tls) == 0 {
		p.refuseDetached(route, attached)
		return []routeHosts{{field: field, hosts: own}}
	}
	hosts := hostnames{deep: true}
	for _, listener := range attached.tls {
		common, ok := intersect(own.list, listener.Hostname)
		if ok && len(common) == 0 {
			return []routeHosts{{field: field, hosts: hostnames{}}}
		}
		hosts.list = append(hosts.list, common...)
	}
	if len(hosts.list) == 0 {
		p.refuseElsewhere(attached)
		p.refuseObject(reason.ParentNotAccepted, field, "no listener of the Gateways has a hostname in common with %s; correct the hostnames", own)
		return []routeHosts{{field: field, hosts: own}}
	}
	return []routeHosts{{field: field, hosts: hosts}}
}

// refuseDetached refuses a route that no TLS listener of an allowed Gateway accepts.
func (p *publication) refuseDetached(route gatewayRoute, attached attachment) {
	const field = "spec.parentRefs"
	p.refuseElsewhere(attached)
	switch {
	case attached.plain:
		p.refuseObject(reason.TLSMissing, field, "the listeners that accept the %s have no TLS; attach it to a listener of protocol HTTPS", route.kind)
	case attached.otherClass != "":
		p.refuseObject(reason.IngressClass, field, "its Gateway has class %s; add it to the MemberCluster's spec.ingressClasses, or use another Gateway", attached.otherClass)
	case attached.unread != "":
		p.refuseObject(reason.ParentNotAccepted, field, "%s", attached.unread)
	default:
		p.refuseObject(reason.ParentNotAccepted, field, "no listener of a Gateway has accepted the %s; see its status.parents", route.kind)
	}
}

// refuseElsewhere refuses a route whose Gateway is not known to answer at the member's
// ingress, if that is why listeners of the route do not count.
func (p *publication) refuseElsewhere(attached attachment) {
	if attached.elsewhere != "" {
		p.refuseObject(reason.GatewayElsewhere, "spec.parentRefs", "%s; if the Gateway answers at the ingress, add its GatewayClass to the MemberCluster's spec.ingressClasses; to lead the host to the Gateway's own address, set spec.ingress.gateways: true", attached.elsewhere)
	}
}

func hostnameStrings(names []gatewayv1.Hostname) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = string(name)
	}
	return list
}

// intersect returns the hosts that hostnames of a route and of a listener have in common;
// false if there are none. An empty list means every host.
func intersect(route []string, listener *gatewayv1.Hostname) ([]string, bool) {
	served := string(ptr.Deref(listener, ""))
	switch {
	case served == "":
		return route, true
	case len(route) == 0:
		return []string{served}, true
	}
	var common []string
	for _, host := range route {
		if both := narrower(host, served); both != "" {
			common = append(common, both)
		}
	}
	return common, len(common) > 0
}

// narrower returns the one of two hostnames that the other covers, or "".
func narrower(a, b string) string {
	switch {
	case covers(b, a, true):
		return a
	case covers(a, b, true):
		return b
	}
	return ""
}

// attachment is what a route is attached to.
type attachment struct {
	tls        []gatewayv1.Listener // TLS listeners of Gateways that may publish
	own        string               // the Gateway of tls that the hosts are led to, as NAMESPACE/NAME; empty: the member's ingress
	plain      bool                 // there is a listener for plain HTTP
	otherClass string               // class of a Gateway that may not publish
	elsewhere  string               // why a Gateway with a TLS listener for the route may not publish
	unread     string               // why a parent is not known
}

// listeners returns what the route is attached to. A listener of a Gateway at the
// member's ingress takes precedence over one that is led to its own address.
func (r gatewayRoute) listeners(in Context) attachment {
	var attached attachment
	for _, ref := range r.parents {
		controllers := r.acceptedBy(ref)
		if len(controllers) == 0 {
			continue
		}
		gateway, from, listeners := r.parent(ref, in, &attached)
		if gateway == nil {
			continue
		}
		if class := string(gateway.Spec.GatewayClassName); !in.publishes(class) {
			attached.otherClass = class
			continue
		}
		var tls []gatewayv1.Listener
		for _, listener := range listeners {
			switch {
			case !r.fits(ref, listener) || !r.allowed(from, listener.AllowedRoutes, in):
			case listener.Protocol == gatewayv1.HTTPProtocolType:
				attached.plain = true
			default:
				tls = append(tls, listener)
			}
		}
		if len(tls) > 0 {
			attached.add(gateway, tls, in.leadTo(gateway, controllers))
		}
	}
	return attached
}

// add adds TLS listeners of a Gateway.
func (a *attachment) add(gateway *gatewayv1.Gateway, tls []gatewayv1.Listener, to destination) {
	own := ""
	if to.own {
		own = nameOfGateway(gateway)
	}
	switch {
	case to.refusal != "":
		a.elsewhere = cmp.Or(a.elsewhere, to.refusal)
	case len(a.tls) == 0, a.own != "" && own == "":
		a.tls, a.own = tls, own
	case a.own == own:
		a.tls = append(a.tls, tls...)
	}
}

// parent returns the Gateway of a reference, the namespace and the listeners of the
// referred object, which may be a ListenerSet of the Gateway. It returns nil if one of
// them is not known, and notes that for a ListenerSet.
func (r gatewayRoute) parent(ref gatewayv1.ParentReference, in Context, attached *attachment) (gateway *gatewayv1.Gateway, namespace string, listeners []gatewayv1.Listener) {
	namespace = r.parentNamespace(ref)
	kind, isSet := listenerSetKind(ref)
	if !isSet {
		if gateway = in.gateway(namespace, string(ref.Name)); gateway != nil {
			listeners = gateway.Spec.Listeners
		}
		return gateway, namespace, listeners
	}
	set := in.listenerSet(kind, namespace, string(ref.Name))
	switch {
	case set == nil:
		attached.unread = message.Format("the %s %s/%s does not exist, or usher does not read it: see the Synced condition of MemberCluster %s", kind, namespace, ref.Name, in.Cluster)
		return nil, namespace, nil
	case meta.IsStatusConditionFalse(set.Status.Conditions, string(gatewayv1.ListenerSetConditionAccepted)):
		attached.unread = message.Format("the %s %s/%s is not accepted by its Gateway; see its status.conditions", kind, namespace, ref.Name)
		return nil, namespace, nil
	}
	for _, l := range set.Spec.Listeners {
		listeners = append(listeners, gatewayv1.Listener{Name: l.Name, Hostname: l.Hostname, Port: l.Port, Protocol: l.Protocol, AllowedRoutes: l.AllowedRoutes})
	}
	of := set.Spec.ParentRef
	if ptr.Deref(of.Group, gatewayv1.GroupName) != gatewayv1.GroupName || ptr.Deref(of.Kind, kindGateway) != kindGateway {
		return nil, namespace, nil
	}
	return in.gateway(string(ptr.Deref(of.Namespace, gatewayv1.Namespace(namespace))), string(of.Name)), namespace, listeners
}

func (r gatewayRoute) parentNamespace(ref gatewayv1.ParentReference) string {
	return string(ptr.Deref(ref.Namespace, gatewayv1.Namespace(r.namespace)))
}

// The kinds of parents of routes.
const (
	kindGateway      = "Gateway"
	KindListenerSet  = "ListenerSet"
	KindXListenerSet = "XListenerSet" // of the experimental channel
)

// experimentalGroup is the API group of XListenerSets.
const experimentalGroup = "gateway.networking.x-k8s.io"

func isGateway(ref gatewayv1.ParentReference) bool {
	return ptr.Deref(ref.Group, gatewayv1.GroupName) == gatewayv1.GroupName && ptr.Deref(ref.Kind, kindGateway) == kindGateway
}

// listenerSetKind returns the kind of a reference to a ListenerSet; false for another kind.
func listenerSetKind(ref gatewayv1.ParentReference) (string, bool) {
	kind := string(ptr.Deref(ref.Kind, kindGateway))
	switch ptr.Deref(ref.Group, gatewayv1.GroupName) {
	case gatewayv1.GroupName:
		return kind, kind == KindListenerSet
	case experimentalGroup:
		return kind, kind == KindXListenerSet
	}
	return "", false
}

// acceptedBy returns the names of the controllers that have accepted the route for a
// parent; none if no controller has.
// The status may be of an earlier generation: a change must not withdraw a host
// until the controller has seen it.
func (r gatewayRoute) acceptedBy(ref gatewayv1.ParentReference) []string {
	if _, isSet := listenerSetKind(ref); !isSet && !isGateway(ref) {
		return nil
	}
	var controllers []string
	for _, parent := range r.status {
		if r.sameParent(parent.ParentRef, ref) && meta.IsStatusConditionTrue(parent.Conditions, string(gatewayv1.RouteConditionAccepted)) {
			controllers = append(controllers, string(parent.ControllerName))
		}
	}
	return controllers
}

func (r gatewayRoute) sameParent(a, b gatewayv1.ParentReference) bool {
	return ptr.Deref(a.Group, gatewayv1.GroupName) == ptr.Deref(b.Group, gatewayv1.GroupName) &&
		ptr.Deref(a.Kind, kindGateway) == ptr.Deref(b.Kind, kindGateway) &&
		a.Name == b.Name && r.parentNamespace(a) == r.parentNamespace(b) &&
		ptr.Equal(a.SectionName, b.SectionName) && ptr.Equal(a.Port, b.Port)
}

// fits reports whether a reference means a listener, and the listener has a protocol
// for the route.
func (r gatewayRoute) fits(ref gatewayv1.ParentReference, listener gatewayv1.Listener) bool {
	return (ref.SectionName == nil || *ref.SectionName == listener.Name) &&
		(ref.Port == nil || *ref.Port == listener.Port) &&
		slices.Contains(r.protocols, listener.Protocol)
}

// allowed reports whether a listener takes routes of this kind and namespace. A Gateway
// accepts a route if one of its listeners takes it, so that each must be checked.
func (r gatewayRoute) allowed(gateway string, rule *gatewayv1.AllowedRoutes, in Context) bool {
	if rule == nil {
		return r.namespace == gateway
	}
	kind := func(k gatewayv1.RouteGroupKind) bool {
		return ptr.Deref(k.Group, gatewayv1.GroupName) == gatewayv1.GroupName && string(k.Kind) == r.kind
	}
	if len(rule.Kinds) > 0 && !slices.ContainsFunc(rule.Kinds, kind) {
		return false
	}
	namespaces := ptr.Deref(rule.Namespaces, gatewayv1.RouteNamespaces{})
	switch ptr.Deref(namespaces.From, gatewayv1.NamespacesFromSame) {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return r.namespace == gateway
	case gatewayv1.NamespacesFromSelector:
		return selects(namespaces.Selector, in.namespaceLabels(r.namespace))
	default:
		return false
	}
}

// selects reports whether a selector matches a namespace's labels. It is false for a
// missing or malformed selector, and for an unknown namespace.
func selects(selector *metav1.LabelSelector, of map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && of != nil && s.Matches(labels.Set(of))
}
