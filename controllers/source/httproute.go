package source

import gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

// FromHTTPRoute reads a Gateway API HTTPRoute. Without hostnames it has those of
// the listeners that it is attached to.
func FromHTTPRoute(route *gatewayv1.HTTPRoute, in Context) Result {
	if silent(route) {
		return Result{}
	}
	p := newPublication(KindHTTPRoute, route, "", in)
	return p.publish(p.offers(gatewayRoute{
		kind:      KindHTTPRoute,
		namespace: route.Namespace,
		hostnames: route.Spec.Hostnames,
		parents:   route.Spec.ParentRefs,
		status:    route.Status.Parents,
		protocols: []gatewayv1.ProtocolType{gatewayv1.HTTPProtocolType, gatewayv1.HTTPSProtocolType},
	}, in))
}
