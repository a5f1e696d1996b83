package controllers_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
)

// simHosts are what everybody asks for: so few that they are in each other's way.
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

const (
	floodHosts = 200
	heavy      = 240 << 10 // bytes of an annotation, nearly as many as an object may have
)

// pick draws one of several.
func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// settling has every member make its marks.
func (s *simulation) settling() []step {
	var steps []step
	for _, m := range s.members {
		for _, o := range m.marks() {
			steps = append(steps, func() ([]string, error) { return o.hosts, m.put(o) })
		}
	}
	return steps
}

// draw makes up a round.
func (s *simulation) draw() script {
	r := s.random
	hostile := s.members[2]
	if due := s.due[s.round]; due != nil {
		return script{honest: [][]step{append(due, s.burst(hostile)...)}}
	}
	gated := s.members[1+r.IntN(2)]
	switch n := r.IntN(100); {
	case n < 8 && !gated.away:
		s.after(3+r.IntN(10), gated.show)
		return script{honest: [][]step{append(s.burst(hostile), gated.hide(pick(r, "freeze()", "fail(true)", "reset(true)")))}}
	case n < 14:
		return script{honest: s.busy(false), hostile: [][]step{s.burst(hostile)}, down: true}
	case n < 22:
		return script{honest: [][]step{{s.led()}}}
	case n < 30:
		return script{honest: [][]step{{s.governed()}}, hostile: [][]step{s.burst(hostile)}}
	case n < 34:
		return script{honest: append(s.busy(true), []step{gated.cut}), hostile: [][]step{s.burst(hostile)}}
	}
	return script{honest: s.busy(true), hostile: [][]step{s.burst(hostile)}}
}

// after has a later round begin with a step.
func (s *simulation) after(rounds int, next step) {
	s.due[s.round+rounds] = append(s.due[s.round+rounds], next)
}

// busy has the honest members change an object or two each, and a person an ExposedHost.
func (s *simulation) busy(persons bool) [][]step {
	r := s.random
	var acting [][]step
	for _, m := range s.members[:2] {
		var steps []step
		for range r.IntN(3) {
			steps = append(steps, s.honestStep(m))
		}
		acting = append(acting, steps)
	}
	if persons && r.IntN(3) == 0 {
		acting = append(acting, []step{s.personal()})
	}
	return acting
}

// honestStep changes one object.
func (s *simulation) honestStep(m *simMember) step {
	o := s.drawObject(m, 10)
	switch s.random.IntN(10) {
	case 0, 1:
		return func() ([]string, error) { return o.hosts, m.drop(o) }
	case 2: // as kubectl replace --force does
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

// annotated changes an annotation of an object, where there is one; "" takes it away.
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

// drawObject draws an object; of its annotations one in so many is malformed.
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
	if r.IntN(malformed) == 0 {
		set(pick(r, "allow-from", "plain-http", "wildcard", "allowfrom"), pick(r, "", "anybody", "10.0.0.1/8", "::ffff:10.0.0.0/104", "DENY"))
	}
}

func drawNetworks(r *rand.Rand) string {
	names := slices.Sorted(maps.Keys(networks))
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return strings.Join(names[:1+r.IntN(3)], ", ")
}

// burst has the hostile member do many things at once.
func (s *simulation) burst(m *simMember) []step {
	r := s.random
	var steps []step
	for range r.IntN(8) {
		o := s.drawObject(m, 3)
		switch r.IntN(6) {
		case 0:
			steps = append(steps, func() ([]string, error) { return nil, m.drop(o) })
		case 1: // on and off
			for i := range 6 {
				steps = append(steps, s.annotated(m, o, "usher.techn.is/expose", []string{"true", ""}[i%2]))
			}
		default:
			steps = append(steps, func() ([]string, error) { return nil, m.put(o) })
		}
	}
	switch r.IntN(20) {
	case 0: // claims on all that there is, and on much more
		o := object{ref: ref{m.name, pick(r, "Ingress", "IngressRoute"), "sim-a", "flood"}, annotations: map[string]string{"usher.techn.is/expose": "true"}}
		for i := range floodHosts {
			o.hosts = append(o.hosts, fmt.Sprintf("f%d.flood.sim.techn.is", i))
		}
		o.hosts = append(o.hosts, simHosts...)
		if r.IntN(2) == 0 {
			o.annotations["usher.techn.is/plain-http"] = "maybe"
		}
		s.after(4, func() ([]string, error) { return nil, m.drop(o) })
		steps = append(steps, func() ([]string, error) { return nil, m.put(o) })
	case 1: // an object as heavy as can be
		o := s.drawObject(m, 1)
		o.annotations["usher.techn.is/expose"] = "true"
		o.annotations["usher.techn.is/plain-http"] = strings.Repeat("x", heavy)
		steps = append(steps, func() ([]string, error) { return nil, m.put(o) })
	case 2: // claims that its rules do not cover
		o := s.drawObject(m, 1000)
		o.annotations["usher.techn.is/expose"] = "true"
		o.annotations["usher.techn.is/hosts"] = strings.Join(simHosts, ",")
		steps = append(steps, func() ([]string, error) { return nil, m.put(o) })
	}
	return steps
}

// led has a member's address change.
func (s *simulation) led() step {
	r := s.random
	hades, hostile := s.members[1], s.members[2]
	switch r.IntN(5) {
	case 0:
		return hades.leadTo(s.freshAddress())
	case 1: // a person gives it, or leaves it to the Service
		address := s.freshAddress()
		return func() ([]string, error) {
			return nil, hades.change(func(spec *v1alpha1.MemberClusterSpec) {
				if len(spec.Ingress.Addresses) > 0 {
					spec.Ingress.Addresses = nil
				} else {
					spec.Ingress.Addresses = []string{address}
				}
			})
		}
	}
	fresh := s.freshAddress()
	var wanted []int
	for range 1 + r.IntN(3) {
		wanted = append(wanted, r.IntN(len(senseless)+4))
	}
	return func() ([]string, error) {
		var addresses []string
		for _, i := range wanted {
			pool := append(slices.Clone(senseless), fresh, "192.0.2.30", strings.Join(hades.spec.Ingress.Addresses, ""), hades.service[0])
			if a := pool[i]; a != "" && !slices.Contains(addresses, a) {
				addresses = append(addresses, a)
			}
		}
		return hostile.leadTo(addresses...)()
	}
}

// governed has a person change what the edge says of a member.
func (s *simulation) governed() step {
	r := s.random
	m := pick(r, s.members...)
	switch r.IntN(3) {
	case 0:
		domain := pick(r, nil, []string{"den.sim.techn.is"}, []string{"sim.techn.is"})
		return func() ([]string, error) {
			return nil, m.change(func(spec *v1alpha1.MemberClusterSpec) { spec.AllowedDomains = domain })
		}
	case 1:
		return func() ([]string, error) {
			return nil, m.change(func(spec *v1alpha1.MemberClusterSpec) { spec.RequireAll = !spec.RequireAll })
		}
	}
	s.after(1+r.IntN(4), func() ([]string, error) {
		if m.exists() {
			return nil, nil
		}
		m.join()
		return nil, nil
	})
	return func() ([]string, error) {
		if !m.exists() {
			return nil, nil
		}
		return nil, m.leave()
	}
}

// personal has a person write or delete an ExposedHost.
func (s *simulation) personal() step {
	r := s.random
	host := pick(r, simHosts...)
	if r.IntN(2) == 0 {
		return s.erase(host)
	}
	p := byHand{plain: pick(r, plainHTTP...), allowFrom: pick(r, "0.0.0.0/0,::/0", "10.0.0.0/8,192.168.0.0/16")}
	switch r.IntN(4) {
	case 0:
		p.cluster = pick(r, s.members...).name
	case 1, 2:
		p.address = fmt.Sprintf("192.0.2.%d", 100+r.IntN(100))
	}
	if strings.HasPrefix(host, "*.") && r.IntN(2) == 0 {
		p.except = "l0,l3"
	}
	return s.write(host, p)
}
