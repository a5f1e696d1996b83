package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// gateway is a Gateway default/NAME that takes routes of all namespaces.
func gateway(name, class string) string {
	return fmt.Sprintf(`
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: %s, namespace: default}, spec: {gatewayClassName: %s,
  allowedListeners: {namespaces: {from: All}}, listeners: [
  {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}, allowedRoutes: {namespaces: {from: All}}},
  {name: tls, port: 8443, protocol: TLS, tls: {mode: Passthrough}, allowedRoutes: {namespaces: {from: All}}}]}}`, name, class)
}

// setGatewayAddresses writes the addresses that the controller of a Gateway of illmatic writes into
// its status.
func setGatewayAddresses(t *testing.T, name string, addresses ...string) {
	t.Helper()
	list := []string{}
	for _, address := range addresses {
		list = append(list, fmt.Sprintf(`{"type": "IPAddress", "value": %q}`, address))
	}
	setStatus(t, "illmatic", "gateway", name, fmt.Sprintf(`{"addresses": [%s]}`, strings.Join(list, ",")))
}

// setStatus writes fields of an object's status.
func setStatus(t *testing.T, cluster, kind, name, status string) {
	t.Helper()
	_, err := bed.Cluster(cluster).Kubectl(t.Context(), "patch", kind, name, "--subresource=status", "--type=merge", "-p", `{"status": `+status+`}`)
	testkit.Must(t, err)
}

// routeOf is a route of a kind and version for one host, attached to a parent.
func routeOf(version, kind, name, host, parent string) string {
	return fmt.Sprintf(`
{apiVersion: %s, kind: %s, metadata: {name: %s, namespace: default, annotations: {%s}}, spec: {
  parentRefs: [%s], hostnames: [%q], rules: [{backendRefs: [{name: app, port: 443}]}]}}`, version, kind, name, exposed, parent, host)
}

// acceptedFor is the status of a route that a controller has accepted for a parent, in JSON.
func acceptedFor(controller, parent string) string {
	return fmt.Sprintf(`{"parents": [{"parentRef": %s, "controllerName": %q,
		"conditions": [{"type": "Accepted", "status": "True", "reason": "Tested", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}]}`, parent, controller)
}

const gatewayVersion = "gateway.networking.k8s.io/v1"

// routedTo waits until the table leads a host to an address.
func routedTo(t *testing.T, table *routing.Live, host, address string) {
	t.Helper()
	testkit.Eventually(t, host+" should be routed to "+address, func() error {
		route := table.Load().Lookup(host)
		if route == nil || route.Refusal != "" || !slices.Equal(route.Backends[0].Addresses, []string{address}) {
			return fmt.Errorf("is %+v", route)
		}
		return nil
	})
}

// Of two Gateways of a cluster, only the routes of the one at the member's ingress are
// published; with spec.ingress.gateways those of the other are led to its own address.
func TestTwoGatewaysOfOneCluster(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	illmatic := bed.Cluster("illmatic")
	testkit.Must(t, illmatic.InstallGatewayCRDs(t.Context()))
	addMember(t, c, "hades", nil)
	addMember(t, c, "illmatic", nil)
	apply(t, "illmatic", gateway("outer", "traefik"))
	apply(t, "illmatic", routeOf(gatewayVersion, "HTTPRoute", "outer", "app.outer.is", "{name: outer}"))
	setStatus(t, "illmatic", "httproute", "outer", acceptedFor("traefik.io/gateway-controller", `{"name": "outer"}`))
	routedTo(t, table, "app.outer.is", addressOf["illmatic"]) // the only Gateway, without an address

	apply(t, "illmatic", gateway("inner", "cilium"))
	apply(t, "illmatic", routeOf(gatewayVersion, "GRPCRoute", "inner", "app.inner.is", "{name: inner}"))
	setStatus(t, "illmatic", "grpcroute", "inner", acceptedFor("io.cilium/gateway-controller", `{"name": "inner"}`))
	awaitHost(t, c, "app.inner.is", refused("GatewayElsewhere"))
	awaitHost(t, c, "app.outer.is", refused("GatewayElsewhere")) // nothing tells which of them answers there

	setGatewayAddresses(t, "outer", addressOf["illmatic"])
	routedTo(t, table, "app.outer.is", addressOf["illmatic"])
	setGatewayAddresses(t, "inner", "192.0.2.21")
	awaitHost(t, c, "app.inner.is", func(eh *v1alpha1.ExposedHost) error {
		const says = "Gateway default/inner has 192.0.2.21, and the ingress of cluster illmatic has 192.0.2.20"
		if accepted := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionAccepted); !strings.Contains(accepted.Message, says) {
			return fmt.Errorf("it says %q", accepted.Message)
		}
		return nil
	})

	// A person may say that the Gateways of a class answer at the ingress.
	change(t, c, "illmatic", func(mc *v1alpha1.MemberCluster) { mc.Spec.IngressClasses = []string{"traefik", "cilium"} })
	routedTo(t, table, "app.inner.is", addressOf["illmatic"])
	change(t, c, "illmatic", func(mc *v1alpha1.MemberCluster) { mc.Spec.IngressClasses = nil })
	awaitHost(t, c, "app.inner.is", refused("GatewayElsewhere"))

	change(t, c, "illmatic", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Gateways = true })
	routedTo(t, table, "app.inner.is", "192.0.2.21")
	routedTo(t, table, "app.outer.is", addressOf["illmatic"])
	eh := awaitHost(t, c, "app.inner.is", ready("illmatic"))
	if !slices.Equal(eh.Status.Backends, []string{"192.0.2.21:443"}) || eh.Spec.Backends[0].Gateway != "default/inner" {
		t.Errorf("it is %+v, %v", eh.Spec, eh.Status.Backends)
	}

	// The address follows the Gateway. It may not be one of this machine, of the edge's
	// neighbours' or of another member.
	setGatewayAddresses(t, "inner", "192.0.2.22")
	routedTo(t, table, "app.inner.is", "192.0.2.22")
	for _, test := range []struct{ address, says string }{
		{"127.0.0.1", "which is loopback"},
		{"169.254.169.254", "which is link-local"},
		{addressOf["hades"], "which is the address of MemberCluster hades"},
	} {
		setGatewayAddresses(t, "inner", test.address)
		routed(t, table, "app.inner.is", "")
		awaitHost(t, c, "app.inner.is", func(eh *v1alpha1.ExposedHost) error {
			is := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionReady)
			if is.Reason != "NoIngressAddress" || !strings.Contains(is.Message, "Gateway default/inner: it has "+test.address+", "+test.says) {
				return fmt.Errorf("it is %+v", is)
			}
			return nil
		})
	}
	setGatewayAddresses(t, "inner", "127.0.0.1", "192.0.2.23")
	routedTo(t, table, "app.inner.is", "192.0.2.23")

	// hades may not take the address either.
	change(t, c, "hades", func(mc *v1alpha1.MemberCluster) {
		mc.Spec.Ingress.Addresses = nil
		mc.Spec.Ingress.Service.Name = "second"
	})
	newBalancer(t, "hades", "second", "192.0.2.23")
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionFalse, "AddressRefused")

	change(t, c, "illmatic", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Gateways = false })
	awaitHost(t, c, "app.inner.is", refused("GatewayElsewhere"))
	routed(t, table, "app.inner.is", "")
}

// Routes of a ListenerSet, also of the experimental one, are those of its Gateway.
func TestRoutesOfListenerSets(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	illmatic := bed.Cluster("illmatic")
	testkit.Must(t, illmatic.InstallGatewayCRDs(t.Context()))
	testkit.Must(t, illmatic.InstallXListenerSetCRD(t.Context()))
	addMember(t, c, "illmatic", nil)
	apply(t, "illmatic", gateway("shared", "traefik"))
	for _, test := range []struct{ version, kind, resource, host string }{
		{gatewayVersion, "ListenerSet", "listenersets.gateway.networking.k8s.io", "set.sets.is"},
		{"gateway.networking.x-k8s.io/v1alpha1", "XListenerSet", "xlistenersets", "xset.sets.is"},
	} {
		t.Run(test.kind, func(t *testing.T) {
			name := strings.ToLower(test.kind)
			group, _, _ := strings.Cut(test.version, "/")
			set := fmt.Sprintf(`
{apiVersion: %s, kind: %s, metadata: {name: %s, namespace: default}, spec: {parentRef: {name: shared}, listeners: [
  {name: own, port: 443, protocol: HTTPS, hostname: "*.sets.is", tls: {certificateRefs: [{name: cert}]}}]}}`, test.version, test.kind, name)
			apply(t, "illmatic", set)
			apply(t, "illmatic", routeOf(gatewayVersion, "HTTPRoute", name, test.host, fmt.Sprintf("{group: %s, kind: %s, name: %s, sectionName: own}", group, test.kind, name)))
			awaitHost(t, c, test.host, refused("ParentNotAccepted"))
			parent := fmt.Sprintf(`{"group": %q, "kind": %q, "name": %q, "sectionName": "own"}`, group, test.kind, name)
			setStatus(t, "illmatic", "httproute", name, acceptedFor("traefik.io/gateway-controller", parent))
			routed(t, table, test.host, "illmatic")

			condition := `{"conditions": [{"type": "Accepted", "status": %q, "reason": "Tested", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}`
			setStatus(t, "illmatic", test.resource, name, fmt.Sprintf(condition, "False"))
			awaitHost(t, c, test.host, refused("ParentNotAccepted"))
			setStatus(t, "illmatic", test.resource, name, fmt.Sprintf(condition, "True"))
			routed(t, table, test.host, "illmatic")
			remove(t, "illmatic", set)
			awaitHost(t, c, test.host, refused("ParentNotAccepted"))
			routed(t, table, test.host, "")
		})
	}
}

// TLSRoutes are read in the version that the cluster serves. The host stays as it is
// while the cluster moves to another version.
func TestTLSRouteIsReadInTheServedVersion(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	bare := bareCluster(t)
	testkit.Must(t, bare.InstallGatewayCRDsWithTLSRoute(t.Context(), "v1alpha2"))
	addMember(t, c, "bare", nil)
	apply(t, "bare", gateway("pass", "traefik"))
	testkit.Must(t, bare.Apply(t.Context(), routeOf("gateway.networking.k8s.io/v1alpha2", "TLSRoute", "old", "old.pass.is", "{name: pass}")))
	setStatus(t, "bare", "tlsroutes.v1alpha2.gateway.networking.k8s.io", "old", acceptedFor("traefik.io/gateway-controller", `{"name": "pass"}`))
	routed(t, table, "old.pass.is", "bare")
	var before v1alpha1.ExposedHost
	testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: "old.pass.is"}, &before))

	current := "v1alpha2"
	for _, served := range [][]string{{"v1alpha2", "v1alpha3"}, {"v1"}, {"v1", "v1alpha3", "v1alpha2"}, {"v1alpha3"}} {
		testkit.Must(t, bare.InstallGatewayCRDsWithTLSRoute(t.Context(), served...))
		current = served[0]
		name := "next-" + strings.Join(served, "-")
		version := "gateway.networking.k8s.io/" + current
		testkit.Eventually(t, "the version should be served", func() error {
			return bare.Apply(t.Context(), routeOf(version, "TLSRoute", name, name+".pass.is", "{name: pass}"))
		})
		setStatus(t, "bare", "tlsroutes."+current+".gateway.networking.k8s.io", name, acceptedFor("traefik.io/gateway-controller", `{"name": "pass"}`))
		routed(t, table, name+".pass.is", "bare")
		eh := awaitHost(t, c, "old.pass.is", ready("bare"))
		if eh.UID != before.UID || len(eh.Status.Sources) != 1 {
			t.Fatalf("with %v, the host was withdrawn and published again, or has several sources: %+v", served, eh.Status)
		}
	}
	_, err := bare.Kubectl(t.Context(), "delete", "tlsroutes."+current+".gateway.networking.k8s.io", "--all", "--namespace=default")
	testkit.Must(t, err)
	awaitGone(t, c, "old.pass.is")
	routed(t, table, "old.pass.is", "")
}

// narrowAccount adds an account of an earlier usher, which may not read the kinds that
// were added since.
const narrowAccount = `
{apiVersion: v1, kind: ServiceAccount, metadata: {name: earlier, namespace: default}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: earlier}, rules: [
  {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [get, list, watch]},
  {apiGroups: [traefik.io, traefik.containo.us], resources: [ingressroutes, ingressroutetcps], verbs: [get, list, watch]},
  {apiGroups: [gateway.networking.k8s.io], resources: [gateways, httproutes, tlsroutes], verbs: [get, list, watch]},
  {apiGroups: [""], resources: [namespaces], verbs: [get, list, watch]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: earlier},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: earlier}, subjects: [{kind: ServiceAccount, name: earlier, namespace: default}]}`

// A member whose account is of an earlier usher is in sync, and its condition says what
// may not be read. A host of such a kind is not withdrawn: nothing shows that its source
// is gone.
func TestAccountOfAnEarlierVersionStaysInSync(t *testing.T) {
	c := edge(t)
	illmatic := bed.Cluster("illmatic")
	testkit.Must(t, illmatic.InstallGatewayCRDs(t.Context()))
	apply(t, "illmatic", gateway("front", "traefik"))
	apply(t, "illmatic", routeOf(gatewayVersion, "GRPCRoute", "early", "grpc.early.is", "{name: front}"))
	setStatus(t, "illmatic", "grpcroute", "early", acceptedFor("traefik.io/gateway-controller", `{"name": "front"}`))
	apply(t, "illmatic", narrowAccount)
	kubeconfig, err := illmatic.KubeconfigFor(t.Context(), "default", "earlier")
	testkit.Must(t, err)
	table := &routing.Live{}
	stop := startControllers(t, table)
	addMember(t, c, "illmatic", nil)
	routed(t, table, "grpc.early.is", "illmatic")
	stop()

	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "earlier"}, Data: map[string][]byte{"kubeconfig": kubeconfig}}
	create(t, c, secret)
	change(t, c, "illmatic", func(mc *v1alpha1.MemberCluster) { mc.Spec.Kubeconfig.SecretName = secret.Name })
	table = startUsher(t)
	testkit.Eventually(t, "the member should say what it may not read", func() error {
		var mc v1alpha1.MemberCluster
		testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: "illmatic"}, &mc))
		synced := meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionSynced)
		if synced == nil || synced.Status != metav1.ConditionTrue || !strings.Contains(synced.Message, "may not read GRPCRoute, ListenerSet") || !strings.Contains(synced.Message, `resource "grpcroutes" in API group`) {
			return fmt.Errorf("it is %+v", synced)
		}
		return nil
	})
	apply(t, "illmatic", ingress("early", "ingress.early.is", exposed))
	routed(t, table, "ingress.early.is", "illmatic")
	routed(t, table, "grpc.early.is", "illmatic")
	testkit.Consistently(t, 2*time.Second, "the host should stay", func() error {
		var eh v1alpha1.ExposedHost
		if err := c.Get(t.Context(), client.ObjectKey{Name: "grpc.early.is"}, &eh); err != nil {
			return err
		}
		return ready("illmatic")(&eh)
	})
}

// An annotated object of a kind that usher does not read is named, and so is one that
// only surrounds a route.
func TestAnnotatedKindsThatAreNotReadAreNamed(t *testing.T) {
	c := edge(t)
	startUsher(t)
	hades := bed.Cluster("hades")
	testkit.Must(t, hades.InstallGatewayCRDs(t.Context()))
	apply(t, "hades", `
{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: httpproxies.projectcontour.io}, spec: {
  group: projectcontour.io, scope: Namespaced, names: {kind: HTTPProxy, plural: httpproxies}, versions: [
  {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}`)
	note := func(name string) string {
		return fmt.Sprintf("{name: %s, namespace: unread, annotations: {%s}}", name, exposed)
	}
	objects := strings.Join([]string{
		"{apiVersion: v1, kind: Namespace, metadata: {name: unread, annotations: {" + exposed + "}}}",
		"{apiVersion: v1, kind: Service, metadata: " + note("service") + ", spec: {ports: [{port: 80}]}}",
		"{apiVersion: v1, kind: Service, metadata: {name: silent, namespace: unread, annotations: {other.example.org/expose: 'true', usher.techn.is/expose: 'false'}}, spec: {ports: [{port: 80}]}}",
		"{apiVersion: apps/v1, kind: Deployment, metadata: " + note("deployment") + ", spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}}}}",
		"{apiVersion: traefik.io/v1alpha1, kind: Middleware, metadata: " + note("middleware") + ", spec: {stripPrefix: {prefixes: [/a]}}}",
		"{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: " + note("gateway") + ", spec: {gatewayClassName: traefik, listeners: [{name: http, port: 80, protocol: HTTP}]}}",
		"{apiVersion: projectcontour.io/v1, kind: HTTPProxy, metadata: " + note("proxy") + ", spec: {virtualhost: {fqdn: a.unread.is}}}",
	}, "\n---\n")
	apply(t, "hades", objects)
	t.Cleanup(func() { // a deleted Namespace stays: no namespace controller runs
		testkit.Must(t, hades.Apply(context.Background(), "{apiVersion: v1, kind: Namespace, metadata: {name: unread}}"))
	})
	addMember(t, c, "hades", nil)
	named := func(want ...string) {
		t.Helper()
		testkit.Eventually(t, "the refusals should be of "+strings.Join(want, ", "), func() error {
			var mc v1alpha1.MemberCluster
			testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc))
			var got []string
			for _, refusal := range mc.Status.Refusals {
				name := types.NamespacedName{Namespace: refusal.Namespace, Name: refusal.Name}
				if refusal.Reason == "KindNotRead" && strings.Contains(refusal.Message, "usher does not read this kind") && strings.Contains(refusal.Message, v1alpha1.AnnotationExpose) {
					got = append(got, refusal.Kind+" "+name.String())
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				return fmt.Errorf("they are %+v", mc.Status.Refusals)
			}
			return nil
		})
	}
	named("Deployment unread/deployment", "Gateway unread/gateway", "HTTPProxy unread/proxy", "Middleware unread/middleware", "Namespace /unread", "Service unread/service")
	_, err := hades.Kubectl(t.Context(), "annotate", "--namespace=unread", "service/service", "deployment/deployment", "gateway/gateway", "httpproxy/proxy", v1alpha1.AnnotationExpose+"-")
	testkit.Must(t, err)
	apply(t, "hades", ingressRoute("nameless-unread", "PathPrefix(`/`)", exposed)) // shares the list with a refusal of a source
	named("Middleware unread/middleware", "Namespace /unread")
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}
