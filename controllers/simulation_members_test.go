package controllers_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

// quiet is for controllers that say too much to be read.
var quiet = logr.Discard()

// simMember is a member cluster, as it is: what usher has heard of it is in world.
type simMember struct {
	*simulation
	name    string
	cluster *testbed.Cluster
	client  client.Client
	gate    *gate // nil: usher reaches it without one
	hostile bool  // its API server lies about ages too
	spec    v1alpha1.MemberClusterSpec

	away    bool            // usher hears nothing of it
	objects map[ref]*object // what it has
	service []string        // its load balancer's addresses
}

const ownAddress = "192.0.2.1"

// isOwn reports whether an address is usher's own.
func isOwn(a netip.AddrPort) bool { return a.Addr() == netip.MustParseAddr(ownAddress) }

const gatewayManifest = `
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: front, namespace: sim-a}, spec: {gatewayClassName: traefik, listeners: [
  {name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}]}}
`

// kinds are those of sources, with their API versions.
var simKinds = map[string]string{
	"Ingress": "networking.k8s.io/v1", "IngressRoute": "traefik.io/v1alpha1", "IngressRouteTCP": "traefik.io/v1alpha1", "HTTPRoute": "gateway.networking.k8s.io/v1",
}

// addMembers makes the clusters members: the edge itself, an honest one and a hostile one.
func (s *simulation) addMembers() {
	for _, name := range []string{"edge", "hades", "illmatic"} {
		m := &simMember{simulation: s, name: name, cluster: bed.Cluster(name), client: clientOf(s.t, name), hostile: name == "illmatic", objects: map[ref]*object{}}
		m.spec = v1alpha1.MemberClusterSpec{IngressClasses: []string{"traefik"}}
		m.prepare()
		if name == "edge" {
			m.spec.Ingress.Addresses = []string{"192.0.2.30"}
		} else {
			m.connectThroughGate()
		}
		s.members = append(s.members, m)
		m.join()
	}
	s.t.Cleanup(func() { _ = s.edge.DeleteAllOf(context.Background(), &v1alpha1.ExposedHost{}) })
}

// prepare empties the cluster, and installs what the simulation needs in it.
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

// connectThroughGate has usher reach the member through a gate, and find its address by a Service.
func (m *simMember) connectThroughGate() {
	m.gate = openGate(m.t, m.cluster)
	m.gate.aged.Store(m.hostile)
	kubeconfig, err := m.cluster.Kubeconfig()
	testkit.Must(m.t, err)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "sim-" + m.name}, Data: map[string][]byte{"kubeconfig": m.gate.kubeconfig(m.t, kubeconfig)}}
	create(m.t, m.simulation.edge, secret)
	m.spec.Kubeconfig = &v1alpha1.KubeconfigRef{SecretName: secret.Name}
	m.spec.Ingress.Service = v1alpha1.ServiceRef{Namespace: "sim-a", Name: "traefik"}
	create(m.t, m.client, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "sim-a", Name: "traefik"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 443}}},
	})
	_, err = m.leadTo(m.freshAddress())()
	testkit.Must(m.t, err)
}

// freshAddress is one that nobody has had.
func (s *simulation) freshAddress() string {
	s.drawn++
	return fmt.Sprintf("198.51.100.%d", s.drawn)
}

// join makes the MemberCluster.
func (m *simMember) join() {
	w := m.world
	w.mu.Lock()
	p := policy{exists: true, requireAll: m.spec.RequireAll}
	if len(m.spec.AllowedDomains) > 0 {
		p.domain = m.spec.AllowedDomains[0]
	}
	if m.away {
		p.asked = &recorded{}
	}
	w.policies.of(m.name).set(p)
	m.resolve()
	w.mu.Unlock()
	m.do("create(t, c, &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: %q}, Spec: %+v})", m.name, m.spec)
	mc := &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: m.name}, Spec: m.spec}
	create(m.t, m.simulation.edge, mc)
}

// leave deletes the MemberCluster.
func (m *simMember) leave() error {
	w := m.world
	w.mu.Lock()
	w.policies.of(m.name).set(policy{})
	m.resolve()
	w.mu.Unlock()
	m.do("testkit.Must(t, c.Delete(t.Context(), &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: %q}}))", m.name)
	return m.simulation.edge.Delete(m.t.Context(), &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: m.name}})
}

// change edits the MemberCluster's spec.
func (m *simMember) change(edit func(*v1alpha1.MemberClusterSpec)) error {
	w := m.world
	w.mu.Lock()
	edit(&m.spec)
	p := w.policies.of(m.name).value()
	if p.exists {
		p.requireAll, p.domain = m.spec.RequireAll, ""
		if len(m.spec.AllowedDomains) > 0 {
			p.domain = m.spec.AllowedDomains[0]
		}
		w.policies.of(m.name).set(p)
	}
	m.resolve()
	w.mu.Unlock()
	if !p.exists {
		return nil
	}
	m.do("change(t, c, %q, func(mc *v1alpha1.MemberCluster) { mc.Spec = %+v })", m.name, m.spec)
	var mc v1alpha1.MemberCluster
	if err := m.simulation.edge.Get(m.t.Context(), client.ObjectKey{Name: m.name}, &mc); err != nil {
		return err
	}
	before := mc.DeepCopy()
	edit(&mc.Spec)
	return m.simulation.edge.Patch(m.t.Context(), &mc, client.MergeFrom(before))
}

// senseless are addresses that no member's Service may lead the edge to.
var senseless = []string{"127.0.0.1", "169.254.169.254", "::1", "fe80::1", "224.0.0.1", "0.0.0.0", "64:ff9b::7f00:1", "2002:a9fe:a9fe::1", "10.0.0.7", "localhost", ownAddress}

// resolve tells the world where members may lead the edge now: who has an address
// keeps it, so that the others are asked before the hostile one.
func (s *simulation) resolve() {
	w := s.world
	taken := map[string]bool{}
	for _, m := range s.members {
		line, now := w.addresses.of(m.name), []string(nil)
		switch p := w.policies.of(m.name).value(); {
		case !p.exists:
		case len(m.spec.Ingress.Addresses) > 0:
			now = m.spec.Ingress.Addresses
		case m.away:
			now = strings.Fields(line.value())
		default:
			now = slices.DeleteFunc(slices.Clone(m.service), func(a string) bool { return taken[a] || slices.Contains(senseless, a) })
		}
		for _, a := range now {
			taken[a] = true
		}
		line.set(strings.Join(now, " "))
	}
}

// leadTo gives the member's load balancer addresses.
func (m *simMember) leadTo(addresses ...string) step {
	return func() ([]string, error) {
		m.world.mu.Lock()
		m.service = addresses
		m.resolve()
		m.world.mu.Unlock()
		m.do("balancers[%q].set(%q...)", m.name, addresses)
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

// say tells the world what an object says, unless usher cannot hear it; nil: it is gone.
func (m *simMember) say(name ref, o *object) {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	if o == nil {
		delete(m.objects, name)
	} else {
		m.objects[name] = o
	}
	if !m.away {
		m.world.say(name, o)
	}
}

// put makes or changes an object.
func (m *simMember) put(o object) error {
	before := m.objects[o.ref]
	o.created = m.saysOf(time.Now())
	detached := o.unattached
	if before != nil {
		o.created = before.created
	}
	if o.kind == "HTTPRoute" { // what its Gateway's controller says comes after it
		o.unattached = before == nil || before.unattached
	}
	said := o
	m.say(o.ref, &said)
	manifest := o.manifest()
	m.do("apply(t, %q, `%s`)", m.name, o.text())
	if err := m.client.Apply(m.t.Context(), client.ApplyConfigurationFromUnstructured(manifest), client.FieldOwner("simulation"), client.ForceOwnership); err != nil {
		return fmt.Errorf("apply %v: %w", o.ref, err)
	}
	created := o
	created.created = m.saysOf(manifest.GetCreationTimestamp().Time)
	m.say(o.ref, &created)
	if created.unattached == detached || o.kind != "HTTPRoute" {
		return nil
	}
	return m.attach(created, !detached)
}

// attach writes what a Gateway's controller says of an HTTPRoute.
func (m *simMember) attach(o object, accepted bool) error {
	o.unattached = !accepted
	m.say(o.ref, &o)
	status := map[bool]string{true: "True", false: "False"}[accepted]
	m.do("setAccepted(t, \"httproute\", %q, %q)", o.name, status)
	patch := fmt.Sprintf(`{"status": {"parents": [{"parentRef": {"name": "front"}, "controllerName": "traefik.io/gateway-controller",
		"conditions": [{"type": "Accepted", "status": %q, "reason": "Simulated", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}]}}`, status)
	return m.client.Status().Patch(m.t.Context(), o.manifest(), client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// drop deletes an object.
func (m *simMember) drop(o object) error {
	m.say(o.ref, nil)
	m.do("remove(t, %q, %s %s/%s)", m.name, o.kind, o.namespace, o.name)
	return client.IgnoreNotFound(m.client.Delete(m.t.Context(), o.manifest()))
}

// saysOf is what the member's API server says of a creation.
func (m *simMember) saysOf(created time.Time) time.Time {
	created = created.UTC().Truncate(time.Second)
	if m.hostile {
		created = created.AddDate(2001-created.Year(), 0, 0)
	}
	return created
}

// manifest is the object as it is applied.
func (o object) manifest() *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"spec": o.specification()}}
	u.SetAPIVersion(simKinds[o.kind])
	u.SetKind(o.kind)
	u.SetNamespace(o.namespace)
	u.SetName(o.name)
	u.SetAnnotations(o.annotations)
	if o.solver {
		u.SetLabels(map[string]string{"acme.cert-manager.io/http01-solver": "true"})
	}
	return u
}

// text writes the manifest for a person, who needs no more than the first of many hosts.
func (o object) text() string {
	short := o
	if len(o.hosts) > 20 {
		short.hosts = slices.Concat(o.hosts[:2], []string{fmt.Sprintf("and-%d-more", len(o.hosts)-2)})
	}
	short.annotations = map[string]string{}
	for key, value := range o.annotations {
		short.annotations[key] = fmt.Sprintf("%.200s", value)
	}
	text, err := short.manifest().MarshalJSON()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

func (o object) specification() map[string]any {
	spec := map[string]any{}
	if o.class != "" {
		spec["ingressClassName"] = o.class
	}
	port := map[string]any{"number": int64(80)}
	switch o.kind {
	case "Ingress":
		var rules []any
		for _, host := range o.hosts {
			path := map[string]any{"path": "/", "pathType": "Prefix", "backend": map[string]any{"service": map[string]any{"name": "app", "port": port}}}
			rules = append(rules, map[string]any{"host": host, "http": map[string]any{"paths": []any{path}}})
		}
		spec["rules"] = rules
	case "IngressRoute":
		spec["routes"] = []any{map[string]any{"match": o.rule("Host"), "kind": "Rule", "syntax": "v3"}}
	case "IngressRouteTCP":
		spec["routes"] = []any{map[string]any{"match": o.rule("HostSNI"), "syntax": "v3"}}
		if !o.unattached {
			spec["tls"] = map[string]any{"passthrough": true}
		}
	case "HTTPRoute":
		var hosts []any
		for _, host := range o.hosts {
			hosts = append(hosts, host)
		}
		spec["hostnames"], spec["parentRefs"] = hosts, []any{map[string]any{"name": "front"}}
	}
	return spec
}

// rule is a Traefik rule that matches the hosts.
func (o object) rule(matcher string) string {
	matchers := make([]string, len(o.hosts))
	for i, host := range o.hosts {
		matchers[i] = matcher + "(`" + host + "`)"
	}
	return strings.Join(matchers, " || ")
}

// hide keeps usher from hearing of the member, and of nothing that it has not heard of already.
func (m *simMember) hide(how string) step {
	return func() ([]string, error) {
		var names []string
		for _, o := range m.marks() {
			if before := m.objects[o.ref]; before != nil {
				o.annotations["usher.techn.is/plain-http"] = map[string]string{"deny": "redirect", "redirect": "deny"}[before.annotations["usher.techn.is/plain-http"]]
			}
			names = append(names, o.hosts...)
			if err := m.put(o); err != nil {
				return nil, err
			}
		}
		if err := m.await(names, allWithin); err != nil {
			return nil, err
		}
		m.world.mu.Lock()
		m.away = true
		m.world.mu.Unlock()
		m.do("gates[%q].%s", m.name, how)
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

// marks are objects, one of a kind, that tell by their hosts whether a kind has been read.
func (m *simMember) marks() []object {
	var marks []object
	for _, kind := range []string{"Ingress", "IngressRoute", "IngressRouteTCP", "HTTPRoute"} {
		marks = append(marks, object{
			ref: ref{m.name, kind, "sim-a", "mark"}, hosts: []string{strings.ToLower(kind) + "." + m.name + "-mark.sim.techn.is"},
			annotations: map[string]string{"usher.techn.is/expose": "true", "usher.techn.is/plain-http": "deny"},
		})
	}
	return marks
}

// show ends what hide has begun.
func (m *simMember) show() ([]string, error) {
	m.do("gates[%q].thaw(), .fail(false), .reset(false)", m.name)
	m.gate.thaw()
	if m.gate.failing.Load() {
		m.gate.fail(false)
	}
	if m.gate.resets.Load() {
		m.gate.reset(false)
	}
	w := m.world
	w.mu.Lock()
	defer w.mu.Unlock()
	m.away = false
	for name := range w.objects {
		if name.member == m.name {
			w.say(name, m.objects[name])
		}
	}
	for name, o := range m.objects {
		w.say(name, o)
	}
	if p := w.policies.of(m.name).value(); p.asked != nil {
		p.asked = nil
		w.policies.of(m.name).set(p)
	}
	m.resolve()
	return nil, nil
}

// write has a person write a host's ExposedHost, whoever made it.
func (s *simulation) write(host string, p byHand) step {
	return func() ([]string, error) {
		s.world.mu.Lock()
		s.world.persons.of(host).set(&p)
		s.world.mu.Unlock()
		spec := v1alpha1.ExposedHostSpec{Host: host, PlainHTTP: v1alpha1.PlainHTTP(strings.ToUpper(p.plain[:1]) + p.plain[1:])}
		if p.allowFrom != "" {
			spec.AllowFrom = strings.Split(p.allowFrom, ",")
		}
		if p.except != "" {
			spec.Except = strings.Split(p.except, ",")
		}
		if p.address != "" || p.cluster != "" {
			spec.Backends = []v1alpha1.HostBackend{{Address: p.address, Cluster: p.cluster}}
		}
		s.do("writeByHand(t, c, %+v)", spec)
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

// erase has a person delete a host's ExposedHost, whoever made it.
func (s *simulation) erase(host string) step {
	return func() ([]string, error) {
		w := s.world
		w.mu.Lock()
		w.missing.of(host).set(true)
		w.missing.of(host).set(false)
		w.persons.of(host).set(nil)
		for _, m := range s.members {
			if p := w.policies.of(m.name).value(); p.asked != nil {
				delete(p.asked.hosts, host) // nobody can ask it whether it claims the host
			}
		}
		w.mu.Unlock()
		s.do("testkit.Must(t, c.Delete(t.Context(), &v1alpha1.ExposedHost{ObjectMeta: metav1.ObjectMeta{Name: %q}}))", objectName(host))
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

// retry repeats a write while somebody else writes the object too.
func retry(write func() error) error {
	for {
		err := write()
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return err
		}
	}
}

// cut ends the connections to the member.
func (m *simMember) cut() ([]string, error) {
	m.do("gates[%q].cut()", m.name)
	m.gate.cut()
	return nil, nil
}

// exists reports whether there is a MemberCluster.
func (m *simMember) exists() bool {
	m.world.mu.Lock()
	defer m.world.mu.Unlock()
	return m.world.policies.of(m.name).value().exists
}
