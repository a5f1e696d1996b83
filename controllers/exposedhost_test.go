package controllers_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

func TestAnnotatedHostIsExposedAndWithdrawn(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	route := ingressRoute("whoami", "Host(`whoami.techn.is`)", exposed)
	apply(t, "hades", route)
	apply(t, "hades", ingressRoute("private", "Host(`private.techn.is`)"))

	eh := awaitHost(t, c, "whoami.techn.is", ready("hades"))
	if want := []v1alpha1.SourceRef{{Cluster: "hades", Kind: "IngressRoute", Namespace: "default", Name: "whoami"}}; !slices.Equal(eh.Status.Sources, want) {
		t.Errorf("sources are %v", eh.Status.Sources)
	}
	if want := []string{"192.0.2.10:443"}; !slices.Equal(eh.Status.Backends, want) {
		t.Errorf("backends are %v", eh.Status.Backends)
	}
	routed(t, table, "whoami.techn.is", "hades")
	routed(t, table, "private.techn.is", "")

	// Without its annotation it is withdrawn; with it, exposed again; deleted, withdrawn again.
	testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), ingressRoute("whoami", "Host(`whoami.techn.is`)")))
	awaitGone(t, c, "whoami.techn.is")
	routed(t, table, "whoami.techn.is", "")
	testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), route))
	routed(t, table, "whoami.techn.is", "hades")
	remove(t, "hades", route)
	awaitGone(t, c, "whoami.techn.is")
	routed(t, table, "whoami.techn.is", "")
}

// What an ExposedHost was created with goes when its source no longer asks for it.
func TestOptionsAreTakenBack(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	const rule = "Host(`options.techn.is`)"
	apply(t, "hades", ingressRoute("options", rule, exposed, `usher.techn.is/allow-from: "192.168.0.0/16"`, "usher.techn.is/plain-http: deny"))
	has := func(allowFrom int, plainHTTP v1alpha1.PlainHTTP, backends int) {
		t.Helper()
		awaitHost(t, c, "options.techn.is", func(eh *v1alpha1.ExposedHost) error {
			if len(eh.Spec.AllowFrom) != allowFrom || eh.Spec.PlainHTTP != plainHTTP || len(eh.Spec.Backends) != backends {
				return fmt.Errorf("its spec is %+v", eh.Spec)
			}
			return nil
		})
	}
	has(1, v1alpha1.PlainHTTPDeny, 1)
	apply(t, "hades", ingressRoute("options", rule, exposed))
	has(0, v1alpha1.PlainHTTPRedirect, 1)
	routed(t, table, "options.techn.is", "hades")
	apply(t, "hades", ingressRoute("options", rule, exposed, "usher.techn.is/plain-http: sometimes"))
	has(0, v1alpha1.PlainHTTPRedirect, 0)
	routed(t, table, "options.techn.is", "")
	apply(t, "hades", ingressRoute("options", rule, exposed))
	has(0, v1alpha1.PlainHTTPRedirect, 1)
}

func TestChangedRuleMovesTheHost(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("moving", "Host(`before.techn.is`)", exposed))
	routed(t, table, "before.techn.is", "hades")
	testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), ingressRoute("moving", "Host(`after.techn.is`)", exposed)))
	routed(t, table, "after.techn.is", "hades")
	routed(t, table, "before.techn.is", "")
	awaitGone(t, c, "before.techn.is")
}

func TestIngressIsASource(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "illmatic", nil)
	apply(t, "illmatic", `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: shop, namespace: default, annotations: {`+exposed+`}},
		spec: {rules: [{host: shop.techn.is, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}}, {host: '*.shop.techn.is', http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}}]}}`)
	awaitHost(t, c, "shop.techn.is", ready("illmatic"))
	awaitHost(t, c, "wildcard.shop.techn.is", ready("illmatic"))
	routed(t, table, "anything.shop.techn.is", "illmatic")
	routed(t, table, "two.labels.shop.techn.is", "")
}

// What cannot be published is refused where a person looks, and is not routed.
func TestRefusalsAreVisible(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.AllowedDomains = []string{"techn.is"} })
	apply(t, "hades", ingressRoute("outside", "Host(`outside.example.com`)", exposed))
	apply(t, "hades", ingressRoute("malformed", "Host(`malformed.techn.is`)", exposed, "usher.techn.is/allow-from: everyone"))
	apply(t, "hades", ingressRoute("catchall", "PathPrefix(`/`)", exposed))
	awaitHost(t, c, "outside.example.com", refused("AllowedDomains"))
	awaitHost(t, c, "malformed.techn.is", refused("AnnotationInvalid"))
	routed(t, table, "outside.example.com", "")
	routed(t, table, "malformed.techn.is", "")
	testkit.Eventually(t, "the refusal of what names no host", func() error {
		var mc v1alpha1.MemberCluster
		if err := c.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc); err != nil {
			return err
		}
		if len(mc.Status.Refusals) != 1 || mc.Status.Refusals[0].Name != "catchall" || mc.Status.Refusals[0].Reason != "UnknownHosts" {
			return fmt.Errorf("refusals are %+v", mc.Status.Refusals)
		}
		return nil
	})

	// The domain is allowed: what was refused is published, without another change.
	var mc v1alpha1.MemberCluster
	testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc))
	testkit.Must(t, c.Patch(t.Context(), &mc, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"allowedDomains":["techn.is","example.com"]}}`))))
	routed(t, table, "outside.example.com", "hades")
}

func TestPersonsExposedHostIsServedAndNeverRewritten(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	eh := &v1alpha1.ExposedHost{
		ObjectMeta: metav1.ObjectMeta{Name: "nas.techn.is"},
		Spec:       v1alpha1.ExposedHostSpec{Host: "nas.techn.is", Backends: []v1alpha1.HostBackend{{Address: "192.0.2.50", HTTPSPort: 8443}}},
	}
	create(t, c, eh)
	got := awaitHost(t, c, "nas.techn.is", ready(""))
	if want := []string{"192.0.2.50:8443"}; !slices.Equal(got.Status.Backends, want) {
		t.Errorf("backends are %v", got.Status.Backends)
	}
	apply(t, "hades", ingressRoute("nas", "Host(`nas.techn.is`)", exposed))
	got = awaitHost(t, c, "nas.techn.is", func(eh *v1alpha1.ExposedHost) error {
		if len(eh.Status.Rivals) != 1 || eh.Status.Rivals[0].Reason != "HeldByManual" {
			return fmt.Errorf("rivals are %+v", eh.Status.Rivals)
		}
		return nil
	})
	if got.Spec.Backends[0].Address != "192.0.2.50" || got.Labels[v1alpha1.LabelManaged] != "" {
		t.Errorf("it was rewritten: %+v", got)
	}
	if route := table.Load().Lookup("nas.techn.is"); route == nil || route.Backends[0].HTTPSPort != 8443 {
		t.Errorf("it is routed to %+v", route)
	}
	// The person's goes: the claim takes its place.
	testkit.Must(t, c.Delete(t.Context(), eh))
	awaitHost(t, c, "nas.techn.is", ready("hades"))
}

// Neither is one that the cache has not shown yet.
func TestPersonsExposedHostIsNotRewrittenWhileTheCacheIsBehind(t *testing.T) {
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("raced", "Host(`raced.techn.is`)", exposed))
	managed := awaitHost(t, c, "raced.techn.is", ready("hades"))
	for range 20 { // the reconciler has just seen its own, if any
		_ = c.Delete(t.Context(), managed)
		eh := &v1alpha1.ExposedHost{
			ObjectMeta: metav1.ObjectMeta{Name: "raced.techn.is"},
			Spec:       v1alpha1.ExposedHostSpec{Host: "raced.techn.is", Backends: []v1alpha1.HostBackend{{Address: "192.0.2.50"}}},
		}
		if c.Create(t.Context(), eh) != nil {
			continue // usher was faster
		}
		awaitHost(t, c, "raced.techn.is", func(eh *v1alpha1.ExposedHost) error {
			if eh.Labels[v1alpha1.LabelManaged] != "" || eh.Spec.Backends[0].Address == "" {
				t.Fatalf("it was rewritten: %+v", eh)
			}
			return ready("")(eh)
		})
		managed = eh
	}
}

// laterThan fails until the clock's second is after the one in which a source was made.
func laterThan(t *testing.T, cluster, name string) error {
	t.Helper()
	out, err := bed.Cluster(cluster).Kubectl(t.Context(), "get", "ingressroute", name, "-o", "jsonpath={.metadata.creationTimestamp}")
	testkit.Must(t, err)
	if now := metav1.Now().UTC().Format("2006-01-02T15:04:05Z"); now <= out {
		return fmt.Errorf("it is %s still", now)
	}
	return nil
}

// An object that is deleted by hand comes back: its source still asks for it.
func TestDeletedExposedHostComesBack(t *testing.T) {
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("back", "Host(`back.techn.is`)", exposed))
	first := awaitHost(t, c, "back.techn.is", ready("hades"))
	testkit.Must(t, c.Delete(t.Context(), first))
	awaitHost(t, c, "back.techn.is", func(eh *v1alpha1.ExposedHost) error {
		if eh.UID == first.UID {
			return fmt.Errorf("it is the old one still")
		}
		return ready("hades")(eh)
	})
}

// Somebody else who writes the spec of usher's object owns it from then on: it is
// not undone, nor deleted with its source, until it is deleted by hand.
func TestWhoWritesTheSpecOwnsIt(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	manifest := `{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: %s}, spec: {host: %s, backends: [{address: 192.0.2.66}]}}`
	for name, write := range map[string]func(host string) error{
		"kubectl patch": func(host string) error {
			_, err := bed.Cluster("edge").Kubectl(t.Context(), "patch", "exposedhost", host, "--type=merge", "-p", `{"spec":{"backends":[{"address":"192.0.2.66"}]}}`)
			return err
		},
		"kubectl apply": func(host string) error {
			return bed.Cluster("edge").Apply(t.Context(), fmt.Sprintf(manifest, host, host))
		},
		"kubectl apply --server-side": func(host string) error {
			return c.Apply(t.Context(), applyConfiguration(t, fmt.Sprintf(manifest, host, host)), client.FieldOwner("argocd-controller"), client.ForceOwnership)
		},
	} {
		t.Run(name, func(t *testing.T) {
			host := strings.NewReplacer(" ", "-", "--", "").Replace(name) + ".own.techn.is"
			route := ingressRoute("own", "Host(`"+host+"`)", exposed)
			apply(t, "hades", route)
			awaitHost(t, c, host, ready("hades"))
			testkit.Must(t, write(host))
			owned := awaitHost(t, c, host, func(eh *v1alpha1.ExposedHost) error {
				if eh.Labels[v1alpha1.LabelManaged] != "" || eh.Spec.Backends[0].Address != "192.0.2.66" {
					return fmt.Errorf("it is %v %+v", eh.Labels, eh.Spec)
				}
				return ready("")(eh)
			})
			awaitEvent(t, c, host, "TakenOver")
			remove(t, "hades", route)
			awaitHost(t, c, host, func(eh *v1alpha1.ExposedHost) error {
				if len(eh.Status.Rivals) > 0 {
					return fmt.Errorf("the source has not gone yet")
				}
				return ready("")(eh)
			})
			if route := table.Load().Lookup(host); route == nil || route.Backends[0].Addresses[0] != "192.0.2.66" {
				t.Errorf("it is routed to %+v", route)
			}
			apply(t, "hades", route)
			testkit.Must(t, c.Delete(t.Context(), owned))
			awaitHost(t, c, host, ready("hades"))
			remove(t, "hades", route)
			awaitGone(t, c, host)
		})
	}
}

// A label or an annotation is no word about the spec.
func TestWhoLabelsDoesNotOwn(t *testing.T) {
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", nil)
	route := ingressRoute("labelled", "Host(`labelled.techn.is`)", exposed)
	apply(t, "hades", route)
	awaitHost(t, c, "labelled.techn.is", ready("hades"))
	_, err := bed.Cluster("edge").Kubectl(t.Context(), "label", "exposedhost", "labelled.techn.is", "team=a")
	testkit.Must(t, err)
	remove(t, "hades", route)
	awaitGone(t, c, "labelled.techn.is")
}

// A younger source narrows who may connect, and an older one that comes to claim
// the host does not widen it again.
func TestAllowFromIsNeverWidened(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("older", "Host(`elsewhere.techn.is`)", exposed))
	awaitHost(t, c, "elsewhere.techn.is", ready("hades"))
	apply(t, "hades", ingressRoute("younger", "Host(`narrow.techn.is`)", exposed, `usher.techn.is/allow-from: "192.168.0.0/16"`))
	awaitHost(t, c, "narrow.techn.is", ready("hades"))
	apply(t, "hades", ingressRoute("older", "Host(`narrow.techn.is`) && Path(`/nothing`)", exposed))
	awaitHost(t, c, "narrow.techn.is", func(eh *v1alpha1.ExposedHost) error {
		if len(eh.Status.Sources) != 2 {
			return fmt.Errorf("sources are %+v", eh.Status.Sources)
		}
		return nil
	})
	if route := table.Load().Lookup("narrow.techn.is"); route.Allows(netip.MustParseAddr("203.0.113.1")) || !route.Allows(netip.MustParseAddr("192.168.1.1")) {
		t.Errorf("the route allows %v", route.AllowFrom)
	}
}

func applyConfiguration(t *testing.T, manifest string) runtime.ApplyConfiguration {
	t.Helper()
	var object unstructured.Unstructured
	testkit.Must(t, yaml.Unmarshal([]byte(manifest), &object.Object))
	return client.ApplyConfigurationFromUnstructured(&object)
}

// Deleting a MemberCluster is evidence: its hosts go.
func TestDeletedMemberWithdrawsItsHosts(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("orphan", "Host(`orphan.techn.is`)", exposed))
	routed(t, table, "orphan.techn.is", "hades")
	testkit.Must(t, c.Delete(t.Context(), &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "hades"}}))
	awaitGone(t, c, "orphan.techn.is")
	routed(t, table, "orphan.techn.is", "")
}

// What was admitted before usher started stays while a member is unreachable: that is not evidence.
func TestMemberAwayAtTheStartWithdrawsNothing(t *testing.T) {
	c := edge(t)
	stop := startControllers(t, &routing.Live{})
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("kept", "Host(`kept.techn.is`)", exposed))
	awaitHost(t, c, "kept.techn.is", ready("hades"))
	stop()

	hades := bed.Cluster("hades")
	hades.Stop()
	table := startUsher(t)
	awaitMember(t, c, "hades", v1alpha1.ConditionConnected, metav1.ConditionFalse, "Unreachable")
	routed(t, table, "kept.techn.is", "hades")
	awaitHost(t, c, "kept.techn.is", ready("hades"))

	// It comes back, and what changed meanwhile is caught up.
	testkit.Must(t, hades.Start(context.Background()))
	testkit.Must(t, hades.Apply(t.Context(), ingressRoute("kept", "Host(`kept.techn.is`)")))
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	awaitGone(t, c, "kept.techn.is")
	routed(t, table, "kept.techn.is", "")
}

func awaitEvent(t *testing.T, c client.Client, host, reason string) (message string) {
	t.Helper()
	testkit.Eventually(t, "an Event "+reason+" on "+host, func() error {
		var list corev1.EventList
		if err := c.List(t.Context(), &list); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.InvolvedObject.Name == host && e.Reason == reason {
				message = e.Message
				return nil
			}
		}
		return fmt.Errorf("%d events, none of them", len(list.Items))
	})
	return message
}
