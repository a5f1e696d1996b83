package controllers_test

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
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
	testkit.Must(t, err)
}

// A route of the Gateway API is published once a Gateway has accepted it, for
// the hostnames that its listeners have too.
func TestGatewayRoutesFollowTheirGateway(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "illmatic", nil)
	testkit.Must(t, bed.Cluster("illmatic").InstallGatewayCRDs(t.Context())) // while usher runs
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
	testkit.Must(t, bed.Cluster("illmatic").Apply(t.Context(), fmt.Sprintf(gatewayObjects, "b.web.techn.is")))
	awaitHost(t, c, "a.web.techn.is", refused("ParentNotAccepted"))
	testkit.Must(t, bed.Cluster("illmatic").Apply(t.Context(), fmt.Sprintf(gatewayObjects, "*.web.techn.is")))
	routed(t, table, "a.web.techn.is", "illmatic")
	remove(t, "illmatic", fmt.Sprintf(gatewayObjects, "*.web.techn.is"))
	awaitHost(t, c, "a.web.techn.is", refused("ParentNotAccepted"))
	routed(t, table, "a.web.techn.is", "")
}

// A Gateway's controller writes its status again and again, and others write what
// nobody reads: no host is decided about again.
func TestChangesThatNobodyReadsAreIgnored(t *testing.T) {
	const routes, changes = 10, 30
	c := edge(t)
	table := startUsher(t)
	illmatic := bed.Cluster("illmatic")
	testkit.Must(t, illmatic.InstallGatewayCRDs(t.Context()))
	apply(t, "illmatic", fmt.Sprintf(gatewayObjects, "*.web.techn.is"))
	for i := range routes {
		name := fmt.Sprintf("still%d", i)
		apply(t, "illmatic", gatewayRoute("HTTPRoute", name, name+".web.techn.is"))
		setAccepted(t, "httproute", name, "True")
	}
	addMember(t, c, "illmatic", nil)
	for i := range routes {
		host := fmt.Sprintf("still%d.web.techn.is", i)
		routed(t, table, host, "illmatic")
		awaitHost(t, c, host, func(eh *v1alpha1.ExposedHost) error {
			if !meta.IsStatusConditionTrue(eh.Status.Conditions, v1alpha1.ConditionReady) {
				return fmt.Errorf("is %+v", eh.Status.Conditions)
			}
			return nil
		})
	}
	awaitMember(t, c, "illmatic", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	before := decisions(t)
	for i := range changes {
		patch := fmt.Sprintf(`{"status": {"listeners": [{"name": "https", "attachedRoutes": %d, "supportedKinds": [], "conditions": []}]}}`, i)
		for _, args := range [][]string{
			{"patch", "gateway", "front", "--subresource=status", "--type=merge", "-p", patch},
			{"annotate", "--overwrite", "gateway", "front", fmt.Sprintf("seen=%d", i)},
			{"annotate", "--overwrite", "httproute", "still0", fmt.Sprintf("seen=%d", i)},
			{"annotate", "--overwrite", "namespace", "default", fmt.Sprintf("seen=%d", i)},
		} {
			_, err := illmatic.Kubectl(t.Context(), args...)
			testkit.Must(t, err)
		}
	}
	apply(t, "illmatic", gatewayRoute("HTTPRoute", "last", "last.web.techn.is")) // what was written before it has been heard of
	awaitHost(t, c, "last.web.techn.is", refused("ParentNotAccepted"))
	if again := decisions(t) - before; again > routes {
		t.Errorf("%d decisions were made for %d changes that mean nothing", again, 4*changes)
	}
}

// decisions counts how often a host has been decided about.
func decisions(t *testing.T) int {
	t.Helper()
	families, err := metrics.Registry.Gather()
	testkit.Must(t, err)
	total := 0
	for _, family := range families {
		if family.GetName() != "controller_runtime_reconcile_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "controller" && label.GetValue() == "exposedhost" {
					total += int(metric.GetCounter().GetValue())
				}
			}
		}
	}
	return total
}
