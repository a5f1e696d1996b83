package controllers_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

// simMember is a member cluster of the simulation. Each change that it makes is noted
// in the world before it is written: usher may follow it from then on.
type simMember struct {
	*simulation
	name    string
	cluster *testbed.Cluster
	client  client.Client
	gate    *gate // nil: usher connects without one
	hostile bool  // its API server reports false creation times
	spec    v1alpha1.MemberClusterSpec

	objects map[ref]*object // in the cluster, whether usher can read it or not
	unread  []unread        // changes that usher could not read
	service []string        // load-balancer addresses
	read    []string        // those that usher knows of, while it follows the Service
}

// unread is the state of an object that usher could not read; nil: it was deleted.
type unread struct {
	name  ref
	state *object
}

const (
	ownAddress  = "192.0.2.1"  // of usher
	edgeAddress = "192.0.2.30" // of the edge's ingress
)

// isOwn reports whether an address is usher's own.
func isOwn(a netip.AddrPort) bool { return a.Addr() == netip.MustParseAddr(ownAddress) }

const gatewayManifest = `
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: front, namespace: sim-a}, spec: {gatewayClassName: traefik, listeners: [
  {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}]}}
`

// addMembers adds the edge cluster itself, an honest member and a hostile one.
func (s *simulation) addMembers() {
	for _, name := range []string{"edge", "hades", "illmatic"} {
		m := &simMember{simulation: s, name: name, cluster: bed.Cluster(name), client: clientOf(s.t, name), hostile: name == "illmatic", objects: map[ref]*object{}}
		m.spec = v1alpha1.MemberClusterSpec{IngressClasses: []string{"traefik"}}
		m.prepare()
		if name == "edge" {
			m.spec.Ingress.Addresses = []string{edgeAddress}
		} else {
			m.connectByGate()
		}
		s.members = append(s.members, m)
		m.join()
	}
	s.t.Cleanup(func() { _ = s.edge.DeleteAllOf(context.Background(), &v1alpha1.ExposedHost{}) })
}

// prepare installs what the simulation needs in the cluster, and deletes its objects
// before and after.
func (m *simMember) prepare() {
	t := m.t
	testkit.Must(t, m.cluster.InstallTraefikCRDs(t.Context()))
	testkit.Must(t, m.cluster.InstallGatewayCRDs(t.Context()))
	for _, namespace := range []string{"sim-a", "sim-b"} {
		testkit.Must(t, m.cluster.Apply(t.Context(), "{apiVersion: v1, kind: Namespace, metadata: {name: "+namespace+"}}"))
	}
	testkit.Must(t, m.cluster.Apply(t.Context(), gatewayManifest))
	empty := func() {
		for kind, version := range simKinds {
			for _, namespace := range []string{"sim-a", "sim-b"} {
				o := &unstructured.Unstructured{}
				o.SetAPIVersion(version)
				o.SetKind(kind)
				if err := m.client.DeleteAllOf(context.Background(), o, client.InNamespace(namespace)); err != nil {
					t.Error(err)
				}
			}
		}
	}
	empty()
	t.Cleanup(func() { empty(); remove(t, m.name, gatewayManifest) })
}

// connectByGate has usher connect through a gate, and take the address of a Service.
func (m *simMember) connectByGate() {
	m.gate = openGate(m.t, m.cluster)
	m.gate.aged.Store(m.hostile)
	kubeconfig, err := m.cluster.Kubeconfig()
	testkit.Must(m.t, err)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "sim-" + m.name}, Data: map[string][]byte{"kubeconfig": m.gate.kubeconfig(m.t, kubeconfig)}}
	create(m.t, m.edge, secret)
	m.spec.Kubeconfig = &v1alpha1.KubeconfigRef{SecretName: secret.Name}
	m.spec.Ingress.Service = v1alpha1.ServiceRef{Namespace: "sim-a", Name: "traefik"}
	create(m.t, m.client, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "sim-a", Name: "traefik"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 443}}},
	})
	_, err = m.setAddresses(m.newAddress())()
	testkit.Must(m.t, err)
}

// newAddress returns an address that no member has had.
func (s *simulation) newAddress() string {
	s.given++
	return fmt.Sprintf("198.51.100.%d", s.given)
}

// policy is what the MemberCluster says.
func (m *simMember) policy() policy {
	p := policy{exists: true, requireAll: m.spec.RequireAll, recorded: m.world.policies.now(m.name).recorded}
	if len(m.spec.AllowedDomains) > 0 {
		p.domain = m.spec.AllowedDomains[0]
	}
	return p
}

// join creates the MemberCluster.
func (m *simMember) join() {
	m.world.mu.Lock()
	p := m.policy()
	if p.recorded = nil; m.world.away[m.name] {
		p.recorded = &record{}
	}
	m.world.policies.of(m.name).set(p)
	m.world.unsteady[m.name] = time.Now()
	m.simulation.resolve()
	m.world.mu.Unlock()
	m.log("create(t, c, &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: %q}, Spec: %+v})", m.name, m.spec)
	create(m.t, m.edge, &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: m.name}, Spec: m.spec})
}

// leave deletes the MemberCluster.
func (m *simMember) leave() error {
	m.world.mu.Lock()
	m.world.policies.of(m.name).set(policy{})
	m.simulation.resolve()
	m.world.mu.Unlock()
	m.log("c.Delete(t.Context(), &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: %q}})", m.name)
	return m.edge.Delete(m.t.Context(), &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: m.name}})
}

// exists reports whether there is a MemberCluster.
func (m *simMember) exists() bool {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	return m.world.policies.now(m.name).exists
}

// configure changes the MemberCluster's spec.
func (m *simMember) configure(edit func(*v1alpha1.MemberClusterSpec)) error {
	exists := m.exists()
	m.world.mu.Lock()
	edit(&m.spec)
	m.world.unsteady[m.name] = time.Now()
	if exists {
		m.world.policies.of(m.name).set(m.policy())
	}
	m.simulation.resolve()
	m.world.mu.Unlock()
	if !exists {
		return nil
	}
	m.log("change(t, c, %q, func(mc *v1alpha1.MemberCluster) { mc.Spec = %+v })", m.name, m.spec)
	var mc v1alpha1.MemberCluster
	if err := m.edge.Get(m.t.Context(), client.ObjectKey{Name: m.name}, &mc); err != nil {
		return err
	}
	before := mc.DeepCopy()
	edit(&mc.Spec)
	return m.edge.Patch(m.t.Context(), &mc, client.MergeFrom(before))
}

// forbidden are addresses that usher takes from no member's Service.
var forbidden = []string{"127.0.0.1", "169.254.169.254", "::1", "fe80::1", "224.0.0.1", "0.0.0.0", "64:ff9b::7f00:1", "2002:a9fe:a9fe::1", "10.0.0.7", "localhost", ownAddress}

// resolve notes where each member's ingress may be. An address that one member has, no
// other's Service may use.
func (s *simulation) resolve() {
	for range s.members { // an address that one leaves, another may get
		for _, m := range s.members {
			s.world.addresses.of(m.name).set(strings.Join(m.resolve(), " "))
		}
	}
}

func (m *simMember) resolve() []string {
	w, pinned := m.world, m.spec.Ingress.Addresses
	exists, away := w.policies.now(m.name).exists, w.away[m.name]
	switch {
	case !exists, !away && len(pinned) > 0:
		m.read = nil
	case !away:
		m.read = m.service
	}
	switch {
	case !exists:
		return nil
	case len(pinned) > 0:
		return pinned
	case m.read == nil: // the last known ones
		return strings.Fields(w.addresses.now(m.name))
	}
	return slices.DeleteFunc(slices.Clone(m.read), func(a string) bool {
		taken := slices.ContainsFunc(m.members, func(other *simMember) bool {
			return other != m && slices.Contains(strings.Fields(w.addresses.now(other.name)), a)
		})
		return taken || slices.Contains(forbidden, a)
	})
}

// setAddresses changes the member's load-balancer addresses.
func (m *simMember) setAddresses(addresses ...string) step {
	return func() ([]string, error) {
		m.world.mu.Lock()
		m.service = addresses
		m.simulation.resolve()
		m.world.mu.Unlock()
		m.log("balancers[%q].set(%q...)", m.name, addresses)
		var ingress []string
		for _, a := range addresses {
			field := "ip"
			if _, err := netip.ParseAddr(a); err != nil {
				field = "hostname"
			}
			ingress = append(ingress, fmt.Sprintf("{%q: %q}", field, a))
		}
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "sim-a", Name: "traefik"}}
		patch := fmt.Sprintf(`{"status": {"loadBalancer": {"ingress": [%s]}}}`, strings.Join(ingress, ", "))
		return nil, m.client.Status().Patch(m.t.Context(), service, client.RawPatch("application/merge-patch+json", []byte(patch)))
	}
}

// note notes an object's new state; nil: it is deleted.
func (m *simMember) note(name ref, o *object) {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	if o == nil {
		delete(m.objects, name)
	} else {
		m.objects[name] = o
	}
	if m.world.away[m.name] {
		m.unread = append(m.unread, unread{name, o})
	} else {
		m.world.set(name, o)
	}
}

// put creates or changes an object.
func (m *simMember) put(o object) error {
	before, unattached := m.objects[o.ref], o.unattached
	o.created = m.reported(time.Now())
	if before != nil {
		o.created = before.created
	}
	if o.kind == "HTTPRoute" { // its status is written after it
		o.unattached = before == nil || before.unattached
	}
	first := o
	m.note(o.ref, &first)
	m.log("apply(t, %q, `%v`)", m.name, o)
	manifest := o.manifest()
	if err := m.client.Apply(m.t.Context(), client.ApplyConfigurationFromUnstructured(manifest), client.FieldOwner("simulation"), client.ForceOwnership); err != nil {
		return fmt.Errorf("apply %v: %w", o.ref, err)
	}
	o.created = m.reported(manifest.GetCreationTimestamp().Time)
	if m.note(o.ref, &o); o.unattached == unattached {
		return nil
	}
	attached := o
	attached.unattached = unattached
	return m.attach(attached)
}

// attach writes what a Gateway's controller writes into an HTTPRoute's status.
func (m *simMember) attach(o object) error {
	m.note(o.ref, &o)
	status := map[bool]string{true: "False", false: "True"}[o.unattached]
	m.log("setAccepted(t, \"httproute\", %q, %q) // of %s", o.name, status, m.name)
	patch := fmt.Sprintf(`{"status": {"parents": [{"parentRef": {"name": "front"}, "controllerName": "traefik.io/gateway-controller",
		"conditions": [{"type": "Accepted", "status": %q, "reason": "Simulated", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}]}}`, status)
	return m.client.Status().Patch(m.t.Context(), o.manifest(), client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// drop deletes an object.
func (m *simMember) drop(o object) error {
	m.note(o.ref, nil)
	m.log("remove(t, %q, %q) // %s", m.name, o.kind+" "+o.namespace+"/"+o.name, m.name)
	return client.IgnoreNotFound(m.client.Delete(m.t.Context(), o.manifest()))
}

// reported is the creation time that the member's API server reports.
func (m *simMember) reported(created time.Time) time.Time {
	created = created.UTC().Truncate(time.Second)
	if m.hostile {
		created = created.AddDate(2001-created.Year(), 0, 0)
	}
	return created
}

// disconnect keeps usher from reading the member, once it has read all changes.
func (m *simMember) disconnect(how string) step {
	return func() ([]string, error) {
		m.world.mu.Lock()
		away := m.world.away[m.name]
		m.world.mu.Unlock()
		if away {
			return nil, nil
		}
		var hosts []string
		for _, o := range m.markers() {
			if before := m.objects[o.ref]; before != nil && before.annotations["usher.techn.is/plain-http"] == "deny" {
				o.annotations["usher.techn.is/plain-http"] = "redirect"
			}
			hosts = append(hosts, o.hosts...)
			if err := m.put(o); err != nil {
				return nil, err
			}
		}
		if err := m.await(hosts, allWithin()); err != nil {
			return nil, err
		}
		m.world.mu.Lock()
		m.world.away[m.name] = true
		m.world.mu.Unlock()
		m.log("gates[%q].%s", m.name, how)
		switch how {
		case "freeze()":
			m.gate.freeze()
		case "fail(true)":
			m.gate.fail(true)
		case "reset(true)":
			m.gate.reset(true)
		}
		return nil, nil
	}
}

// markers are objects, one of each kind, by whose hosts it shows that usher has read
// the changes of the kind.
func (m *simMember) markers() []object {
	var markers []object
	for _, kind := range []string{"Ingress", "IngressRoute", "IngressRouteTCP", "HTTPRoute"} {
		markers = append(markers, object{
			ref: ref{m.name, kind, "sim-a", "marker"}, hosts: []string{strings.ToLower(kind) + "." + m.name + "-marker.sim.techn.is"},
			annotations: map[string]string{"usher.techn.is/expose": "true", "usher.techn.is/plain-http": "deny"},
		})
	}
	return markers
}

// reconnect ends what disconnect has begun.
func (m *simMember) reconnect() ([]string, error) {
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.away[m.name] {
		return nil, nil
	}
	m.log("gates[%q].thaw(), .fail(false), .reset(false)", m.name)
	w.away[m.name], w.unsteady[m.name] = false, time.Now()
	for _, u := range m.unread { // a connection that was frozen brings each
		w.set(u.name, u.state)
	}
	m.unread = nil
	if p := w.policies.now(m.name); p.recorded != nil {
		p.recorded = nil
		w.policies.of(m.name).set(p)
	}
	m.simulation.resolve()
	m.gate.thaw()
	if m.gate.failing.Load() {
		m.gate.fail(false)
	}
	if m.gate.resets.Load() {
		m.gate.reset(false)
	}
	return nil, nil
}

// cut ends the connections to the member.
func (m *simMember) cut() ([]string, error) {
	m.world.mu.Lock()
	m.world.unsteady[m.name] = time.Now()
	m.world.mu.Unlock()
	m.log("gates[%q].cut()", m.name)
	m.gate.cut()
	return nil, nil
}

// write has a person write the ExposedHost of a host, also over usher's own.
func (s *simulation) write(host string, m manual) step {
	return func() ([]string, error) {
		s.world.mu.Lock()
		s.world.manuals.of(host).set(&m)
		s.world.mu.Unlock()
		spec := v1alpha1.ExposedHostSpec{Host: host, PlainHTTP: v1alpha1.PlainHTTP(strings.ToUpper(m.plain[:1]) + m.plain[1:]), AllowFrom: strings.Split(m.allowFrom, ",")}
		if m.except != "" {
			spec.Except = strings.Split(m.except, ",")
		}
		spec.ShareBelow = m.share
		if m.address != "" || m.cluster != "" {
			spec.Backends = []v1alpha1.HostBackend{{Address: m.address, Cluster: m.cluster}}
		}
		s.log("writeByHand(t, c, %+v)", spec)
		return []string{host}, retry(func() error {
			name := objectName(host)
			var eh v1alpha1.ExposedHost
			err := s.edge.Get(s.t.Context(), client.ObjectKey{Name: name}, &eh)
			if apierrors.IsNotFound(err) {
				return s.edge.Create(s.t.Context(), &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, client.FieldOwner("kubectl"))
			}
			if err != nil {
				return err
			}
			eh.Spec = spec
			return s.edge.Update(s.t.Context(), &eh, client.FieldOwner("kubectl"))
		})
	}
}

// erase has a person delete the ExposedHost of a host, also usher's own.
func (s *simulation) erase(host string) step {
	return func() ([]string, error) {
		w := s.world
		w.mu.Lock()
		w.deleted.of(host).set(true)
		w.deleted.of(host).set(false)
		w.manuals.of(host).set(nil)
		for _, m := range s.members {
			if p := w.policies.now(m.name); p.recorded != nil {
				delete(p.recorded.hosts, host) // nothing records its claim any more
			}
		}
		w.mu.Unlock()
		s.log("c.Delete(t.Context(), &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: %q}})", objectName(host))
		err := s.edge.Delete(s.t.Context(), &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: objectName(host)}})
		return []string{host}, client.IgnoreNotFound(err)
	}
}

// objectName is the name of a host's ExposedHost.
func objectName(host string) string {
	if parent, wildcard := strings.CutPrefix(host, "*."); wildcard {
		return "wildcard." + parent
	}
	return host
}

// retry repeats a write while another writer changes the object.
func retry(write func() error) error {
	for {
		err := write()
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return err
		}
	}
}
