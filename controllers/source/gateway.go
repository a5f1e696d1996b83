package source

import gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

// FromHTTPRoute reads a Gateway API HTTPRoute.
func FromHTTPRoute(route *gatewayv1.HTTPRoute, in Context) Result {
	return Result{}
}

// FromTLSRoute reads a Gateway API TLSRoute.
func FromTLSRoute(route *gatewayv1.TLSRoute, in Context) Result {
	return Result{}
}
