package source

import gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

// FromTLSRoute reads a Gateway API TLSRoute.
func FromTLSRoute(route *gatewayv1.TLSRoute, in Context) Result {
	if silent(route) {
		return Result{}
	}
	p := newPublication(KindTLSRoute, route, "", in)
	return p.publish(p.offers(gatewayRoute{
		kind:      KindTLSRoute,
		namespace: route.Namespace,
		hostnames: route.Spec.Hostnames,
		parents:   route.Spec.ParentRefs,
		status:    route.Status.Parents,
		protocols: []gatewayv1.ProtocolType{gatewayv1.TLSProtocolType},
	}, in))
}
