package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// balancer is a member's Service of type LoadBalancer, kube-system/NAME.
type balancer struct {
	t       *testing.T
	member  client.Client
	service *corev1.Service
}

func newBalancer(t *testing.T, cluster, name string, addresses ...string) *balancer {
	t.Helper()
	b := &balancer{t, clientOf(t, cluster), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 443}}},
	}}
	create(t, b.member, b.service)
	b.set(addresses...)
	return b
}

// set gives the load balancer addresses; what is no IP address is a hostname.
func (b *balancer) set(addresses ...string) {
	b.t.Helper()
	b.service.Status.LoadBalancer.Ingress = nil
	for _, address := range addresses {
		ingress := corev1.LoadBalancerIngress{IP: address}
		if _, err := netip.ParseAddr(address); err != nil {
			ingress = corev1.LoadBalancerIngress{Hostname: address}
		}
		b.service.Status.LoadBalancer.Ingress = append(b.service.Status.LoadBalancer.Ingress, ingress)
	}
	testkit.Must(b.t, b.member.Status().Update(b.t.Context(), b.service))
}

// byService has a member follow kube-system/traefik.
func byService(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Addresses = nil }

// at waits until a member's addresses are these.
func at(t *testing.T, c client.Client, name string, addresses ...string) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("MemberCluster %s should be at %v", name, addresses), func() error {
		var mc v1alpha1.MemberCluster
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, &mc); err != nil {
			return err
		}
		var is []string
		if mc.Status.Ingress != nil {
			is = mc.Status.Ingress.Addresses
		}
		if !slices.Equal(is, addresses) {
			return fmt.Errorf("is at %v: %+v", is, mc.Status.Conditions)
		}
		return nil
	})
}

// refusesAddress waits until hades has no address, since one is refused, and the
// condition says so.
func refusesAddress(t *testing.T, c client.Client, says ...string) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("MemberCluster hades should say %q", says), func() error {
		var mc v1alpha1.MemberCluster
		if err := c.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionReady)
		switch {
		case ready == nil || ready.Status != metav1.ConditionFalse || ready.Reason != "AddressRefused":
			return fmt.Errorf("is %+v", ready)
		case mc.Status.Ingress != nil:
			return fmt.Errorf("is at %v", mc.Status.Ingress.Addresses)
		}
		for _, say := range says {
			if !strings.Contains(ready.Message, say) {
				return fmt.Errorf("says %q", ready.Message)
			}
		}
		return nil
	})
}

// A member's Service names what no member has: the edge itself, its networks, another member.
func TestMemberMayNotChooseWhereTheEdgeIsLed(t *testing.T) {
	c := edge(t)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge-node"}, Spec: corev1.NodeSpec{PodCIDR: "10.42.7.0/24", PodCIDRs: []string{"10.42.7.0/24"}}}
	create(t, c, node)
	services := serviceRange(t, c)
	table := &routing.Live{}
	own := netip.MustParseAddrPort("192.0.2.1:443")
	t.Cleanup(startControllers(t, table, controllers.OwnAddress(func(a netip.AddrPort) bool { return a == own })))
	addMember(t, c, "illmatic", nil)
	b := newBalancer(t, "hades", "traefik", "192.0.2.77")
	addMember(t, c, "hades", byService)
	apply(t, "hades", ingressRoute("led", "Host(`led.techn.is`)", exposed))
	routed(t, table, "led.techn.is", "hades")

	for _, test := range []struct{ address, why string }{
		{"127.0.0.1", "loopback"},
		{"::1", "loopback"},
		{"169.254.169.254", "link-local"},
		{"fe80::1", "link-local"},
		{"224.0.0.1", "multicast"},
		{"0.0.0.0", "unspecified"},
		{"::", "unspecified"},
		{"64:ff9b::7f00:1", "loopback"},
		{"2002:a9fe:a9fe::1", "link-local"},
		{"localhost", "a name"},
		{"rebinds.example.org", "a name"},
		{addressOf["illmatic"], "the address of MemberCluster illmatic"},
		{"64:ff9b::" + addressOf["illmatic"], "the address of MemberCluster illmatic"},
		{own.Addr().String(), "usher's own"},
		{"10.42.7.9", "the edge cluster's Pod range 10.42.7.0/24"},
		{services.Addr().Next().String(), "the edge cluster's Service range " + services.String()},
	} {
		b.set(test.address)
		refusesAddress(t, c, test.why, "Service kube-system/traefik", "set spec.ingress.addresses")
		awaitHost(t, c, "led.techn.is", func(eh *v1alpha1.ExposedHost) error {
			ready := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionReady)
			if ready.Status != metav1.ConditionFalse || ready.Reason != "NoIngressAddress" || !strings.Contains(ready.Message, test.why) {
				return fmt.Errorf("is %+v", ready)
			}
			return nil
		})
		routed(t, table, "led.techn.is", "")
	}
	b.set("127.0.0.1", "192.0.2.78", "localhost") // what is sound beside it is served
	at(t, c, "hades", "192.0.2.78")
	mc := awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	if said := meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionReady).Message; !strings.Contains(said, "127.0.0.1, which is loopback") || !strings.Contains(said, `"localhost", which is a name`) {
		t.Errorf("it says %q", said)
	}
	routed(t, table, "led.techn.is", "hades")
}

// serviceRange is where the edge cluster's Services have their addresses.
func serviceRange(t *testing.T, c client.Client) netip.Prefix {
	t.Helper()
	var list networkingv1.ServiceCIDRList
	testkit.Must(t, c.List(t.Context(), &list))
	return netip.MustParsePrefix(list.Items[0].Spec.CIDRs[0])
}

// Hundreds of addresses, long names among them, make no long status.
func TestManyRefusedAddressesMakeAShortMessage(t *testing.T) {
	c := edge(t)
	startUsher(t)
	b := newBalancer(t, "hades", "traefik")
	addMember(t, c, "hades", byService)
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("%s%d.example", strings.Repeat("a.", 100), i))
	}
	b.set(many...)
	refusesAddress(t, c, "197 more are refused")
	mc := awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionFalse, "AddressRefused")
	if n := len(meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionReady).Message); n > 600 {
		t.Errorf("the message has %d characters", n)
	}
}

// What a person gave is his: but for loops, and for what contradicts his own networks.
func TestPinnedAddressesArePersonsChoice(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	own := netip.MustParseAddrPort("192.0.2.1:443")
	t.Cleanup(startControllers(t, table, controllers.OwnAddress(func(a netip.AddrPort) bool { return a == own })))
	addMember(t, c, "illmatic", nil)
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) {
		mc.Spec.Ingress.Addresses = []string{"127.0.0.1", addressOf["illmatic"], "traefik.lan"}
	})
	at(t, c, "hades", "127.0.0.1", addressOf["illmatic"], "traefik.lan")

	apply(t, "hades", ingressRoute("pinned", "Host(`pinned.techn.is`)", exposed))
	routed(t, table, "pinned.techn.is", "hades")
	change(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Addresses = []string{"192.0.2.1"} })
	awaitHost(t, c, "pinned.techn.is", notReady("AddressRefused", "192.0.2.1:443 is an address of usher itself"))

	change(t, c, "hades", func(mc *v1alpha1.MemberCluster) {
		mc.Spec.Ingress.Addresses, mc.Spec.Ingress.AllowedNetworks = []string{"203.0.113.9"}, []string{"192.0.2.0/24", "fd00::/8"}
	})
	refusesAddress(t, c, "203.0.113.9, which is outside spec.ingress.allowedNetworks")
	routed(t, table, "pinned.techn.is", "")
	change(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Addresses = []string{"203.0.113.9", "192.0.2.10"} })
	at(t, c, "hades", "192.0.2.10")
	routed(t, table, "pinned.techn.is", "hades")
	if got := table.Load().Lookup("pinned.techn.is").Backends[0].Addresses; !slices.Equal(got, []string{"192.0.2.10"}) {
		t.Errorf("it is routed to %v", got)
	}

	create(t, c, &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: "loop.techn.is"}, Spec: v1alpha1.ExposedHostSpec{Host: "loop.techn.is", Backends: []v1alpha1.HostBackend{{Address: "192.0.2.1"}}}})
	awaitHost(t, c, "loop.techn.is", notReady("AddressRefused", "192.0.2.1:443 is an address of usher itself"))
	var before v1alpha1.ExposedHost
	testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: "loop.techn.is"}, &before))
	testkit.Consistently(t, 500*time.Millisecond, "the ExposedHost should not be written again", func() error {
		var now v1alpha1.ExposedHost
		testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: "loop.techn.is"}, &now))
		if now.ResourceVersion != before.ResourceVersion {
			return fmt.Errorf("its status was %+v, and is %+v", before.Status, now.Status)
		}
		return nil
	})
}

func notReady(reason, says string) func(*v1alpha1.ExposedHost) error {
	return func(eh *v1alpha1.ExposedHost) error {
		ready := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Status != metav1.ConditionFalse || ready.Reason != reason || !strings.Contains(ready.Message, says) {
			return fmt.Errorf("is %+v", ready)
		}
		return nil
	}
}

// change edits a MemberCluster's spec.
func change(t *testing.T, c client.Client, name string, edit func(*v1alpha1.MemberCluster)) {
	t.Helper()
	var mc v1alpha1.MemberCluster
	testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: name}, &mc))
	before := mc.DeepCopy()
	edit(&mc)
	testkit.Must(t, c.Patch(t.Context(), &mc, client.MergeFrom(before)))
}

// A CIDR that is none is refused by the API itself.
func TestAllowedNetworksAreCIDRs(t *testing.T) {
	c := edge(t)
	for _, cidr := range []string{"192.168.0.0", "home", "192.168.0.0/40"} {
		mc := &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "odd"}, Spec: v1alpha1.MemberClusterSpec{Ingress: v1alpha1.IngressEndpoint{AllowedNetworks: []string{cidr}}}}
		if err := c.Create(t.Context(), mc, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "spec.ingress.allowedNetworks[0]") {
			t.Errorf("%s: %v", cidr, err)
		}
	}
}

// Two members name one address: the one that has it keeps it, though the other is older;
// a person's word comes before both.
func TestAddressOfAnotherMemberIsNotTaken(t *testing.T) {
	c := edge(t)
	startUsher(t)
	b := newBalancer(t, "hades", "traefik", "192.0.2.71")
	addMember(t, c, "hades", byService) // the older one
	at(t, c, "hades", "192.0.2.71")
	other := newBalancer(t, "illmatic", "traefik", "192.0.2.72")
	addMember(t, c, "illmatic", byService)
	at(t, c, "illmatic", "192.0.2.72")

	b.set("192.0.2.72")
	refusesAddress(t, c, "192.0.2.72, which is the address of MemberCluster illmatic")
	at(t, c, "illmatic", "192.0.2.72")
	other.set("192.0.2.73") // and it is free
	at(t, c, "hades", "192.0.2.72")
	at(t, c, "illmatic", "192.0.2.73")
	change(t, c, "illmatic", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Addresses = []string{"192.0.2.72"} })
	refusesAddress(t, c, "192.0.2.72, which is the address of MemberCluster illmatic")
	at(t, c, "illmatic", "192.0.2.72")
}

// What is behind a name that a person gave is that member's as well, also while the
// name server is silent.
func TestAddressBehindAnotherMembersNameIsNotTaken(t *testing.T) {
	c := edge(t)
	var silent atomic.Bool
	t.Cleanup(startControllers(t, &routing.Live{}, controllers.Lookup(func(_ context.Context, _, name string) ([]netip.Addr, error) {
		if silent.Load() || name != "traefik.lan" {
			return nil, errors.New("no answer")
		}
		return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.74"), netip.MustParseAddr("2001:db8::74")}, nil
	})))
	b := newBalancer(t, "hades", "traefik", "192.0.2.74")
	addMember(t, c, "hades", byService)
	at(t, c, "hades", "192.0.2.74")
	addMember(t, c, "illmatic", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Addresses = []string{"unknown.lan", "traefik.lan"} })
	refusesAddress(t, c, "192.0.2.74, which is the address of MemberCluster illmatic")
	silent.Store(true)
	b.set("2001:db8::74")
	refusesAddress(t, c, "2001:db8::74, which is the address of MemberCluster illmatic")
	b.set("192.0.2.75")
	at(t, c, "hades", "192.0.2.75")
	at(t, c, "illmatic", "unknown.lan", "traefik.lan")
}

// From addresses to a Service and back, and to another Service, while the member
// answers and while it does not: the host is routed without a gap until it is known
// that there is no address.
func TestSwitchingWhereAddressesComeFromLeavesNoGap(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	g := openGate(t, bed.Cluster("hades"))
	kubeconfig, err := bed.Cluster("hades").Kubeconfig()
	testkit.Must(t, err)
	newBalancer(t, "hades", "traefik", "192.0.2.77")
	addMemberBy(t, c, "hades", g.kubeconfig(t, kubeconfig))
	pinned := "traefik.lan" // a name, which no object could give
	change(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Addresses = []string{pinned} })
	apply(t, "hades", ingressRoute("switched", "Host(`switched.techn.is`)", exposed))
	routed(t, table, "switched.techn.is", "hades")
	at(t, c, "hades", pinned)
	gap := watchForGap(t, table, "switched.techn.is")

	g.freeze() // the member is away
	change(t, c, "hades", byService)
	awaitMember(t, c, "hades", v1alpha1.ConditionConnected, metav1.ConditionFalse, "Unreachable")
	at(t, c, "hades", pinned)
	g.thaw()
	at(t, c, "hades", "192.0.2.77")
	for range 3 {
		change(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Addresses = []string{pinned} })
		at(t, c, "hades", pinned)
		change(t, c, "hades", byService)
		at(t, c, "hades", "192.0.2.77")
	}
	newBalancer(t, "hades", "other", "192.0.2.78")
	change(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Service.Name = "other" })
	at(t, c, "hades", "192.0.2.78")
	if why := gap(); why != "" {
		t.Error(why)
	}

	change(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Service.Name = "nonesuch" })
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionFalse, "NoIngressAddress")
	at(t, c, "hades")
	routed(t, table, "switched.techn.is", "")
}

// usher starts while the member is away: the address that was known stays, and one
// that is refused meanwhile does not.
func TestRestartWhileMemberIsAwayKeepsItsAddress(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	stop := startControllers(t, table)
	g := openGate(t, bed.Cluster("hades"))
	kubeconfig, err := bed.Cluster("hades").Kubeconfig()
	testkit.Must(t, err)
	newBalancer(t, "hades", "traefik", "192.0.2.77")
	addMemberBy(t, c, "hades", g.kubeconfig(t, kubeconfig))
	change(t, c, "hades", byService)
	at(t, c, "hades", "192.0.2.77")
	stop()
	g.freeze()
	t.Cleanup(startControllers(t, table))
	awaitMember(t, c, "hades", v1alpha1.ConditionConnected, metav1.ConditionFalse, "Unreachable")
	at(t, c, "hades", "192.0.2.77")
	change(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.AllowedNetworks = []string{"198.51.100.0/24"} })
	at(t, c, "hades")
	g.thaw()
	refusesAddress(t, c, "outside spec.ingress.allowedNetworks")
	change(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.AllowedNetworks = nil })
	at(t, c, "hades", "192.0.2.77")
}
