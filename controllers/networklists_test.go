package controllers_test

import (
	"context"
	"fmt"
	"net/netip"
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

// networkList makes a NetworkList, and deletes it with the test.
func networkList(t *testing.T, c client.Client, name string, networks ...string) *v1alpha1.NetworkList {
	t.Helper()
	list := &v1alpha1.NetworkList{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.NetworkListSpec{Networks: networks}}
	create(t, c, list)
	return list
}

// setNetworks changes the networks of a list.
func setNetworks(t *testing.T, c client.Client, list *v1alpha1.NetworkList, networks ...string) {
	t.Helper()
	list.Spec.Networks = networks
	testkit.Must(t, c.Update(t.Context(), list))
}

// allowed waits until the table serves a host to one client and not to another.
func allowed(t *testing.T, table *routing.Live, host, in, out string) {
	t.Helper()
	testkit.Eventually(t, host+" should allow "+in+" and not "+out, func() error {
		route := table.Load().Lookup(host)
		if route == nil || route.Refusal != "" || !route.Allows(netip.MustParseAddr(in)) || route.Allows(netip.MustParseAddr(out)) {
			return fmt.Errorf("is %+v", route)
		}
		return nil
	})
}

// isAccepted checks that a host is accepted.
func isAccepted(eh *v1alpha1.ExposedHost) error {
	if !meta.IsStatusConditionTrue(eh.Status.Conditions, v1alpha1.ConditionAccepted) {
		return fmt.Errorf("not accepted: %+v", eh.Status.Conditions)
	}
	return nil
}

const fromFamily = `usher.techn.is/allow-from: "@family"`

// A host whose annotation names a list is refused until the list exists, allows its
// clients while it does, and is refused when it is deleted. So is a host by hand.
func TestNetworkLists(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("listed", "Host(`listed.nets.is`)", exposed, fromFamily))
	apply(t, "hades", ingressRoute("open", "Host(`open.nets.is`)", exposed))
	byHand := &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: "hand.nets.is"}, Spec: v1alpha1.ExposedHostSpec{
		Host: "hand.nets.is", Backends: []v1alpha1.HostBackend{{Address: "192.0.2.99"}}, AllowFrom: []string{"@family", "198.51.100.0/24"}}}
	create(t, c, byHand)
	for _, host := range []string{"listed.nets.is", "hand.nets.is"} {
		awaitHost(t, c, host, all(isAccepted, notReady(reason.UnknownNetworkList, "spec.allowFrom[0] names NetworkList family, which does not exist at the edge; create it, or correct the name")))
		refusedRoute(t, table, host, reason.UnknownNetworkList)
	}
	routed(t, table, "open.nets.is", "hades")

	family := networkList(t, c, "family", "192.168.0.0/16")
	awaitHost(t, c, "listed.nets.is", ready("hades"))
	allowed(t, table, "listed.nets.is", "192.168.1.1", "203.0.113.1")
	allowed(t, table, "hand.nets.is", "198.51.100.1", "203.0.113.1")

	out, err := bed.Cluster("edge").Kubectl(t.Context(), "get", "nl", "family")
	testkit.Must(t, err)
	if !strings.Contains(out, `["192.168.0.0/16"]`) {
		t.Errorf("kubectl shows %s", out)
	}

	// One change of the list changes all hosts, and writes none.
	w := countWrites(t)
	setNetworks(t, c, family, "203.0.113.0/24", "2001:db8::/32")
	for _, host := range []string{"listed.nets.is", "hand.nets.is"} {
		allowed(t, table, host, "203.0.113.1", "192.168.1.1")
		allowed(t, table, host, "2001:db8::1", "192.168.1.1")
	}
	setNetworks(t, c, family, "0.0.0.0/0")
	allowed(t, table, "listed.nets.is", "192.168.1.1", "2001:db8::1")
	if written := w.of("ExposedHost"); len(written) > 0 {
		t.Errorf("a change of a list writes hosts: %q", written)
	}

	testkit.Must(t, c.Delete(t.Context(), family))
	for _, host := range []string{"listed.nets.is", "hand.nets.is"} {
		refusedRoute(t, table, host, reason.UnknownNetworkList)
		awaitHost(t, c, host, notReady(reason.UnknownNetworkList, "family"))
	}
	routed(t, table, "open.nets.is", "hades")
	networkList(t, c, "family", "192.168.0.0/16")
	allowed(t, table, "listed.nets.is", "192.168.1.1", "203.0.113.1")
}

// Sources of one host with different lists: a client must be in all of them, also after a
// change. Without a common client the host says so.
func TestSourcesWithDifferentNetworkLists(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	networkList(t, c, "family", "192.168.0.0/16")
	vpn := networkList(t, c, "vpn", "192.168.7.0/24", "10.0.0.0/8")
	apply(t, "hades", ingressRoute("both-a", "Host(`both.nets.is`) && PathPrefix(`/a`)", exposed, fromFamily))
	apply(t, "hades", ingressRoute("both-b", "Host(`both.nets.is`)", exposed, `usher.techn.is/allow-from: "@vpn"`))
	allowed(t, table, "both.nets.is", "192.168.7.1", "192.168.1.1")
	allowed(t, table, "both.nets.is", "192.168.7.1", "10.0.0.1")
	awaitHost(t, c, "both.nets.is", func(eh *v1alpha1.ExposedHost) error {
		if got := strings.Join(eh.Spec.AllowFrom, " "); got != "@family&@vpn" {
			return fmt.Errorf("allowFrom is %s", got)
		}
		return ready("hades")(eh)
	})
	setNetworks(t, c, vpn, "10.0.0.0/8")
	awaitHost(t, c, "both.nets.is", notReady(reason.AllowFromDisjoint, "no client in common"))
	testkit.Eventually(t, "no client should be allowed", func() error {
		for _, client := range []string{"192.168.7.1", "192.168.1.1", "10.0.0.1", "203.0.113.1", "2001:db8::1"} {
			if route := table.Load().Lookup("both.nets.is"); route == nil || route.Refusal == "" && route.Allows(netip.MustParseAddr(client)) {
				return fmt.Errorf("%s: %+v", client, route)
			}
		}
		return nil
	})
	setNetworks(t, c, vpn, "192.168.9.0/24")
	allowed(t, table, "both.nets.is", "192.168.9.1", "192.168.1.1")
	awaitHost(t, c, "both.nets.is", ready("hades"))
}

// A member has no word in a list: its own object of the kind is not read, and a name that
// is none refuses the host.
func TestMembersCannotMakeNetworkLists(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	testkit.Must(t, bed.Cluster("hades").ApplyFiles(t.Context(), "../config/crd/usher.techn.is_networklists.yaml"))
	apply(t, "hades", "{apiVersion: usher.techn.is/v1alpha1, kind: NetworkList, metadata: {name: mine}, spec: {networks: [0.0.0.0/0]}}")
	apply(t, "hades", ingressRoute("mine", "Host(`mine.nets.is`)", exposed, `usher.techn.is/allow-from: "@mine"`))
	awaitHost(t, c, "mine.nets.is", notReady(reason.UnknownNetworkList, "NetworkList mine, which does not exist at the edge"))
	refusedRoute(t, table, "mine.nets.is", reason.UnknownNetworkList)
	for i, name := range []string{"@", "@@mine", "@../mine", "@Mine", "@mine/8", "@mine&0.0.0.0/0", "@" + strings.Repeat("m", 64), "@" + strings.Repeat("m", 100<<10), "@m\\u0000", "mine"} {
		host := fmt.Sprintf("odd%d.nets.is", i)
		apply(t, "hades", ingressRoute(fmt.Sprint("odd", i), "Host(`"+host+"`)", exposed, `usher.techn.is/allow-from: "`+name+`"`))
		awaitHost(t, c, host, refused(reason.AnnotationInvalid))
		refusedRoute(t, table, host, reason.AnnotationInvalid)
	}
}

// Hosts that share TLS options must have the same lists by name: equal networks may differ
// at any time.
func TestIsolationComparesNetworkListsByName(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", isolate)
	networkList(t, c, "family", "192.168.0.0/16")
	networkList(t, c, "friends", "192.168.0.0/16")
	apply(t, "hades", withOptions("exposed", ingressRoute("a", "Host(`a.netiso.is`)", exposed, fromFamily)))
	routed(t, table, "a.netiso.is", "hades")
	apply(t, "hades", withOptions("exposed", ingressRoute("b", "Host(`b.netiso.is`)", exposed, fromFamily)))
	routed(t, table, "b.netiso.is", "hades")
	for name, clients := range map[string]string{"c": "@friends", "d": "192.168.0.0/16"} {
		apply(t, "hades", withOptions("exposed", ingressRoute(name, "Host(`"+name+".netiso.is`)", exposed, `usher.techn.is/allow-from: "`+clients+`"`)))
		awaitHost(t, c, name+".netiso.is", all(refused(reason.IsolationShared), mentions("which has allow-from @family, while this host has allow-from "+clients)))
		refusedRoute(t, table, name+".netiso.is", reason.IsolationShared)
	}
}

// With an ExposedHost's definition of an older usher, a host is refused once its source
// names a list. It does not stay open for everyone, as it was.
func TestOldDefinitionRefusesHostsWithNetworkLists(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	networkList(t, c, "family", "192.168.0.0/16")
	apply(t, "hades", ingressRoute("olddef", "Host(`olddef.nets.is`)", exposed))
	routed(t, table, "olddef.nets.is", "hades")
	t.Cleanup(func() {
		testkit.Must(t, bed.Cluster("edge").ApplyFiles(context.Background(), "../config/crd/usher.techn.is_exposedhosts.yaml"))
	})
	_, err := bed.Cluster("edge").Kubectl(t.Context(), "patch", "crd", "exposedhosts.usher.techn.is", "--type=json", "-p",
		`[{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/allowFrom/items", "value": {"type": "string", "maxLength": 49, "x-kubernetes-validations": [{"rule": "isCIDR(self)", "message": "not a CIDR"}]}}]`)
	testkit.Must(t, err)
	testkit.Eventually(t, "the old definition should be used", func() error {
		err := bed.Cluster("edge").Apply(t.Context(), exposedHost("probe.nets.is", "{host: probe.nets.is, allowFrom: ['@family']}"))
		if err == nil {
			return fmt.Errorf("it is not: %w", c.Delete(t.Context(), &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: "probe.nets.is"}}))
		}
		return nil
	})
	apply(t, "hades", ingressRoute("olddef", "Host(`olddef.nets.is`)", exposed, fromFamily))
	awaitHost(t, c, "olddef.nets.is", all(refused(reason.SpecInvalid), mentions("install its own")))
	refusedRoute(t, table, "olddef.nets.is", reason.SpecInvalid)
}
