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
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// withMQTTS gives a member the port mqtts, which leads to the entry point mqtt-secure.
func withMQTTS(mc *v1alpha1.MemberCluster) {
	mc.Spec.Ingress.EntryPoints = []string{"websecure"}
	mc.Spec.Ingress.Ports = []v1alpha1.IngressPort{{BackendPort: v1alpha1.BackendPort{Name: "mqtts", Port: 8883, ProxyProtocol: v1alpha1.ProxyProtocolV2}, EntryPoint: "mqtt-secure"}}
}

// broker is an IngressRouteTCP on entry points of Traefik.
func broker(name, host, entryPoints string, annotations ...string) string {
	return fmt.Sprintf("apiVersion: traefik.io/v1alpha1\nkind: IngressRouteTCP\nmetadata: {name: %s, namespace: default, annotations: {%s}}\n"+
		"spec: {entryPoints: [%s], tls: {passthrough: true}, routes: [{match: HostSNI(`%s`), services: [{name: app, port: 8883}]}]}\n", name, strings.Join(annotations, ", "), entryPoints, host)
}

// ports makes a source request ports.
func ports(names string) string { return fmt.Sprintf("usher.techn.is/ports: %q", names) }

// routedOn waits until the table serves a host on exactly these ports, written NAME=NUMBER.
func routedOn(t *testing.T, table *routing.Live, host, want string) {
	t.Helper()
	testkit.Eventually(t, host+" should be served on "+want, func() error {
		route := table.Load().Lookup(host)
		if route == nil {
			return fmt.Errorf("there is no route")
		}
		var served []string
		for _, port := range []string{"https", "ldaps", "mqtts"} {
			if backends, refusal := route.On(port); refusal == "" {
				served = append(served, fmt.Sprintf("%s=%d", port, backends[0].HTTPSPort))
			}
		}
		if got := strings.Join(served, " "); got != want {
			return fmt.Errorf("it is served on %q by %+v", got, route)
		}
		return nil
	})
}

// A host is served on the ports of all its sources, and on no others.
func TestPortsOfSources(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", withMQTTS)
	const host = "home.port.is"
	apply(t, "hades", broker("port-broker", host, "mqtt-secure", exposed, ports("mqtts")))
	routedOn(t, table, host, "mqtts=8883")
	eh := awaitHost(t, c, host, ready("hades"))
	if eh.Spec.PlainHTTP != v1alpha1.PlainHTTPDeny || eh.Status.Summary.Ports != "mqtts" || strings.Join(eh.Status.Backends, " ") != "192.0.2.10:8883" {
		t.Errorf("the host is %+v with status %+v", eh.Spec, eh.Status)
	}
	if backends, _ := table.Load().Lookup(host).On("mqtts"); backends[0].ProxyProtocol != routing.V2 {
		t.Errorf("the backends are %+v", backends)
	}

	// A second source opens https, and plain HTTP is its own.
	apply(t, "hades", ingressRoute("port-web", "Host(`home.port.is`)", exposed))
	routedOn(t, table, host, "https=443 mqtts=8883")
	awaitHost(t, c, host, func(eh *v1alpha1.ExposedHost) error {
		if got := strings.Join(eh.Status.Backends, " "); eh.Spec.PlainHTTP != v1alpha1.PlainHTTPRedirect || eh.Status.Summary.Ports != "https,mqtts" || got != "192.0.2.10:443 192.0.2.10:8883" {
			return fmt.Errorf("the host is %+v with backends %s", eh.Spec, got)
		}
		return nil
	})

	// What narrows the clients narrows them on every port.
	testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), broker("port-broker", host, "mqtt-secure", exposed, ports("mqtts"), "usher.techn.is/allow-from: 10.0.0.0/8")))
	testkit.Eventually(t, "the clients should be narrowed", func() error {
		if route := table.Load().Lookup(host); len(route.AllowFrom) != 1 || len(route.Ports) != 1 {
			return fmt.Errorf("the route is %+v", route)
		}
		return nil
	})

	remove(t, "hades", broker("port-broker", host, "mqtt-secure"))
	routedOn(t, table, host, "https=443")
	awaitHost(t, c, host, func(eh *v1alpha1.ExposedHost) error {
		if eh.Status.Summary.Ports != "" || len(eh.Spec.Ports) > 0 {
			return fmt.Errorf("the ports are %v", eh.Spec.Ports)
		}
		return nil
	})
}

// A host with a good and a bad port keeps the good one, and says why it has not the other.
func TestRefusedPortsAreReported(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", withMQTTS)
	apply(t, "hades", ingressRoute("port-good", "Host(`good.port.is`)", exposed, ports("https, ldaps")))
	routedOn(t, table, "good.port.is", "https=443")
	awaitHost(t, c, "good.port.is", all(ready("hades"), mentions("port ldaps is refused: IngressRoute default/port-good, metadata.annotations[usher.techn.is/ports]: cluster hades has no port ldaps; add it to the MemberCluster's spec.ingress.ports")))
	awaitEvent(t, c, "good.port.is", reason.PortUnknown)
	apply(t, "hades", broker("port-bad", "bad.port.is", "mqtt-secure", exposed, ports("ldaps")))
	awaitHost(t, c, "bad.port.is", all(refused(reason.PortUnknown), mentions("spec.ingress.ports")))
	apply(t, "hades", broker("port-astray", "astray.port.is", "mqtt-secure", exposed))
	awaitHost(t, c, "astray.port.is", all(refused(reason.EntryPoint), mentions("or publish the hosts on port mqtts with the annotation usher.techn.is/ports: mqtts")))
	apply(t, "hades", broker("port-web", "web.port.is", "websecure", exposed, ports("mqtts")))
	awaitHost(t, c, "web.port.is", all(refused(reason.EntryPoint), mentions("connections to port mqtts come to mqtt-secure of cluster hades")))
	refusedRoute(t, table, "bad.port.is", reason.PortUnknown)
	refusedRoute(t, table, "astray.port.is", reason.EntryPoint)
	refusedRoute(t, table, "web.port.is", reason.EntryPoint)

	// The member gets the port.
	change(t, c, "hades", func(mc *v1alpha1.MemberCluster) {
		mc.Spec.Ingress.Ports = append(mc.Spec.Ingress.Ports, v1alpha1.IngressPort{BackendPort: v1alpha1.BackendPort{Name: "ldaps", Port: 636}})
	})
	routedOn(t, table, "good.port.is", "https=443 ldaps=636")
	routedOn(t, table, "bad.port.is", "ldaps=636")
	// And loses one: the hosts that have others keep these.
	change(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Ports = nil })
	routedOn(t, table, "good.port.is", "https=443")
	refusedRoute(t, table, "bad.port.is", reason.PortUnknown)
}

// Ports that the Service of Traefik's chart names are the entry points of the member's ports.
func TestEntryPointsOfPortsAreReadFromTheService(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	apply(t, "hades", "{apiVersion: v1, kind: Service, metadata: {name: port-entries, namespace: default, labels: {app.kubernetes.io/name: traefik}}, "+
		"spec: {ports: [{name: websecure, port: 443}, {name: mqtt-secure, port: 8883}]}}")
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) {
		mc.Spec.Ingress.Service = v1alpha1.ServiceRef{Namespace: "default", Name: "port-entries"}
		mc.Spec.Ingress.Ports = []v1alpha1.IngressPort{{BackendPort: v1alpha1.BackendPort{Name: "mqtts", Port: 8883}}}
	})
	apply(t, "hades", broker("entry-good", "good.entry-port.is", "mqtt-secure", exposed, ports("mqtts")))
	apply(t, "hades", broker("entry-bad", "bad.entry-port.is", "websecure", exposed, ports("mqtts")))
	routedOn(t, table, "good.entry-port.is", "mqtts=8883")
	refusedRoute(t, table, "bad.entry-port.is", reason.EntryPoint)
	testkit.Eventually(t, "status.traefik should have the entry points", func() error {
		var mc v1alpha1.MemberCluster
		if err := c.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc); err != nil {
			return err
		}
		if seen := mc.Status.Traefik; seen == nil || fmt.Sprint(seen.Ports) != "[{mqtts [mqtt-secure]}]" {
			return fmt.Errorf("it is %+v", seen)
		}
		return nil
	})
}

// The hosts of one cluster are not served on a port by another cluster: the holder has all.
func TestPortsAreTheHolders(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", withMQTTS)
	addMember(t, c, "illmatic", withMQTTS)
	apply(t, "hades", ingressRoute("port-held", "Host(`held.port.is`)", exposed))
	routedOn(t, table, "held.port.is", "https=443")
	apply(t, "illmatic", broker("port-held", "held.port.is", "mqtt-secure", exposed, ports("mqtts")))
	awaitHost(t, c, "held.port.is", rivals("illmatic:HeldByAnother"))
	routedOn(t, table, "held.port.is", "https=443")
}

// With isolation a source must name the entry point of a port, and its routers must use the
// isolating options.
func TestIsolationOfPorts(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) { isolate(mc); withMQTTS(mc) })
	apply(t, "hades", broker("iso-stream", "stream.iso-port.is", "mqtt-secure", exposed, ports("mqtts")))
	routedOn(t, table, "stream.iso-port.is", "mqtts=8883")
	apply(t, "hades", broker("iso-default", "default.iso-port.is", "", exposed, ports("mqtts")))
	awaitHost(t, c, "default.iso-port.is", all(refused(reason.NotIsolated), mentions("does not name the entry point of port mqtts")))
	front := strings.Replace(ingressRoute("iso-front", "Host(`front.iso-port.is`)", exposed, ports("mqtts")), "websecure", "mqtt-secure", 1)
	apply(t, "hades", front)
	awaitHost(t, c, "front.iso-port.is", refused(reason.NotIsolated))
	apply(t, "hades", withOptions("exposed", front))
	routedOn(t, table, "front.iso-port.is", "mqtts=8883")

	// A private router of the host on the other port would change its options.
	private := strings.Replace(ingressRoute("iso-private", "Host(`front.iso-port.is`)"), "websecure", "mqtt-secure", 1)
	apply(t, "hades", withSpec(private, "tls: {}"))
	refusedRoute(t, table, "front.iso-port.is", reason.NotIsolated)
}

// The status of a manually written host says on which ports it is not served.
func TestPortsOfManualHosts(t *testing.T) {
	c := edge(t)
	table := &routing.Live{}
	t.Cleanup(startControllers(t, table, controllers.TLSPorts([]string{"mqtts"})))
	addMember(t, c, "hades", withMQTTS)
	manual := func(name string, ports []string, backends ...v1alpha1.HostBackend) {
		create(t, c, &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.ExposedHostSpec{Host: name, Ports: ports, PlainHTTP: v1alpha1.PlainHTTPDeny, Backends: backends}})
	}
	hades, nas := v1alpha1.HostBackend{Cluster: "hades"}, v1alpha1.HostBackend{Address: "192.0.2.50", Ports: []v1alpha1.BackendPort{{Name: "mqtts", Port: 1883}, {Name: "ldaps", Port: 636}}}
	says := func(status metav1.ConditionStatus, why, text string) func(*v1alpha1.ExposedHost) error {
		return func(eh *v1alpha1.ExposedHost) error {
			is := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionReady)
			if is == nil || is.Status != status || is.Reason != why || !strings.Contains(is.Message, text) {
				return fmt.Errorf("Ready is %+v", is)
			}
			return nil
		}
	}
	manual("both.manual-port.is", []string{"https", "mqtts"}, nas, hades)
	awaitHost(t, c, "both.manual-port.is", says(metav1.ConditionTrue, reason.Ready, "usher forwards connections to 192.0.2.50:443, 192.0.2.10:443, 192.0.2.50:1883, 192.0.2.10:8883"))
	routedOn(t, table, "both.manual-port.is", "https=443 mqtts=1883")
	manual("missing.manual-port.is", []string{"https", "smtps"}, hades)
	awaitHost(t, c, "missing.manual-port.is", says(metav1.ConditionTrue, reason.Ready, "no backend has port smtps: add it to spec.ingress.ports of the MemberCluster"))
	manual("closed.manual-port.is", []string{"mqtts", "ldaps"}, nas)
	awaitHost(t, c, "closed.manual-port.is", says(metav1.ConditionTrue, reason.Ready, "usher does not listen on port ldaps: add --tls-listen"))
	manual("none.manual-port.is", []string{"ldaps"}, nas)
	awaitHost(t, c, "none.manual-port.is", says(metav1.ConditionFalse, reason.PortUnknown, "usher does not listen on port ldaps"))
	manual("lost.manual-port.is", []string{"smtps"}, hades)
	eh := awaitHost(t, c, "lost.manual-port.is", says(metav1.ConditionFalse, reason.PortUnknown, "no backend has port smtps"))
	if eh.Status.Summary.Ports != "" {
		t.Errorf("the column says %q", eh.Status.Summary.Ports)
	}
	routedOn(t, table, "lost.manual-port.is", "")
}
