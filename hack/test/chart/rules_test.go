package chart

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/hack/test/testkit"
)

// objects make usher use each of its permissions. The edge cluster is a member twice: as the edge
// cluster, and as hades with a Secret.
const objects = `
{apiVersion: v1, kind: Namespace, metadata: {name: usher-system}}
---
{apiVersion: v1, kind: Service, metadata: {name: traefik, namespace: default}, spec: {type: LoadBalancer, ports: [{port: 443}]}}
---
{apiVersion: v1, kind: Secret, metadata: {name: hades-kubeconfig, namespace: usher-system}, stringData: {kubeconfig: %q}}
---
{apiVersion: usher.techn.is/v1alpha1, kind: MemberCluster, metadata: {name: hades}, spec: {kubeconfig: {secretName: hades-kubeconfig}, ingress: {addresses: [127.0.0.1]}, allowedDomains: [example.com]}}
---
{apiVersion: usher.techn.is/v1alpha1, kind: MemberCluster, metadata: {name: edge}, spec: {ingress: {service: {namespace: default, name: traefik}}}}
`

// applyObjects creates a release's accounts and roles, and the objects that usher reads.
func applyObjects(t *testing.T, r release) {
	t.Helper()
	edge := bed.Cluster("edge")
	testkit.Must(t, edge.InstallTraefikCRDs(t.Context()))
	testkit.Must(t, edge.InstallOldTraefikCRDs(t.Context()))
	testkit.Must(t, edge.InstallGatewayCRDs(t.Context()))
	testkit.Must(t, edge.InstallXListenerSetCRD(t.Context()))
	testkit.Must(t, edge.InstallExternalDNSCRDs(t.Context()))
	testkit.Must(t, edge.ApplyFiles(t.Context(), "../../../config/crd/*.yaml"))
	kubeconfig, err := edge.Kubeconfig()
	testkit.Must(t, err)
	testkit.Must(t, edge.Apply(t.Context(), fmt.Sprintf(objects, kubeconfig)))
	testkit.Must(t, edge.Apply(t.Context(), strings.Join(r.rest, "\n---\n")))
	r.apply(t, permission{})
}

// split renders the chart in split mode, in which each half has its own account, and with DNS records.
func split(t *testing.T) release {
	t.Helper()
	return renderChart(t, "mode=split", "edgeIsMember=true", "replicas=2", "dns.target={192.0.2.1}")
}

// churn publishes and withdraws a host repeatedly until done, or for testkit.Timeout, so
// that usher uses its permissions repeatedly.
func churn(t *testing.T, done func() bool) {
	t.Helper()
	edge := bed.Cluster("edge")
	for round, deadline := 0, time.Now().Add(testkit.Timeout); !done() && time.Now().Before(deadline); round++ {
		testkit.Must(t, edge.Apply(t.Context(), fmt.Sprintf(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: churned, namespace: default, annotations: {usher.techn.is/expose: %[1]q, usher.techn.is/allow-from: 10.0.%[2]d.0/24, usher.techn.is/dns-ttl: "6%[2]d"}}
spec: {rules: [{host: churned.techn.is, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: churned, port: {number: 80}}}}]}}]}
`, fmt.Sprint(round%4 != 3), round%256)))
		for begun := time.Now(); !done() && time.Since(begun) < interval; time.Sleep(100 * time.Millisecond) {
		}
	}
}

// interval is the time between two changes of churn.
const interval = 400 * time.Millisecond

// unprovoked are permissions that usher does not use in these tests: permission → when usher uses it.
var unprovoked = map[string]string{
	"patch events.events.k8s.io in ClusterRole usher-controller": "an event that is repeated, of the same version of an object, is counted in the first",
	"patch events. in Role usher-controller":                     "a replica that loses the election and wins it again has its event counted in the first",
}

func TestPermissionsAreEnough(t *testing.T) {
	r := split(t)
	applyObjects(t, r)
	decides, forwards := r.start(t, "usher-controller"), r.start(t, "usher-proxy")
	withdrawn := func() bool { return strings.Contains(decides.log(t), "Withdrew host") }
	churn(t, withdrawn)
	if !withdrawn() {
		t.Errorf("no host was published and withdrawn; the log:\n%s", decides.log(t))
	}
	if log := decides.log(t) + forwards.log(t) + conditions(t); strings.Contains(log, "forbidden") {
		t.Errorf("something is forbidden:\n%s", log)
	}
	for line := range strings.Lines(decides.log(t)) {
		if strings.Contains(line, `"level":"error"`) || strings.Contains(line, "Warning:") {
			t.Errorf("a host that is published and withdrawn is no error: %s", line)
		}
	}
}

func TestEachPermissionIsNeeded(t *testing.T) {
	r := split(t)
	applyObjects(t, r)
	for _, role := range r.roles {
		workload := "usher-controller"
		if role.Name == "usher-proxy" {
			workload = "usher-proxy"
		}
		for _, p := range permissions(role) {
			t.Run(p.String(), func(t *testing.T) {
				if why, ok := unprovoked[p.String()]; ok {
					t.Skip(why)
				}
				if p.forAnnotationsAlone() {
					t.Skip("without it, usher does not name the annotated objects of this kind, and says nothing")
				}
				// The process before was killed while it held the Lease.
				testkit.Must(t, bed.Cluster("edge").Client().DeleteAllOf(t.Context(), &coordinationv1.Lease{}, client.InNamespace(namespace)))
				r.apply(t, p)
				r.waitUntilRefused(t, workload, p)
				running := r.start(t, workload)
				said := func() string { return running.log(t) + conditions(t) }
				churn(t, func() bool { return p.missedIn(said()) })
				if !p.missedIn(said()) {
					t.Errorf("usher does not need it; it reports:\n%s", said())
				}
			})
		}
	}
}

// conditions returns the conditions of the members, as JSON, a line each.
func conditions(t *testing.T) string {
	t.Helper()
	members := &unstructured.UnstructuredList{}
	members.SetGroupVersionKind(schema.GroupVersionKind{Group: "usher.techn.is", Version: "v1alpha1", Kind: "MemberClusterList"})
	testkit.Must(t, bed.Cluster("edge").Client().List(t.Context(), members))
	var all strings.Builder
	for _, member := range members.Items {
		status, _, err := unstructured.NestedFieldNoCopy(member.Object, "status", "conditions")
		testkit.Must(t, err)
		testkit.Must(t, json.NewEncoder(&all).Encode(status))
	}
	return all.String()
}
