package controllers_test

import (
	"fmt"
	"testing"
)

const gatewayObjects = `
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: front, namespace: default}, spec: {gatewayClassName: traefik, listeners: [
  {name: https, port: 443, protocol: HTTPS, hostname: %q, tls: {certificateRefs: [{name: cert}]}},
  {name: tls, port: 8443, protocol: TLS, hostname: "*.tls.techn.is", tls: {mode: Passthrough}}]}}`

func gatewayRoute(kind, name, hostname string) string {
	return fmt.Sprintf(`
{apiVersion: gateway.networking.k8s.io/v1, kind: %s, metadata: {name: %s, namespace: default, annotations: {%s}}, spec: {
  parentRefs: [{name: front}], hostnames: [%q], rules: [{backendRefs: [{name: app, port: 443}]}]}}`, kind, name, exposed, hostname)
}

// setAccepted writes the status that a Gateway's controller writes of a route.
func setAccepted(t *testing.T, kind, name, status string) {
	t.Helper()
	patch := fmt.Sprintf(`{"status": {"parents": [{"parentRef": {"name": "front"}, "controllerName": "traefik.io/gateway-controller",
		"conditions": [{"type": "Accepted", "status": %q, "reason": "Tested", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}]}}`, status)
	_, err := bed.Cluster("illmatic").Kubectl(t.Context(), "patch", kind, name, "--subresource=status", "--type=merge", "-p", patch)
	must(t, err)
}

// A route of the Gateway API is published once a Gateway has accepted it, for
// the hostnames that its listeners have too.
func TestGatewayRoutesFollowTheirGateway(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "illmatic", nil)
	must(t, bed.Cluster("illmatic").InstallGatewayCRDs(t.Context())) // while usher runs
	apply(t, "illmatic", fmt.Sprintf(gatewayObjects, "*.web.techn.is"))
	apply(t, "illmatic", gatewayRoute("HTTPRoute", "web", "a.web.techn.is"))
	apply(t, "illmatic", gatewayRoute("TLSRoute", "tls", "a.tls.techn.is"))
	awaitHost(t, c, "a.web.techn.is", refused("ParentNotAccepted"))
	awaitHost(t, c, "a.tls.techn.is", refused("ParentNotAccepted"))

	setAccepted(t, "httproute", "web", "True")
	setAccepted(t, "tlsroute", "tls", "True")
	routed(t, table, "a.web.techn.is", "illmatic")
	routed(t, table, "a.tls.techn.is", "illmatic")

	setAccepted(t, "tlsroute", "tls", "False")
	awaitHost(t, c, "a.tls.techn.is", refused("ParentNotAccepted"))
	routed(t, table, "a.tls.techn.is", "")

	// The listener takes other hosts now, and then the Gateway goes.
	must(t, bed.Cluster("illmatic").Apply(t.Context(), fmt.Sprintf(gatewayObjects, "b.web.techn.is")))
	awaitHost(t, c, "a.web.techn.is", refused("ParentNotAccepted"))
	must(t, bed.Cluster("illmatic").Apply(t.Context(), fmt.Sprintf(gatewayObjects, "*.web.techn.is")))
	routed(t, table, "a.web.techn.is", "illmatic")
	remove(t, "illmatic", fmt.Sprintf(gatewayObjects, "*.web.techn.is"))
	awaitHost(t, c, "a.web.techn.is", refused("ParentNotAccepted"))
	routed(t, table, "a.web.techn.is", "")
}
