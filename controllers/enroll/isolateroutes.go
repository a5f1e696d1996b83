package enroll

import (
	"context"
	"math"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// A route is an object of a member that names hosts.
type route struct {
	object    client.Object
	annotated bool
	hosts     []string // that it names, or if it is annotated claims
	beside    func(host string) []string
	allowFrom []string // if it is annotated
	mark      source.TLSMark
	fixed     string // why its TLS options cannot be set on the object itself; "" if they can
}

// String names the object as a person would.
func (r *route) String() string { return describe(r.object) }

// routes reads all routes of a member.
func (c *Cluster) routes(ctx context.Context, in source.Context) ([]*route, error) {
	objects, err := c.routeObjects(ctx)
	if err != nil {
		return nil, err
	}
	in.IngressRoute = parentsAmong(objects)
	var routes []*route
	for _, o := range objects {
		if source.Solver(o) {
			continue
		}
		routes = append(routes, readRoute(o, in))
	}
	return routes, nil
}

// routeObjects lists the objects of all kinds that the member serves. Of two with one
// name in both of Traefik's groups, Traefik takes the one of traefik.io.
func (c *Cluster) routeObjects(ctx context.Context) ([]client.Object, error) {
	var objects []client.Object
	seen := map[string]bool{} // description → true
	for _, list := range []client.ObjectList{
		&networkingv1.IngressList{},
		&traefik.IngressRouteList{}, &traefik.IngressRouteTCPList{},
		&traefik.ContainousIngressRouteList{}, &traefik.ContainousIngressRouteTCPList{},
		&gatewayv1.HTTPRouteList{}, &gatewayv1.GRPCRouteList{},
	} {
		err := c.client.List(ctx, list)
		if meta.IsNoMatchError(err) {
			continue
		}
		if err == nil {
			err = meta.EachListItem(list, func(item runtime.Object) error {
				o := item.(client.Object)
				gvk, err := c.client.GroupVersionKindFor(o)
				o.GetObjectKind().SetGroupVersionKind(gvk)
				if name := describe(o); !seen[name] {
					seen[name] = true
					objects = append(objects, o)
				}
				return err
			})
		}
		if err != nil {
			return nil, c.failed("list the routes", err)
		}
	}
	return objects, nil
}

// parentsAmong finds the parents of IngressRoutes.
func parentsAmong(objects []client.Object) func(namespace, name string) *traefik.IngressRoute {
	found := map[types.NamespacedName]*traefik.IngressRoute{}
	for _, o := range objects {
		if r := ingressRoute(o); r != nil {
			found[client.ObjectKeyFromObject(o)] = r
		}
	}
	return func(namespace, name string) *traefik.IngressRoute {
		return found[types.NamespacedName{Namespace: namespace, Name: name}]
	}
}

// ingressRoute is an object as an IngressRoute of either group; nil if it is another kind.
func ingressRoute(o client.Object) *traefik.IngressRoute {
	switch t := o.(type) {
	case *traefik.IngressRoute:
		return t
	case *traefik.ContainousIngressRoute:
		return &t.IngressRoute
	}
	return nil
}

func ingressRouteTCP(o client.Object) *traefik.IngressRouteTCP {
	switch t := o.(type) {
	case *traefik.IngressRouteTCP:
		return t
	case *traefik.ContainousIngressRouteTCP:
		return &t.IngressRouteTCP
	}
	return nil
}

// fixedByGateway is why the TLS options of a route of the Gateway API cannot be set.
const fixedByGateway = "Traefik's Gateway API provider cannot set TLS options: publish the host by an IngressRoute or an Ingress"

// readRoute reads an object as the controllers do.
func readRoute(o client.Object, in source.Context) *route {
	r := &route{object: o, annotated: source.Exposed(o.GetAnnotations()), beside: func(string) []string { return nil }}
	var result source.Result
	switch t := o.(type) {
	case *networkingv1.Ingress:
		r.hosts, r.mark, result = source.NamesOfIngress(t).Hosts, source.TLSOfIngress(t, in), source.FromIngress(t, in)
	case *gatewayv1.HTTPRoute:
		r.hosts, r.mark, result = source.NamesOfHTTPRoute(t).Hosts, source.TLSOfHTTPRoute(t, in), source.FromHTTPRoute(t, in)
		r.fixed = fixedByGateway
	case *gatewayv1.GRPCRoute:
		r.hosts, r.mark, result = source.NamesOfGRPCRoute(t).Hosts, source.TLSOfGRPCRoute(t, in), source.FromGRPCRoute(t, in)
		r.fixed = fixedByGateway
	default:
		result = r.readTraefik(in)
	}
	for _, claim := range result.Claims {
		r.hosts = append(r.hosts, claim.Host)
		r.allowFrom = claim.Options.AllowFrom
	}
	slices.Sort(r.hosts)
	r.hosts = slices.Compact(r.hosts)
	return r
}

func (r *route) readTraefik(in source.Context) source.Result {
	if t := ingressRouteTCP(r.object); t != nil {
		r.hosts, r.mark = source.NamesOfIngressRouteTCP(t).Hosts, source.TLSOfIngressRouteTCP(t, in)
		return source.FromIngressRouteTCP(t, in)
	}
	t := ingressRoute(r.object)
	r.hosts, r.mark = source.NamesOfIngressRoute(t).Hosts, source.TLSOfIngressRoute(t, in)
	r.beside = func(host string) []string {
		fuel := math.MaxInt // a person's own command waits for it
		hosts, _ := source.RouterHosts(t, host, &fuel)
		return hosts
	}
	if len(t.Spec.ParentRefs) > 0 {
		r.fixed = "its TLS options are those of its parent IngressRoute"
	}
	return source.FromIngressRoute(t, in)
}

// needsOptions reports whether Traefik ends TLS for the route's connections from the edge.
func (r *route) needsOptions() bool { return !r.mark.Stream && !r.mark.Plain }
