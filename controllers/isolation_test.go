package controllers_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// isolate is spec.isolation with the TLSOption exposed of namespace default.
func isolate(mc *v1alpha1.MemberCluster) {
	mc.Spec.Isolation = &v1alpha1.Isolation{TLSOptions: v1alpha1.TLSOptionsRef{Namespace: "default", Name: "exposed"}}
}

// withOptions sets the TLS options of an IngressRoute.
func withOptions(name, manifest string) string {
	return withSpec(manifest, fmt.Sprintf("tls: {options: {name: %s}}", name))
}

const exposedOptions = `traefik.ingress.kubernetes.io/router.tls.options: default-exposed@kubernetescrd`

// With spec.isolation a host is served only if Traefik uses the isolating TLS options
// for it.
func TestIsolationRefusesRoutesWithoutItsOptions(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", isolate)

	apply(t, "hades", withOptions("exposed", ingressRoute("marked", "Host(`marked.iso.is`)", exposed)))
	apply(t, "hades", withOptions("exposed-family", ingressRoute("family", "Host(`family.iso.is`)", exposed)))
	apply(t, "hades", ingress("annotated", "annotated.iso.is", exposed, exposedOptions))
	for _, host := range []string{"marked.iso.is", "family.iso.is", "annotated.iso.is"} {
		routed(t, table, host, "hades")
	}
	for name, manifest := range map[string]string{
		"none":     ingressRoute("none", "Host(`none.iso.is`)", exposed),
		"other":    withOptions("exposedly", ingressRoute("other", "Host(`other.iso.is`)", exposed)),
		"file":     withOptions(`"exposed@file"`, ingressRoute("file", "Host(`file.iso.is`)", exposed)),
		"ingress":  ingress("ingress", "ingress.iso.is", exposed),
		"any":      strings.Replace(ingress("any", "any.iso.is", exposed, exposedOptions, "usher.techn.is/hosts: any.iso.is"), "host: \"any.iso.is\", ", "", 1),
		"wildcard": ingress("wildcard", "*.iso.is", exposed, exposedOptions),
		"regexp": inSyntax("v3", withOptions("exposed", ingressRoute("regexp", "HostRegexp(`^regexp\\.iso\\.is$`)", exposed,
			`usher.techn.is/hosts: regexp.iso.is`))),
	} {
		apply(t, "hades", manifest)
		awaitHost(t, c, name+".iso.is", all(refused(reason.NotIsolated), mentions(" default/"+name)))
		refusedRoute(t, table, name+".iso.is", reason.NotIsolated)
	}
	apply(t, "hades", ingressRouteTCP("passthrough", "HostSNI(`passthrough.iso.is`)"))
	routed(t, table, "passthrough.iso.is", "hades")

	// Without isolation all of them are served, and with it they are refused again.
	change := func(isolation *v1alpha1.Isolation) {
		testkit.Eventually(t, "MemberCluster should change", func() error {
			var mc v1alpha1.MemberCluster
			if err := c.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc); err != nil {
				return err
			}
			mc.Spec.Isolation = isolation
			return c.Update(t.Context(), &mc)
		})
	}
	change(nil)
	routed(t, table, "none.iso.is", "hades")
	change(&v1alpha1.Isolation{TLSOptions: v1alpha1.TLSOptionsRef{Namespace: "default", Name: "exposed"}})
	refusedRoute(t, table, "none.iso.is", reason.NotIsolated)
	routed(t, table, "marked.iso.is", "hades")
}

// An object without the annotation that has other TLS options undoes the isolation of
// the hosts it names, and of the other hosts of their routers.
func TestUnannotatedRouteUndoesIsolation(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", isolate)
	apply(t, "hades", withOptions("exposed", ingressRoute("two", "Host(`one.undo.is`) || Host(`two.undo.is`)", exposed)))
	apply(t, "hades", withOptions("exposed", ingressRoute("apart", "Host(`apart.undo.is`)", exposed)))
	routed(t, table, "one.undo.is", "hades")

	// A redirect on the entry point web takes no TLS connections.
	apply(t, "hades", strings.Replace(ingressRoute("redirect", "Host(`two.undo.is`)"), "websecure", "web", 1))
	apply(t, "hades", ingressRoute("sibling", "Host(`two.undo.is`) && PathPrefix(`/admin`)"))
	for _, host := range []string{"one.undo.is", "two.undo.is"} {
		refusedRoute(t, table, host, reason.NotIsolated)
		awaitHost(t, c, host, all(refused(reason.NotIsolated), mentions("IngressRoute default/sibling;")))
	}
	routed(t, table, "apart.undo.is", "hades")
	awaitMember(t, c, "hades", v1alpha1.ConditionIsolated, metav1.ConditionTrue, reason.Isolated)

	// With the options it is isolated again, and reported: clients reach it.
	apply(t, "hades", withOptions("exposed", ingressRoute("sibling", "Host(`two.undo.is`) && PathPrefix(`/admin`)")))
	routed(t, table, "one.undo.is", "hades")
	routed(t, table, "two.undo.is", "hades")
	mc := awaitMember(t, c, "hades", v1alpha1.ConditionIsolated, metav1.ConditionFalse, reason.UnannotatedRoutes)
	if message := meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionIsolated).Message; !strings.Contains(message, "IngressRoute default/sibling;") {
		t.Errorf("%s does not name the sibling alone", message)
	}
	remove(t, "hades", ingressRoute("sibling", "Host(`two.undo.is`)"))
	awaitMember(t, c, "hades", v1alpha1.ConditionIsolated, metav1.ConditionTrue, reason.Isolated)
}

// Hosts whose clients differ must not share TLS options: the younger one is refused.
func TestHostsOfDifferentClientsNeedDifferentOptions(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", isolate)
	const home, lan = "usher.techn.is/allow-from: 192.168.0.0/16", "usher.techn.is/allow-from: 10.0.0.0/8"
	apply(t, "hades", withOptions("exposed", ingressRoute("a-open", "Host(`open.share.is`)", exposed)))
	routed(t, table, "open.share.is", "hades")
	apply(t, "hades", withOptions("exposed", ingressRoute("b-home", "Host(`home.share.is`)", exposed, home)))
	awaitHost(t, c, "home.share.is", all(refused(reason.IsolationShared), mentions("host open.share.is of IngressRoute default/a-open")))
	routed(t, table, "open.share.is", "hades")

	apply(t, "hades", withOptions("exposed-home", ingressRoute("b-home", "Host(`home.share.is`)", exposed, home)))
	routed(t, table, "home.share.is", "hades")
	apply(t, "hades", withOptions("exposed-home", ingressRoute("c-home", "Host(`too.share.is`)", exposed, home)))
	routed(t, table, "too.share.is", "hades")
	apply(t, "hades", withOptions("exposed-home", ingressRoute("c-home", "Host(`too.share.is`)", exposed, lan)))
	refusedRoute(t, table, "too.share.is", reason.IsolationShared)
	routed(t, table, "home.share.is", "hades")

	// When the older one goes, nothing is shared any longer.
	remove(t, "hades", ingressRoute("b-home", "Host(`home.share.is`)"))
	routed(t, table, "too.share.is", "hades")
}

// A source on other entry points than those that usher leads to is refused.
func TestEntryPoints(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.EntryPoints = []string{"websecure", "public"} })
	apply(t, "hades", ingressRoute("both", "Host(`both.entry.is`)", exposed))
	routed(t, table, "both.entry.is", "hades")
	apply(t, "hades", ingress("anywhere", "anywhere.entry.is", exposed))
	routed(t, table, "anywhere.entry.is", "hades")
	apply(t, "hades", strings.Replace(ingressRoute("metrics", "Host(`metrics.entry.is`)", exposed), "websecure", "metrics", 1))
	refusedRoute(t, table, "metrics.entry.is", reason.EntryPoint)
	apply(t, "hades", ingress("web", "web.entry.is", exposed, `traefik.ingress.kubernetes.io/router.entrypoints: "web, traefik"`))
	awaitHost(t, c, "web.entry.is", all(refused(reason.EntryPoint), mentions("only on web, traefik, and TLS connections from usher come to websecure, public")))
}

// A source on the entry point of plain HTTP alone is served there, if it asks for that,
// and its host is refused on port 443.
func TestPlainEntryPointServesPlainHTTPOnly(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) {
		isolate(mc)
		mc.Spec.Ingress.EntryPoints = []string{"websecure"}
	})
	const forward = "usher.techn.is/plain-http: forward"
	plain := func(annotations ...string) string {
		return strings.Replace(ingressRoute("plain", "Host(`plain.entry.is`)", annotations...), "websecure", "web", 1)
	}
	apply(t, "hades", plain(exposed))
	refusedRoute(t, table, "plain.entry.is", reason.EntryPoint)
	apply(t, "hades", plain(exposed, forward))
	routed(t, table, "plain.entry.is", "hades")
	if route := table.Load().Lookup("plain.entry.is"); !route.PlainOnly || route.PlainHTTP != routing.Forward {
		t.Errorf("the route is %+v", route)
	}
	// A second source with TLS opens port 443, and its plain-http is the stricter one.
	apply(t, "hades", withOptions("exposed", ingressRoute("secure", "Host(`plain.entry.is`)", exposed)))
	testkit.Eventually(t, "port 443 should be open", func() error {
		if route := table.Load().Lookup("plain.entry.is"); route == nil || route.PlainOnly || route.PlainHTTP != routing.Redirect {
			return fmt.Errorf("the route is %+v", route)
		}
		return nil
	})
}

// The ports of the Service of Traefik's chart name its entry points.
func TestEntryPointsAreReadFromTheService(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	service := func(https string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: entries, namespace: default, labels: {app.kubernetes.io/name: traefik}}, "+
			"spec: {ports: [{name: web, port: 80}, {name: %s, port: 443}]}}", https)
	}
	apply(t, "hades", service("websecure"))
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) {
		mc.Spec.Ingress.Service = v1alpha1.ServiceRef{Namespace: "default", Name: "entries"}
	})
	apply(t, "hades", ingressRoute("secure", "Host(`secure.port.is`)", exposed))
	routed(t, table, "secure.port.is", "hades")
	apply(t, "hades", strings.Replace(ingressRoute("ldaps", "Host(`ldaps.port.is`)", exposed), "websecure", "ldaps", 1))
	refusedRoute(t, table, "ldaps.port.is", reason.EntryPoint)
	testkit.Eventually(t, "status.traefik should have the entry points", func() error {
		var mc v1alpha1.MemberCluster
		if err := c.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc); err != nil {
			return err
		}
		if seen := mc.Status.Traefik; seen == nil || strings.Join(seen.EntryPoints, " ") != "websecure" || strings.Join(seen.HTTPEntryPoints, " ") != "web" {
			return fmt.Errorf("it is %+v", seen)
		}
		return nil
	})
	apply(t, "hades", service("ldaps"))
	routed(t, table, "ldaps.port.is", "hades")
	refusedRoute(t, table, "secure.port.is", reason.EntryPoint)
}

// A manually written host of an isolated cluster says that its route is not isolated.
func TestManualHostWithoutIsolationIsReported(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", isolate)
	apply(t, "hades", ingressRoute("manual", "Host(`manual.iso.is`)"))
	create(t, c, &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: "manual.iso.is"}, Spec: v1alpha1.ExposedHostSpec{
		Host: "manual.iso.is", Backends: []v1alpha1.HostBackend{{Cluster: "hades"}},
	}})
	routed(t, table, "manual.iso.is", "hades")
	warned := func(want bool) func(*v1alpha1.ExposedHost) error {
		return func(eh *v1alpha1.ExposedHost) error {
			accepted := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionAccepted)
			if accepted == nil || strings.Contains(accepted.Message, "no route of the host has its TLS options") != want {
				return fmt.Errorf("it is %+v", accepted)
			}
			return nil
		}
	}
	awaitHost(t, c, "manual.iso.is", warned(true))
	apply(t, "hades", withOptions("exposed", ingressRoute("manual", "Host(`manual.iso.is`)")))
	awaitHost(t, c, "manual.iso.is", warned(false))
}

// A host whose isolation takes too much work to check is refused, and costs no other host.
func TestIsolationThatCannotBeCheckedRefuses(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", isolate)
	apply(t, "hades", withOptions("exposed", ingressRoute("plain", "Host(`plain.many.is`)", exposed)))
	routed(t, table, "plain.many.is", "hades")
	apply(t, "hades", withOptions("exposed", ingressRoute("tangled", "Host(`tangled.many.is`)", exposed)))
	routed(t, table, "tangled.many.is", "hades")
	// Three routers with 400 hosts each have the host in common with the published one.
	for i := range 3 {
		rule := "Host(`tangled.many.is`)"
		for n := range 400 {
			rule += fmt.Sprintf(" || Host(`h%d-%d.many.is`)", i, n)
		}
		apply(t, "hades", withOptions("exposed", ingressRoute(fmt.Sprintf("sibling%d", i), rule)))
	}
	refusedRoute(t, table, "tangled.many.is", reason.NotIsolated)
	awaitHost(t, c, "tangled.many.is", all(refused(reason.NotIsolated), mentions("than usher checks")))
	routed(t, table, "plain.many.is", "hades")
	remove(t, "hades", ingressRoute("sibling0", "Host(`x.is`)"))
	routed(t, table, "tangled.many.is", "hades")
}
