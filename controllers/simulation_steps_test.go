package controllers_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/member"
)

// simHosts are the hosts that all actors use: so few that they conflict.
var simHosts = func() []string {
	hosts := []string{"*.den.sim.techn.is", "*.lab.sim.techn.is"}
	for i := range 12 {
		hosts = append(hosts, fmt.Sprintf("h%d.sim.techn.is", i))
	}
	for i := range 4 {
		hosts = append(hosts, fmt.Sprintf("l%d.den.sim.techn.is", i), fmt.Sprintf("l%d.lab.sim.techn.is", i))
	}
	return hosts
}()

// simLimits bound what a member may publish, so tightly that the hostile one exceeds them.
var simLimits = member.Limits{SourceHosts: 60, MemberHosts: 150}

const (
	floodHosts = 90        // of one object, more than SourceHosts
	longValue  = 240 << 10 // bytes of an annotation; an object has 256 KiB for all
)

// pick returns a random one of several.
func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// putMarkers has each member create its markers.
func (s *simulation) putMarkers() []step {
	var steps []step
	for _, m := range s.members {
		for _, o := range m.markers() {
			steps = append(steps, func() ([]string, error) { return o.hosts, m.put(o) })
		}
	}
	return steps
}

// draw returns a random round.
func (s *simulation) draw() round {
	r, hostile := s.random, s.members[2]
	if due := s.due[s.number]; due != nil {
		return round{honest: [][]step{append(due, s.burst(hostile)...)}}
	}
	gated := s.members[1+r.IntN(2)]
	switch n := r.IntN(100); {
	case n < 8:
		s.later(3+r.IntN(10), gated.reconnect)
		return round{honest: [][]step{append(s.burst(hostile), gated.disconnect(pick(r, "freeze()", "fail(true)", "reset(true)")))}}
	case n < 14:
		return round{honest: s.changes(false), hostile: s.burst(hostile), down: true}
	case n < 22:
		return round{honest: [][]step{{s.newAddresses()}}}
	case n < 30:
		return round{honest: [][]step{append(s.burst(hostile), s.newPolicy())}}
	case n < 34:
		return round{honest: append(s.changes(true), []step{gated.cut}), hostile: s.burst(hostile)}
	}
	return round{honest: s.changes(true), hostile: s.burst(hostile)}
}

// later begins a later round with a step.
func (s *simulation) later(rounds int, next step) {
	s.due[s.number+rounds] = append(s.due[s.number+rounds], next)
}

// changes has each honest member change up to two objects, and maybe a person one
// ExposedHost.
func (s *simulation) changes(person bool) [][]step {
	r := s.random
	var actors [][]step
	for _, m := range s.members[:2] {
		var steps []step
		for range r.IntN(3) {
			steps = append(steps, s.change(m))
		}
		actors = append(actors, steps)
	}
	if person && r.IntN(3) == 0 {
		actors = append(actors, []step{s.changeByHand()})
	}
	return actors
}

// change has an honest member change an object.
func (s *simulation) change(m *simMember) step {
	o := s.drawObject(m, 10)
	switch s.random.IntN(10) {
	case 0, 1:
		return func() ([]string, error) { return o.hosts, m.drop(o) }
	case 2: // kubectl replace --force
		return func() ([]string, error) {
			if is := m.objects[o.ref]; is != nil {
				o = *is
			}
			if err := m.drop(o); err != nil {
				return nil, err
			}
			return o.hosts, m.put(o)
		}
	case 3, 4:
		return s.annotated(m, o, "usher.techn.is/expose", pick(s.random, "true", "true", "false", "True", ""))
	case 5:
		return s.annotated(m, o, "usher.techn.is/allow-from", drawNetworks(s.random))
	}
	return func() ([]string, error) { return o.hosts, m.put(o) }
}

// annotated sets an annotation of an object, where there is one; "" removes it.
func (s *simulation) annotated(m *simMember, o object, key, value string) step {
	return func() ([]string, error) {
		if is := m.objects[o.ref]; is != nil {
			o = *is
		}
		o.annotations = maps.Clone(o.annotations)
		if o.annotations[key] = value; value == "" {
			delete(o.annotations, key)
		}
		return o.hosts, m.put(o)
	}
}

// drawObject returns a random object. One in so many has a malformed annotation.
func (s *simulation) drawObject(m *simMember, malformed int) object {
	r := s.random
	o := object{
		ref:         ref{member: m.name, kind: pick(r, "Ingress", "Ingress", "IngressRoute", "IngressRoute", "IngressRouteTCP", "HTTPRoute"), namespace: "sim-a"},
		annotations: map[string]string{},
	}
	o.name = fmt.Sprintf("o%d", r.IntN(3))
	if o.kind != "HTTPRoute" && r.IntN(3) == 0 {
		o.namespace = "sim-b"
	}
	for range 1 + r.IntN(3) {
		if host := pick(r, simHosts...); !slices.Contains(o.hosts, host) {
			o.hosts = append(o.hosts, host)
		}
	}
	o.unattached = (o.kind == "IngressRouteTCP" || o.kind == "HTTPRoute") && r.IntN(6) == 0
	o.solver = r.IntN(20) == 0
	if o.kind == "Ingress" && r.IntN(15) == 0 {
		o.class = foreignClass
	}
	s.annotate(o, malformed)
	return o
}

func (s *simulation) annotate(o object, malformed int) {
	r := s.random
	set := func(name, value string) { o.annotations["usher.techn.is/"+name] = value }
	if r.IntN(4) > 0 {
		set("expose", "true")
	}
	if r.IntN(3) == 0 {
		set("allow-from", drawNetworks(r))
	}
	if r.IntN(4) == 0 {
		set("plain-http", pick(r, plainHTTP...))
	}
	if r.IntN(6) == 0 {
		set("hosts", strings.Join([]string{o.hosts[0], pick(r, simHosts...)}[:1+r.IntN(2)], ", "))
	}
	if r.IntN(8) == 0 {
		set("wildcard", "all")
	}
	if r.IntN(4) == 0 {
		set("share-below", pick(r, "true", "true", "true", "false"))
	}
	if r.IntN(malformed) == 0 {
		set(pick(r, "allow-from", "plain-http", "wildcard", "share-below", "allowfrom"), pick(r, "", "anybody", "10.0.0.1/8", "::ffff:10.0.0.0/104", "DENY"))
	}
}

func drawNetworks(r *rand.Rand) string {
	names := slices.Sorted(maps.Keys(networks))
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return strings.Join(names[:1+r.IntN(3)], ", ")
}

// burst has the hostile member make many changes without a pause.
func (s *simulation) burst(m *simMember) []step {
	r := s.random
	var steps []step
	put := func(o object) { steps = append(steps, func() ([]string, error) { return nil, m.put(o) }) }
	for range r.IntN(8) {
		o := s.drawObject(m, 3)
		switch r.IntN(6) {
		case 0:
			steps = append(steps, func() ([]string, error) { return nil, m.drop(o) })
		case 1: // on and off
			for i := range 6 {
				change := s.annotated(m, o, "usher.techn.is/expose", []string{"true", ""}[i%2])
				steps = append(steps, func() ([]string, error) { _, err := change(); return nil, err })
			}
		default:
			put(o)
		}
	}
	switch r.IntN(20) {
	case 0: // claims on all hosts, and on many more
		o := object{ref: ref{m.name, pick(r, "Ingress", "IngressRoute"), "sim-a", pick(r, "flood0", "flood1")}, annotations: map[string]string{"usher.techn.is/expose": "true"}}
		for i := range floodHosts {
			o.hosts = append(o.hosts, fmt.Sprintf("f%d.flood.sim.techn.is", i))
		}
		o.hosts = append(o.hosts, simHosts...)
		if r.IntN(2) == 0 {
			o.annotations["usher.techn.is/plain-http"] = "maybe"
		}
		s.later(4, func() ([]string, error) { return nil, m.drop(o) })
		put(o)
	case 1: // a very long annotation
		o := s.drawObject(m, 1)
		o.annotations["usher.techn.is/expose"] = "true"
		o.annotations["usher.techn.is/plain-http"] = strings.Repeat("x", longValue)
		put(o)
	case 2: // claims that its rules do not cover
		o := s.drawObject(m, 1000)
		o.annotations["usher.techn.is/expose"] = "true"
		o.annotations["usher.techn.is/hosts"] = strings.Join(simHosts, ",")
		put(o)
	}
	return steps
}

// newAddresses changes where a member's ingress is.
func (s *simulation) newAddresses() step {
	r := s.random
	hades, hostile := s.members[1], s.members[2]
	switch r.IntN(5) {
	case 0:
		return hades.setAddresses(s.newAddress())
	case 1: // from spec.ingress.addresses to the Service, or back
		pinned, found := s.newAddress(), s.newAddress()
		return func() ([]string, error) {
			if len(hades.spec.Ingress.Addresses) == 0 {
				return nil, hades.configure(func(spec *v1alpha1.MemberClusterSpec) { spec.Ingress.Addresses = []string{pinned} })
			}
			if _, err := hades.setAddresses(found)(); err != nil { // the former one may be another's by now
				return nil, err
			}
			return nil, hades.configure(func(spec *v1alpha1.MemberClusterSpec) { spec.Ingress.Addresses = nil })
		}
	}
	own := s.newAddress()
	var drawn []int
	for range 1 + r.IntN(3) {
		drawn = append(drawn, r.IntN(len(forbidden)+4))
	}
	return func() ([]string, error) {
		of := append(slices.Clone(forbidden), own, edgeAddress, strings.Join(hades.spec.Ingress.Addresses, ""), hades.service[0])
		var addresses []string
		for _, i := range drawn {
			if a := of[i]; a != "" && !slices.Contains(addresses, a) {
				addresses = append(addresses, a)
			}
		}
		return hostile.setAddresses(addresses...)()
	}
}

// newPolicy changes a MemberCluster, or deletes it for some rounds.
func (s *simulation) newPolicy() step {
	r := s.random
	m := pick(r, s.members...)
	switch r.IntN(3) {
	case 0:
		domain := pick(r, nil, []string{"den.sim.techn.is"}, []string{"sim.techn.is"})
		return func() ([]string, error) {
			return nil, m.configure(func(spec *v1alpha1.MemberClusterSpec) { spec.AllowedDomains = domain })
		}
	case 1:
		all := r.IntN(2) == 0
		return func() ([]string, error) {
			return nil, m.configure(func(spec *v1alpha1.MemberClusterSpec) { spec.RequireAll = all })
		}
	}
	s.later(1+r.IntN(4), func() ([]string, error) {
		if !m.exists() {
			m.join()
		}
		return nil, nil
	})
	return func() ([]string, error) {
		if !m.exists() {
			return nil, nil
		}
		return nil, m.leave()
	}
}

// changeByHand has a person write or delete an ExposedHost.
func (s *simulation) changeByHand() step {
	r := s.random
	host := pick(r, simHosts...)
	if r.IntN(2) == 0 {
		return s.erase(host)
	}
	// usher itself writes no such lists, so that the person's spec always differs.
	m := manual{plain: pick(r, plainHTTP...), allowFrom: pick(r, "0.0.0.0/0,::/0", "10.0.0.0/8,192.168.0.0/16,192.168.1.0/24")}
	switch r.IntN(4) {
	case 0:
		m.cluster = pick(r, s.members...).name
	case 1, 2:
		m.address = fmt.Sprintf("192.0.2.%d", 100+r.IntN(100))
	}
	if strings.HasPrefix(host, "*.") && r.IntN(2) == 0 {
		m.except = "l0,l3"
	}
	m.share = strings.HasPrefix(host, "*.") && r.IntN(3) == 0
	return s.write(host, m)
}
