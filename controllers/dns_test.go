package controllers_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/dnsrecord"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// dnsConfig has a public and an internal target.
func dnsConfig(t *testing.T, public ...string) dnsrecord.Config {
	t.Helper()
	outside, err := dnsrecord.ParseTarget(public)
	testkit.Must(t, err)
	inside, err := dnsrecord.ParseTarget([]string{"192.168.1.2"})
	testkit.Must(t, err)
	return dnsrecord.Config{Public: outside, Internal: inside, TTL: 300}
}

// edgeWithDNS is edge, with the kind DNSEndpoint and none of it.
func edgeWithDNS(t *testing.T) client.Client {
	t.Helper()
	c := edge(t)
	testkit.Must(t, bed.Cluster("edge").InstallExternalDNSCRDs(t.Context()))
	removeAll := func() {
		if _, err := bed.Cluster("edge").Kubectl(context.Background(), "delete", "dnsendpoints", "--all", "-n", namespace); err != nil {
			t.Error(err)
		}
	}
	removeAll()
	t.Cleanup(removeAll)
	return c
}

func dnsEndpoint(name string) *unstructured.Unstructured {
	endpoint := &unstructured.Unstructured{}
	endpoint.SetGroupVersionKind(dnsrecord.Kind)
	endpoint.SetNamespace(namespace)
	endpoint.SetName(name)
	return endpoint
}

// awaitEndpoint waits until a DNSEndpoint has endpoints, written as fmt does.
func awaitEndpoint(t *testing.T, c client.Client, name, want string) *unstructured.Unstructured {
	t.Helper()
	endpoint := dnsEndpoint(name)
	testkit.Eventually(t, "DNSEndpoint "+name, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(endpoint), endpoint); err != nil {
			return err
		}
		got, _, _ := unstructured.NestedSlice(endpoint.Object, "spec", "endpoints")
		if fmt.Sprint(got) != want {
			return fmt.Errorf("is %v, want %s", got, want)
		}
		return nil
	})
	return endpoint
}

func awaitNoEndpoint(t *testing.T, c client.Client, name string) {
	t.Helper()
	testkit.Eventually(t, "DNSEndpoint "+name+" should go", func() error {
		err := c.Get(t.Context(), client.ObjectKeyFromObject(dnsEndpoint(name)), dnsEndpoint(name))
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("still there (%w)", err)
	})
}

// dnsReady checks the DNSReady condition; an empty reason means that there is none.
func dnsReady(status metav1.ConditionStatus, why, says string) func(*v1alpha1.ExposedHost) error {
	return func(eh *v1alpha1.ExposedHost) error {
		is := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionDNSReady)
		switch {
		case is == nil && why == "":
			return nil
		case is == nil || is.Status != status || is.Reason != why || !strings.Contains(is.Message, says):
			return fmt.Errorf("DNSReady is %+v, want %s %s %q", is, status, why, says)
		}
		return nil
	}
}

// readEndpoint does what external-dns does when it has read a DNSEndpoint.
func readEndpoint(t *testing.T, c client.Client, endpoint *unstructured.Unstructured) {
	t.Helper()
	testkit.Must(t, unstructured.SetNestedField(endpoint.Object, endpoint.GetGeneration(), "status", "observedGeneration"))
	testkit.Must(t, c.Status().Update(t.Context(), endpoint))
}

const (
	publicA   = "[map[dnsName:%s recordTTL:300 recordType:A targets:[203.0.113.7]]]"
	internalA = "[map[dnsName:%s recordTTL:300 recordType:A targets:[192.168.1.2]]]"
)

// An accepted host has a DNSEndpoint in each view, and none when it is refused, withdrawn
// or annotated. A host that moves between clusters, and a restart, write nothing.
func TestDNSEndpoints(t *testing.T) {
	c := edgeWithDNS(t)
	option := controllers.DNS(dnsConfig(t, "203.0.113.7"), nil)
	stop := startControllers(t, &routing.Live{}, option, controllers.HandoverGrace(0))
	t.Cleanup(func() { stop() })
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("named", "Host(`named.dns.is`)", exposed))
	apply(t, "hades", ingressRoute("wild", "HostRegexp(`^.+$`)", exposed, `usher.techn.is/hosts: "*.wild.dns.is"`, `usher.techn.is/dns-ttl: "60"`, `usher.techn.is/dns-cloudflare-proxied: "true"`))
	apply(t, "hades", ingressRoute("none", "Host(`none.dns.is`)", exposed, `usher.techn.is/dns: "false"`))
	apply(t, "hades", ingressRoute("wrong", "Host(`wrong.dns.is`)", exposed, `usher.techn.is/dns-ttl: 5m`))

	public := awaitEndpoint(t, c, "named.dns.is.public", fmt.Sprintf(publicA, "named.dns.is"))
	internal := awaitEndpoint(t, c, "named.dns.is.internal", fmt.Sprintf(internalA, "named.dns.is"))
	awaitEndpoint(t, c, "wildcard.wild.dns.is.public", "[map[dnsName:*.wild.dns.is providerSpecific:[map[name:external-dns.alpha.kubernetes.io/cloudflare-proxied value:true]] recordTTL:60 recordType:A targets:[203.0.113.7]]]")
	if public.GetLabels()["usher.techn.is/dns-view"] != "public" || internal.GetLabels()["usher.techn.is/dns-view"] != "internal" {
		t.Errorf("the labels are %v and %v", public.GetLabels(), internal.GetLabels())
	}
	eh := awaitHost(t, c, "named.dns.is", dnsReady(metav1.ConditionUnknown, reason.DNSPending, "named.dns.is.public, named.dns.is.internal"))
	if owner := metav1.GetControllerOf(public); owner == nil || owner.UID != eh.UID {
		t.Errorf("the owner is %+v", owner)
	}
	if got := fmt.Sprint(eh.Status.DNS); got != "[{Public A [203.0.113.7] 300} {Internal A [192.168.1.2] 300}]" {
		t.Errorf("status.dns is %s", got)
	}
	readEndpoint(t, c, public)
	readEndpoint(t, c, internal)
	awaitHost(t, c, "named.dns.is", dnsReady(metav1.ConditionTrue, reason.DNSPublished, "named.dns.is.public"))
	awaitHost(t, c, "wrong.dns.is", refused(reason.AnnotationInvalid))
	awaitHost(t, c, "none.dns.is", ready("hades"))
	awaitHost(t, c, "none.dns.is", dnsReady("", "", ""))
	for _, name := range []string{"none.dns.is.public", "none.dns.is.internal", "wrong.dns.is.public"} {
		awaitNoEndpoint(t, c, name)
	}

	// To another cluster: not a byte of the DNSEndpoint changes.
	version := current(t, c, public)
	addMember(t, c, "illmatic", nil)
	apply(t, "illmatic", ingressRoute("named", "Host(`named.dns.is`)", exposed))
	awaitHost(t, c, "named.dns.is", func(eh *v1alpha1.ExposedHost) error {
		if len(eh.Status.Rivals) != 1 {
			return fmt.Errorf("rivals are %v", eh.Status.Rivals)
		}
		return nil
	})
	remove(t, "hades", ingressRoute("named", "Host(`named.dns.is`)"))
	awaitHost(t, c, "named.dns.is", func(eh *v1alpha1.ExposedHost) error {
		for _, condition := range eh.Status.Conditions {
			if condition.ObservedGeneration != eh.Generation {
				return fmt.Errorf("condition %s is of generation %d, not %d", condition.Type, condition.ObservedGeneration, eh.Generation)
			}
		}
		return ready("illmatic")(eh)
	})

	stop()
	w := countWrites(t)
	stop = startControllers(t, &routing.Live{}, option, controllers.HandoverGrace(0))
	apply(t, "hades", ingressRoute("last", "Host(`last.dns.is`)", exposed))
	awaitEndpoint(t, c, "last.dns.is.internal", fmt.Sprintf(internalA, "last.dns.is"))
	awaitHost(t, c, "last.dns.is", dnsReady(metav1.ConditionUnknown, reason.DNSPending, "last.dns.is.public"))
	testkit.Consistently(t, 2*time.Second, "writes", func() error {
		for _, written := range w.of("ExposedHost") {
			if !strings.Contains(written, "last.dns.is: ") {
				return fmt.Errorf("a restart wrote %s", written)
			}
		}
		return nil
	})
	if is := current(t, c, public); is != version {
		t.Errorf("the DNSEndpoint was written: version %s, and %s before", is, version)
	}

	// Refused, and withdrawn.
	apply(t, "illmatic", ingressRoute("named", "Host(`named.dns.is`)", exposed, `usher.techn.is/dns-ttl: "0"`))
	awaitHost(t, c, "named.dns.is", refused(reason.AnnotationInvalid))
	awaitNoEndpoint(t, c, "named.dns.is.public")
	awaitHost(t, c, "named.dns.is", dnsReady("", "", ""))
	remove(t, "hades", ingressRoute("wild", "Host(`x`)"))
	awaitGone(t, c, "wildcard.wild.dns.is")
	awaitNoEndpoint(t, c, "wildcard.wild.dns.is.public")
	awaitNoEndpoint(t, c, "wildcard.wild.dns.is.internal")
}

// current returns the resource version of an object now.
func current(t *testing.T, c client.Client, o client.Object) string {
	t.Helper()
	testkit.Must(t, c.Get(t.Context(), client.ObjectKeyFromObject(o), o))
	return o.GetResourceVersion()
}

// An unreachable member withdraws no record, also after a restart.
func TestUnreachableMemberKeepsDNSEndpoints(t *testing.T) {
	c := edgeWithDNS(t)
	option := controllers.DNS(dnsConfig(t, "203.0.113.7"), nil)
	stop := startControllers(t, &routing.Live{}, option)
	t.Cleanup(func() { stop() })
	kubeconfig, err := bed.Cluster("hades").Kubeconfig()
	testkit.Must(t, err)
	g := openGate(t, bed.Cluster("hades"))
	addMemberBy(t, c, "hades", g.kubeconfig(t, kubeconfig))
	apply(t, "hades", ingressRoute("far", "Host(`far.dns.is`)", exposed, `usher.techn.is/dns-ttl: "60"`))
	want := strings.Replace(fmt.Sprintf(publicA, "far.dns.is"), "300", "60", 1)
	version := current(t, c, awaitEndpoint(t, c, "far.dns.is.public", want))
	g.reset(true)
	g.cut()
	awaitMember(t, c, "hades", v1alpha1.ConditionConnected, metav1.ConditionFalse, "Unreachable")
	stop()
	stop = startControllers(t, &routing.Live{}, option)
	addMember(t, c, "illmatic", nil)
	apply(t, "illmatic", ingressRoute("near", "Host(`near.dns.is`)", exposed))
	awaitEndpoint(t, c, "near.dns.is.public", fmt.Sprintf(publicA, "near.dns.is"))
	if is := current(t, c, dnsEndpoint("far.dns.is.public")); is != version {
		t.Errorf("the DNSEndpoint was written: version %s, and %s before", is, version)
	}
}

// Without the kind, usher works and says so; when the kind comes, goes and comes again, the
// records follow without a restart.
func TestDNSWithoutTheKind(t *testing.T) {
	c := edge(t)
	uninstall := func() {
		_, err := bed.Cluster("edge").Kubectl(context.Background(), "delete", "crd", "--ignore-not-found", "dnsendpoints.externaldns.k8s.io")
		testkit.Must(t, err)
	}
	uninstall()
	table := &routing.Live{}
	stop := startControllers(t, table, controllers.DNS(dnsConfig(t, "home.example.net"), nil))
	t.Cleanup(stop)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("early", "Host(`early.dns.is`)", exposed))
	unavailable := dnsReady(metav1.ConditionFalse, reason.DNSEndpointsUnavailable, "has no kind DNSEndpoint")
	for range 2 {
		awaitHost(t, c, "early.dns.is", all(ready("hades"), unavailable))
		routed(t, table, "early.dns.is", "hades")
		testkit.Must(t, bed.Cluster("edge").InstallExternalDNSCRDs(t.Context()))
		awaitEndpoint(t, c, "early.dns.is.public", "[map[dnsName:early.dns.is recordTTL:300 recordType:CNAME targets:[home.example.net]]]")
		awaitHost(t, c, "early.dns.is", dnsReady(metav1.ConditionUnknown, reason.DNSPending, "early.dns.is.public"))
		uninstall()
	}
	awaitHost(t, c, "early.dns.is", all(ready("hades"), unavailable))
}

// A change of usher's own DNSEndpoint is undone, however large. One that is not its own
// stays as it is, and the host says so.
func TestDNSEndpointsOfOthers(t *testing.T) {
	c := edgeWithDNS(t)
	stop := startControllers(t, &routing.Live{}, controllers.DNS(dnsConfig(t, "203.0.113.7"), nil))
	t.Cleanup(stop)
	foreign := dnsEndpoint("taken.dns.is.public")
	testkit.Must(t, unstructured.SetNestedSlice(foreign.Object, []any{map[string]any{"dnsName": "taken.dns.is", "recordType": "A", "targets": []any{"198.51.100.1"}}}, "spec", "endpoints"))
	foreign.SetLabels(map[string]string{"usher.techn.is/managed": "true", "usher.techn.is/dns-view": "public"}) // and no owner
	create(t, c, foreign)
	for _, name := range []string{"taken.dns.is", "mine.dns.is", "home.dns.is"} {
		create(t, c, &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.ExposedHostSpec{Host: name, Backends: []v1alpha1.HostBackend{{Address: "192.0.2.99"}}}})
	}
	version := current(t, c, foreign)
	awaitHost(t, c, "taken.dns.is", dnsReady(metav1.ConditionFalse, reason.DNSNameTaken, "usher-system/taken.dns.is.public exists"))
	if is := current(t, c, foreign); is != version {
		t.Errorf("usher has written a DNSEndpoint that is not its own")
	}

	mine := awaitEndpoint(t, c, "mine.dns.is.public", fmt.Sprintf(publicA, "mine.dns.is"))
	var many []any
	for i := range 1000 {
		many = append(many, map[string]any{"dnsName": fmt.Sprintf("evil%d.dns.is", i), "recordType": "A", "targets": []any{"198.51.100.1"}})
	}
	testkit.Must(t, unstructured.SetNestedSlice(mine.Object, many, "spec", "endpoints"))
	testkit.Must(t, c.Update(t.Context(), mine))
	mine = awaitEndpoint(t, c, "mine.dns.is.public", fmt.Sprintf(publicA, "mine.dns.is"))
	testkit.Must(t, c.Delete(t.Context(), mine))
	mine = awaitEndpoint(t, c, "mine.dns.is.public", fmt.Sprintf(publicA, "mine.dns.is"))
	mine.SetLabels(nil) // a person takes it over
	testkit.Must(t, c.Update(t.Context(), mine))
	awaitHost(t, c, "mine.dns.is", dnsReady(metav1.ConditionFalse, reason.DNSNameTaken, "mine.dns.is.public"))
}

// Without a target, or with that of one view only, nothing else is written, and what an
// earlier configuration left in the status goes.
func TestDNSOff(t *testing.T) {
	c := edgeWithDNS(t)
	create(t, c, &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: "off.dns.is"}, Spec: v1alpha1.ExposedHostSpec{Host: "off.dns.is", Backends: []v1alpha1.HostBackend{{Address: "192.0.2.99"}}}})
	stop := startControllers(t, &routing.Live{}, controllers.DNS(dnsConfig(t, "off.dns.is"), nil))
	awaitEndpoint(t, c, "off.dns.is.internal", fmt.Sprintf(internalA, "off.dns.is"))
	awaitHost(t, c, "off.dns.is", dnsReady(metav1.ConditionFalse, reason.DNSTargetItself, "its own CNAME"))
	awaitNoEndpoint(t, c, "off.dns.is.public")
	stop()
	outside := dnsConfig(t, "203.0.113.7")
	outside.Internal = dnsrecord.Target{}
	stop = startControllers(t, &routing.Live{}, controllers.DNS(outside, nil))
	awaitEndpoint(t, c, "off.dns.is.public", fmt.Sprintf(publicA, "off.dns.is"))
	awaitNoEndpoint(t, c, "off.dns.is.internal")
	stop()
	stop = startControllers(t, &routing.Live{})
	defer stop()
	awaitHost(t, c, "off.dns.is", func(eh *v1alpha1.ExposedHost) error {
		if len(eh.Status.DNS) > 0 {
			return fmt.Errorf("status.dns is %v", eh.Status.DNS)
		}
		return dnsReady("", "", "")(eh)
	})
	awaitEndpoint(t, c, "off.dns.is.public", fmt.Sprintf(publicA, "off.dns.is"))
}

// resolverOf is a resolver of the world, as a test sets it.
type resolverOf struct {
	mu    sync.Mutex
	addrs map[string][]netip.Addr // name → addresses
	err   error
	asked int
}

func (r *resolverOf) lookup(_ context.Context, name string) ([]netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	return r.addrs[name], r.err
}

func (r *resolverOf) set(name string, err error, addrs ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	r.addrs[name] = nil
	for _, addr := range addrs {
		r.addrs[name] = append(r.addrs[name], netip.MustParseAddr(addr))
	}
}

// With a resolver, DNSReady says whether the world sees the record, and what it sees else.
func TestDNSIsChecked(t *testing.T) {
	c := edgeWithDNS(t)
	world := &resolverOf{addrs: map[string][]netip.Addr{}}
	option := controllers.DNS(dnsConfig(t, "203.0.113.7"), world.lookup)
	stop := startControllers(t, &routing.Live{}, option)
	t.Cleanup(func() { stop() })
	create(t, c, &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: "seen.dns.is"}, Spec: v1alpha1.ExposedHostSpec{Host: "seen.dns.is", Backends: []v1alpha1.HostBackend{{Address: "192.0.2.99"}}}})
	for _, view := range []string{"public", "internal"} {
		testkit.Eventually(t, "reading "+view, func() error {
			endpoint := dnsEndpoint("seen.dns.is." + view)
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(endpoint), endpoint); err != nil {
				return err
			}
			readEndpoint(t, c, endpoint)
			return nil
		})
	}
	awaitHost(t, c, "seen.dns.is", dnsReady(metav1.ConditionFalse, reason.DNSDrift, "the name has no address"))
	world.set("seen.dns.is", nil, "198.51.100.1")
	awaitHost(t, c, "seen.dns.is", dnsReady(metav1.ConditionFalse, reason.DNSDrift, "198.51.100.1 instead of 203.0.113.7"))
	world.set("seen.dns.is", errors.New("resolver 9.9.9.9:53: no answer in time"))
	awaitHost(t, c, "seen.dns.is", dnsReady(metav1.ConditionUnknown, reason.DNSUnchecked, "no answer in time"))
	world.set("seen.dns.is", nil, "203.0.113.7")
	before := awaitHost(t, c, "seen.dns.is", dnsReady(metav1.ConditionTrue, reason.DNSResolved, "as wanted"))

	stop() // a restart does not forget
	w := countWrites(t)
	stop = startControllers(t, &routing.Live{}, option)
	asked := func() int { world.mu.Lock(); defer world.mu.Unlock(); return world.asked }
	first := asked()
	testkit.Eventually(t, "a check", func() error {
		if asked() == first {
			return errors.New("not yet")
		}
		return nil
	})
	testkit.Consistently(t, time.Second, "the status", func() error {
		if written := w.of("ExposedHost"); len(written) > 0 {
			return fmt.Errorf("a restart wrote %v", written)
		}
		return nil
	})
	after := awaitHost(t, c, "seen.dns.is", dnsReady(metav1.ConditionTrue, reason.DNSResolved, "as wanted"))
	if !reflect.DeepEqual(before.Status, after.Status) {
		t.Errorf("the status was %+v and is %+v", before.Status, after.Status)
	}
}
