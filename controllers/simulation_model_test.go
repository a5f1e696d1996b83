package controllers_test

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jovalle/usher/proxy/routing"
)

// The oracle of the simulation: what may be served, where and to whom, as
// docs/concepts.md has it. It is plain and slow, and shares no code with the
// reconcilers.

// clients is a set of the probes: bit i stands for probes[i].
type clients uint8

// probes are clients, at least one of each part into which networks divide all addresses.
var probes = []netip.Addr{
	netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("192.168.1.9"), netip.MustParseAddr("192.168.2.9"), netip.MustParseAddr("10.9.9.9"),
	netip.MustParseAddr("2001:db9::9"), netip.MustParseAddr("2001:db8::9"), netip.MustParseAddr("2001:db8:1::9"),
}

const everyone clients = 1<<7 - 1

// networks are the CIDRs that objects name, and the probes in each.
var networks = map[string]clients{
	"0.0.0.0/0": 0b0001111, "192.168.0.0/16": 0b0000110, "192.168.1.0/24": 0b0000010, "10.0.0.0/8": 0b0001000,
	"::/0": 0b1110000, "2001:db8::/32": 0b1100000, "2001:db8:1::/48": 0b1000000,
}

// clientsOf returns who may connect by a comma-separated list of networks.
func clientsOf(list string) (allowed clients, ok bool) {
	for item := range strings.SplitSeq(list, ",") {
		in, known := networks[strings.TrimSpace(item)]
		if !known {
			return 0, false
		}
		allowed |= in
	}
	return allowed, true
}

// plainHTTP are the modes, the strictest last.
var plainHTTP = []string{"forward", "redirect", "deny"}

// outcome is what becomes of connections to a name; the zero value: they are refused.
type outcome struct {
	cluster   string // that serves it; "" where a person gave an address
	addresses string
	clients   clients
	plain     string
}

func (o outcome) String() string {
	if o == (outcome{}) {
		return "refused"
	}
	return fmt.Sprintf("%q at %s for clients %07b, plain HTTP %s", o.cluster, o.addresses, o.clients, o.plain)
}

// outcomeOf is what a route makes of connections.
func outcomeOf(route *routing.Route) outcome {
	if route == nil || route.Refusal != "" || len(route.Backends) == 0 {
		return outcome{}
	}
	o := outcome{cluster: route.Backends[0].Cluster, plain: strings.ToLower(route.PlainHTTP.String())}
	var addresses []string
	for _, b := range route.Backends {
		if b.Cluster != o.cluster {
			o.cluster += "," + b.Cluster
		}
		addresses = append(addresses, b.Addresses...)
	}
	o.addresses = strings.Join(addresses, " ")
	for i, probe := range probes {
		if route.Allows(probe) {
			o.clients |= 1 << i
		}
	}
	return o
}

// ref names an object of a member.
type ref struct{ member, kind, namespace, name string }

// object is what an object of a member says.
type object struct {
	ref
	created     time.Time // as its API server says it
	hosts       []string
	annotations map[string]string
	class       string // ingress class; "" is none
	unattached  bool   // an IngressRouteTCP without TLS, or an HTTPRoute that no Gateway has accepted
	solver      bool   // one that cert-manager makes for a challenge
}

// reading is how an object is to be read. It never changes.
type reading struct {
	object
	annotated bool
	only      map[string]bool // host → true, of the hosts annotation; nil without one
	clients   clients
	plain     string
	whole     bool
	malformed bool // an annotation is
}

func read(o object) *reading {
	r := &reading{object: o, annotated: o.annotations["usher.techn.is/expose"] == "true" && !o.solver, clients: everyone, plain: "redirect"}
	for key, value := range o.annotations {
		ok := true
		switch name, usher := strings.CutPrefix(key, "usher.techn.is/"); {
		case !usher || name == "expose":
		case name == "hosts":
			r.only = map[string]bool{}
			for host := range strings.SplitSeq(value, ",") {
				r.only[strings.TrimSpace(host)] = true
			}
		case name == "plain-http":
			r.plain, ok = value, slices.Contains(plainHTTP, value)
		case name == "allow-from":
			r.clients, ok = clientsOf(value)
		case name == "wildcard":
			r.whole, ok = true, value == "all"
		default:
			ok = false
		}
		r.malformed = r.malformed || !ok
	}
	return r
}

// names reports whether the object serves a host by its name.
func (r *reading) names(host string) bool {
	nameless := r == nil || r.solver || r.kind == "IngressRouteTCP" && r.unattached
	return !nameless && slices.Contains(r.hosts, host)
}

// claims reports whether the object asks for a host, soundly or not.
func (r *reading) claims(host string) bool {
	switch {
	case r == nil || !r.annotated:
		return false
	case r.only != nil:
		return r.only[host]
	}
	return slices.Contains(r.hosts, host)
}

// covers reports whether the object's rules match a host.
func (r *reading) covers(host string) bool {
	return slices.Contains(r.hosts, host) || slices.Contains(r.hosts, wildcardOver(host))
}

// wildcardOver returns the wildcard that covers a name; "" for a wildcard.
func wildcardOver(name string) string {
	label, parent, _ := strings.Cut(name, ".")
	if label == "*" {
		return ""
	}
	return "*." + parent
}

// byHand is an ExposedHost that a person wrote.
type byHand struct {
	cluster, address string // of its backend; both empty: it has none
	allowFrom        string // comma list
	plain            string
	except           string // labels, comma list
}

// policy is what the edge says of a member.
type policy struct {
	exists     bool
	domain     string // that it may publish under; "" is any
	requireAll bool
	// asked is nil where its objects are known. After a start of the controllers a
	// member that is away has only what it is recorded to hold.
	asked *recorded
}

// recorded are hosts by what their ExposedHosts say: host → whether it is accepted.
type recorded struct{ hosts map[string]bool }

func (p policy) knows(host string) bool {
	if !p.exists || p.asked == nil {
		return p.exists
	}
	_, known := p.asked.hosts[host]
	return known
}

// timeline is a value, and those that it had before as long as they may still be
// what a decision rests on.
type timeline[T comparable] struct {
	values []T         // what is so now, and then what was
	until  []time.Time // until when each counts; zero: as long as the round lasts
	chosen int         // the value that a question is asked of
}

// set has the value be another from now on.
func (l *timeline[T]) set(v T) {
	if i := slices.Index(l.values, v); i >= 0 {
		l.values, l.until = slices.Delete(l.values, i, i+1), slices.Delete(l.until, i, i+1)
	}
	l.values, l.until = slices.Insert(l.values, 0, v), slices.Insert(l.until, 0, time.Time{})
}

// settle says that what is so now has been followed.
func (l *timeline[T]) settle(now time.Time) {
	for i := len(l.values) - 1; i > 0; i-- {
		switch {
		case l.until[i].IsZero():
			l.until[i] = now.Add(inFlight)
		case l.until[i].Before(now):
			l.values, l.until = slices.Delete(l.values, i, i+1), slices.Delete(l.until, i, i+1)
		}
	}
}

func (l *timeline[T]) value() (v T) {
	if l == nil || len(l.values) == 0 {
		return v
	}
	return l.values[l.chosen]
}

func (l *timeline[T]) choices() int { return len(l.values) }
func (l *timeline[T]) choose(i int) { l.chosen = i }

// choosable is a timeline of any values.
type choosable interface {
	choices() int
	choose(i int)
	settle(now time.Time)
}

// timelines: key → the values that belong to it.
type timelines[K, V comparable] map[K]*timeline[V]

func (t timelines[K, V]) of(key K) *timeline[V] {
	line := t[key]
	if line == nil {
		line = &timeline[V]{values: make([]V, 1), until: make([]time.Time, 1)}
		t[key] = line
	}
	return line
}

// inFlight is how long a decision that rests on what was so may take to be seen.
const inFlight = 5 * time.Second

// world is what the members and persons have said, as usher may have heard it. The
// caller of a method holds mu.
type world struct {
	mu sync.Mutex

	objects   timelines[ref, *reading]
	persons   timelines[string, *byHand] // host → the ExposedHost that a person wrote
	missing   timelines[string, bool]    // host → whether a person has just deleted its ExposedHost
	policies  timelines[string, policy]  // member → what the edge says of it
	addresses timelines[string, string]  // member → where it may lead the edge

	naming   map[string][]ref    // host → objects that have ever named it, or asked for it
	readings map[string]*reading // object, written out → its reading
}

func newWorld() *world {
	return &world{
		objects: timelines[ref, *reading]{}, persons: timelines[string, *byHand]{}, missing: timelines[string, bool]{},
		policies: timelines[string, policy]{}, addresses: timelines[string, string]{},
		naming: map[string][]ref{}, readings: map[string]*reading{},
	}
}

// say has usher hear from now on that an object is so; nil: there is none.
func (w *world) say(name ref, o *object) {
	if o == nil {
		w.objects.of(name).set(nil)
		return
	}
	text := fmt.Sprintf("%+v", *o)
	r := w.readings[text]
	if r == nil {
		r = read(*o)
		w.readings[text] = r
		for _, host := range slices.Concat(r.hosts, slices.Collect(maps.Keys(r.only))) {
			if !slices.Contains(w.naming[host], name) {
				w.naming[host] = append(w.naming[host], name)
			}
		}
	}
	w.objects.of(name).set(r)
}

// settle says that all has been followed.
func (w *world) settle() {
	now := time.Now()
	w.each(func(c choosable) { c.settle(now) })
	for _, line := range w.policies {
		if asked := line.value().asked; asked != nil {
			maps.DeleteFunc(asked.hosts, func(host string, _ bool) bool {
				member, _ := w.decided(host)
				return w.policies[member] != line
			})
		}
	}
}

func (w *world) each(do func(choosable)) {
	for _, line := range w.objects {
		do(line)
	}
	for _, line := range w.persons {
		do(line)
	}
	for _, line := range w.missing {
		do(line)
	}
	for _, line := range w.policies {
		do(line)
	}
	for _, line := range w.addresses {
		do(line)
	}
}

// claim is one object's wish to publish a host.
type claim struct {
	*reading
	fault string // why it is refused by itself
}

// foreignClass is an ingress class that no member publishes.
const foreignClass = "nginx"

// claimsOn returns the claims on a host, the oldest first.
func (w *world) claimsOn(host string) []claim {
	var claims []claim
	for _, name := range w.naming[host] {
		r := w.objects[name].value()
		if !r.claims(host) || !w.policies[name.member].value().knows(host) {
			continue
		}
		c := claim{reading: r}
		switch {
		case !r.covers(host):
			c.fault = "not covered"
		case r.class == foreignClass:
			c.fault = "foreign class"
		case r.malformed:
			c.fault = "malformed"
		case r.unattached:
			c.fault = "unattached"
		}
		claims = append(claims, c)
	}
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.member, b.member), cmp.Compare(a.kind, b.kind),
			cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	return claims
}

// served returns what a member would make of a host, with the address that it has.
func (w *world) served(host, member string, claims []claim) (o outcome, ok bool) {
	p := w.policies[member].value()
	if bare := strings.TrimPrefix(host, "*."); p.domain != "" && bare != p.domain && !strings.HasSuffix(bare, "."+p.domain) {
		return outcome{}, false
	}
	o = outcome{cluster: member, addresses: w.addresses[member].value(), clients: everyone, plain: plainHTTP[0]}
	for _, c := range claims {
		switch {
		case c.member != member:
		case c.fault == "malformed":
			return outcome{}, false
		case c.fault == "":
			ok = true
			o.clients &= c.clients
			o.plain = plainHTTP[max(slices.Index(plainHTTP, o.plain), slices.Index(plainHTTP, c.plain))]
		}
	}
	if p.asked != nil {
		ok = p.asked.hosts[host]
	}
	return o, ok && o.clients != 0
}

// holder returns the member that gets a host; "" where none of its claims is sound.
func (w *world) holder(host string, claims []claim) string {
	for _, known := range []bool{false, true} { // what is only recorded is not given to another
		for _, c := range claims {
			if asked := w.policies[c.member].value().asked == nil; c.fault != "" || asked != known {
				continue
			}
			if _, ok := w.served(host, c.member, claims); ok {
				return c.member
			}
		}
	}
	return ""
}

// decided returns the member that a host's ExposedHost names, and whether it is accepted.
func (w *world) decided(host string) (member string, accepted bool) {
	claims := w.claimsOn(host)
	if len(claims) == 0 || w.persons[host].value() != nil {
		return "", false
	}
	member = w.holder(host, claims)
	if member == "" {
		return claims[0].member, false
	}
	return member, !w.keptPrivate(host, member)
}

// own returns what a host's own ExposedHost makes of it; false where there is none.
func (w *world) own(host string) (outcome, bool) {
	if w.missing[host].value() {
		return outcome{}, false
	}
	if p := w.persons[host].value(); p != nil {
		return w.servedByHand(p), true
	}
	claims := w.claimsOn(host)
	if len(claims) == 0 {
		return outcome{}, false
	}
	member, accepted := w.decided(host)
	if !accepted {
		return outcome{}, true
	}
	o, _ := w.served(host, member, claims)
	if o.addresses == "" {
		return outcome{}, true
	}
	return o, true
}

func (w *world) servedByHand(p *byHand) outcome {
	o := outcome{cluster: p.cluster, addresses: p.address, clients: everyone, plain: p.plain}
	if p.cluster != "" {
		o.addresses = w.addresses[p.cluster].value()
	}
	if p.allowFrom != "" {
		o.clients, _ = clientsOf(p.allowFrom)
	}
	if o.addresses == "" {
		return outcome{}
	}
	return o
}

// keptPrivate reports whether a member that requires all objects of a host to be
// annotated has one that is not.
func (w *world) keptPrivate(host, member string) bool {
	p := w.policies[member].value()
	if !p.requireAll || p.asked != nil {
		return false
	}
	return slices.ContainsFunc(w.namesakes(host), func(name ref) bool {
		r := w.objects[name].value()
		return name.member == member && (r.names(host) && !r.claims(host) || r.names(wildcardOver(host)) && !r.annotated)
	})
}

// namesakes are the objects that have ever named a host, or the wildcard over it.
func (w *world) namesakes(host string) []ref {
	return slices.Concat(w.naming[host], w.naming[wildcardOver(host)])
}

// under returns what the wildcard over a name makes of it.
func (w *world) under(name string) outcome {
	wildcard := wildcardOver(name)
	o, exists := w.own(wildcard)
	if !exists || o == (outcome{}) || w.excepted(name, wildcard, o.cluster) {
		return outcome{}
	}
	return o
}

// excepted reports whether a wildcard does not cover a name.
func (w *world) excepted(name, wildcard, member string) bool {
	label, _, _ := strings.Cut(name, ".")
	if p := w.persons[wildcard].value(); p != nil {
		return slices.Contains(strings.Split(p.except, ","), label)
	}
	named := slices.ContainsFunc(w.naming[name], func(name_ ref) bool {
		return name_.member == member && w.objects[name_].value().names(name)
	})
	return named && slices.ContainsFunc(w.claimsOn(wildcard), func(c claim) bool { return c.member == member && c.fault == "" && !c.whole })
}

// lookup returns what is to become of a name.
func (w *world) lookup(name string) outcome {
	if o, exists := w.own(name); exists {
		return o
	}
	return w.under(name)
}

// permits reports whether a name may have an outcome by what is so, or was a moment
// ago: each decision sees each object as it is or was, and its own ExposedHost and
// that of the wildcard over it are decided about by themselves.
func (w *world) permits(name string, got outcome) bool {
	absent := false
	is := some(w.counting(name), func() bool {
		o, exists := w.own(name)
		absent = absent || !exists
		return exists && o == got
	})
	if is || !absent {
		return is
	}
	var lines []choosable
	for _, name := range w.naming[name] {
		lines = append(lines, w.objects.of(name))
	}
	for _, line := range w.counting(wildcardOver(name)) {
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return some(lines, func() bool { return w.under(name) == got })
}

// counting are the timelines that the decision about a host rests on.
func (w *world) counting(host string) []choosable {
	lines := []choosable{w.persons.of(host), w.missing.of(host)}
	members := map[string]bool{} // name → true
	for _, p := range w.persons.of(host).values {
		members[cmp.Or(p, &byHand{}).cluster] = true
	}
	for _, name := range w.namesakes(host) {
		lines = append(lines, w.objects.of(name))
		members[name.member] = true
	}
	for _, member := range slices.Sorted(maps.Keys(members)) {
		lines = append(lines, w.policies.of(member), w.addresses.of(member))
	}
	return lines
}

// some reports whether check is true of any choice of the timelines' values.
func some(lines []choosable, check func() bool) bool {
	if len(lines) == 0 {
		return check()
	}
	defer lines[0].choose(0)
	for i := range lines[0].choices() {
		lines[0].choose(i)
		if some(lines[1:], check) {
			return true
		}
	}
	return false
}

// allNames are all names that anybody has ever spoken of, and one that nobody has
// under each wildcard.
func (w *world) allNames() []string {
	names := map[string]bool{} // name → true
	for host := range w.naming {
		names[host] = true
	}
	for host := range w.persons {
		names[host] = true
	}
	for host := range maps.Clone(names) {
		if parent, wildcard := strings.CutPrefix(host, "*."); wildcard {
			names["nobody."+parent] = true
		}
	}
	maps.DeleteFunc(names, func(name string, _ bool) bool { return strings.HasPrefix(name, "*.") })
	return slices.Sorted(maps.Keys(names))
}

// namesUnder are those of allNames that have a parent.
func (w *world) namesUnder(parent string) []string {
	return slices.DeleteFunc(w.allNames(), func(name string) bool { return wildcardOver(name) != "*."+parent })
}

// explain says what a host's outcome rests on.
func (w *world) explain(name string) string {
	var said []string
	for _, host := range []string{name, wildcardOver(name)} {
		if p := w.persons[host].value(); p != nil {
			said = append(said, fmt.Sprintf("%s by hand %+v", host, *p))
		}
		for i, r := range w.persons.of(host).values[1:] {
			said = append(said, fmt.Sprintf("before (%d) by hand %+v", i, r))
		}
	}
	members := map[string]bool{}
	for _, name := range w.namesakes(name) {
		for i, r := range w.objects[name].values {
			if r != nil {
				said = append(said, fmt.Sprintf("%v (%d) of %v names %v with %.200q class %q unattached %v solver %v", name, i, r.created, r.hosts, fmt.Sprint(r.annotations), r.class, r.unattached, r.solver))
				members[name.member] = true
			} else if i == 0 && len(w.objects[name].values) > 1 {
				said = append(said, fmt.Sprintf("%v is gone", name))
			}
		}
	}
	for member := range members {
		said = append(said, fmt.Sprintf("%s: %+v at %v", member, w.policies[member].values, w.addresses[member].values))
	}
	return "\n  " + strings.Join(said, "\n  ")
}

// restart says that the controllers have been restarted: of members that are away
// nothing is known but what they are recorded to hold.
func (w *world) restart(members []*simMember) {
	for _, m := range members {
		p := w.policies.of(m.name).value()
		if !m.away || !p.exists {
			continue
		}
		held := &recorded{map[string]bool{}}
		for host := range w.naming {
			if member, accepted := w.decided(host); member == m.name {
				held.hosts[host] = accepted
			}
		}
		p.asked = held
		w.policies.of(m.name).set(p)
	}
}
