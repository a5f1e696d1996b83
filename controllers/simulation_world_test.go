package controllers_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jovalle/usher/proxy/routing"
)

// world is the state of members and edge, as far as usher can know it. The caller of
// a method holds mu.
type world struct {
	mu sync.Mutex

	objects   timelines[ref, *reading]
	cut       timelines[ref, bool]       // object → whether it is beyond what its member may publish
	manuals   timelines[string, *manual] // host → the ExposedHost that a person wrote
	deleted   timelines[string, bool]    // host → whether a person has just deleted its ExposedHost
	policies  timelines[string, policy]  // member → what the edge configures
	addresses timelines[string, string]  // member → where its ingress may be
	away      map[string]bool            // member → whether usher cannot read it
	unsteady  map[string]time.Time       // member → when usher last had to connect to it again

	holders   map[string][]holder   // host → who may hold it; none: nobody does
	unclaimed map[holding]time.Time // since when a holder does not claim its host
	lapsed    map[string]bool       // host → whether it was refused while its holder did not claim it
	served    map[string]outcome    // host → its own route when it was last served

	naming   map[string][]ref    // host → objects that have ever named or published it
	readings map[string]*reading // object, as text → its reading
}

// holder is a member that holds a host; "" is none. Lapsed: it does not claim the
// host, which was refused since.
type holder struct {
	member string
	lapsed bool
}

// holding is a host that a member holds.
type holding struct{ host, member string }

func newWorld() *world {
	return &world{
		objects: timelines[ref, *reading]{}, cut: timelines[ref, bool]{}, manuals: timelines[string, *manual]{}, deleted: timelines[string, bool]{},
		policies: timelines[string, policy]{}, addresses: timelines[string, string]{}, away: map[string]bool{}, unsteady: map[string]time.Time{},
		holders: map[string][]holder{}, unclaimed: map[holding]time.Time{}, lapsed: map[string]bool{}, served: map[string]outcome{},
		naming: map[string][]ref{}, readings: map[string]*reading{},
	}
}

// set changes an object that usher can read; nil: it is deleted.
func (w *world) set(name ref, o *object) {
	var r *reading
	if o != nil {
		r = w.parse(*o)
	}
	w.objects.of(name).set(r)
	w.limit(name.member)
	w.noteUnclaimed(name.member)
}

// parse returns an object's reading, the same one each time.
func (w *world) parse(o object) *reading {
	text := fmt.Sprintf("%v %v %v %v", o.ref, o, o.created, o.unattached)
	if len(o.hosts) > 20 {
		text += fmt.Sprint(o.hosts)
	}
	if r := w.readings[text]; r != nil {
		return r
	}
	r := parse(o)
	w.readings[text] = r
	for _, host := range slices.Concat(r.hosts, slices.Collect(maps.Keys(r.only))) {
		if !slices.Contains(w.naming[host], o.ref) {
			w.naming[host] = append(w.naming[host], o.ref)
		}
	}
	return r
}

// limit cuts the objects of a member beyond what it may publish. The oldest come first.
func (w *world) limit(member string) {
	var all []*reading
	for name := range w.objects {
		if r := w.objects.now(name); name.member == member && r != nil && r.annotated {
			all = append(all, r)
		}
	}
	kinds := []string{"Ingress", "IngressRoute", "IngressRouteTCP", "HTTPRoute"}
	slices.SortFunc(all, func(a, b *reading) int {
		return cmp.Or(a.created.Compare(b.created), cmp.Compare(slices.Index(kinds, a.kind), slices.Index(kinds, b.kind)),
			cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	total := 0
	for _, r := range all {
		total += len(r.claimed)
		w.cut.of(r.ref).set(total > simLimits.MemberHosts)
	}
}

// noteUnclaimed notes which hosts a member holds and does not claim.
func (w *world) noteUnclaimed(member string) {
	for name, claims := range w.held(member) {
		switch since, unclaimed := w.unclaimed[name]; {
		case !claims && !unclaimed:
			w.unclaimed[name] = time.Now()
		case claims && unclaimed && time.Since(since) > simGrace()/2: // another may have won it
			w.holders[name.host] = append(w.holders[name.host], holder{})
		}
	}
}

// held returns the hosts that a member may hold, and whether it claims them.
func (w *world) held(member string) map[holding]bool {
	held := map[holding]bool{}
	for host, holders := range w.holders {
		if slices.ContainsFunc(holders, func(h holder) bool { return h.member == member }) {
			held[holding{host, member}] = w.views(member, host, "", false)[0].claims
		}
	}
	return held
}

// settle ends a round: usher has followed all changes, and the table shows them.
func (w *world) settle(table *routing.Table) {
	for _, host := range w.hosts() {
		w.settleHolder(host, table.Own(host))
	}
	now := time.Now()
	w.objects.settle(now)
	w.cut.settle(now)
	w.manuals.settle(now)
	w.deleted.settle(now)
	w.policies.settle(now)
	w.addresses.settle(now)
	for member := range w.policies {
		w.noteUnclaimed(member)
		for name, claims := range w.held(member) {
			if claims { // usher has read that; before, it may have missed a short claim
				delete(w.unclaimed, name)
			}
		}
	}
}

// settleHolder notes who may hold a host, by its route: a cluster that serves it, no
// other. Of a host that is refused nothing is known: usher may not have read a change yet.
func (w *world) settleHolder(host string, route *routing.Route) {
	var holders []holder
	switch o := outcomeOf(route); {
	case w.manuals.now(host) != nil:
	case o.cluster != "":
		holders = []holder{{member: o.cluster}}
	default:
		for _, h := range w.possible(host) {
			if !w.policies.now(h.member).exists {
				h = holder{}
			}
			if h.lapsed = false; !slices.Contains(holders, h) {
				holders = append(holders, h)
			}
		}
	}
	for _, h := range w.holders[host] {
		if !slices.Contains(holders, h) {
			delete(w.unclaimed, holding{host, h.member})
		}
	}
	w.holders[host] = holders
	if !w.isUnclaimed(host) {
		delete(w.lapsed, host)
	}
}

// isUnclaimed reports whether a host may have a holder that does not claim it.
func (w *world) isUnclaimed(host string) bool {
	return slices.ContainsFunc(w.holders[host], func(h holder) bool { return !w.unclaimed[holding{host, h.member}].IsZero() })
}

// noteServed notes a host's own route.
func (w *world) noteServed(host string, route *routing.Route) {
	if o := outcomeOf(route); o != (outcome{}) {
		w.served[host] = o
	} else if w.isUnclaimed(host) {
		w.lapsed[host] = true
	}
}

// restart notes that the controllers have ended. Of members that are away only what
// ExposedHosts record will be known, and the holder of a withdrawn host is forgotten.
func (w *world) restart(table *routing.Table) {
	for name := range w.unclaimed {
		if route := table.Own(name.host); route == nil || route.Refusal == "NotDecided" { // nothing records it
			w.holders[name.host] = append(w.holders[name.host], holder{})
		}
	}
	for member, line := range w.policies {
		w.unsteady[member] = time.Now()
		p := w.policies.now(member)
		if !w.away[member] || !p.exists {
			continue
		}
		is := &record{map[string]bool{}}
		for _, host := range w.hosts() {
			w.combinations(host, "", false, func(views map[string]view) {
				v := views[member]
				holds := slices.ContainsFunc(w.holders[host], func(h holder) bool { return h.member == member })
				taken := false
				for a := range w.aboves(host, false) {
					taken = taken || a.limits && a.manual && a.member != member
				}
				if v.claims {
					is.hosts[host] = holds && v.oldest != "" && !v.private && !taken
				}
			})
		}
		p.recorded = is
		line.set(p)
	}
}

// hosts returns all hosts that are or were named, and a name under each wildcard that
// no object has.
func (w *world) hosts() []string {
	hosts := map[string]bool{} // host → true
	for host := range w.naming {
		hosts[host] = true
	}
	for host := range w.manuals {
		hosts[host] = true
	}
	for host := range maps.Clone(hosts) {
		if parent, wildcard := strings.CutPrefix(host, "*."); wildcard {
			hosts["nobody."+parent] = true
		}
	}
	delete(hosts, "")
	return slices.Sorted(maps.Keys(hosts))
}

// explain describes what the decision about a host rests on. Former states have
// numbers above 0.
func (w *world) explain(host string) string {
	var text strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&text, "\n  "+format, args...) }
	for _, host := range []string{host, wildcardOver(host)} {
		for i, m := range w.manuals.of(host).values {
			if m != nil {
				line("(%d) by hand %s: %+v", i, host, *m)
			}
		}
		for _, h := range w.holders[host] {
			line("%s may be held by %+v, unclaimed since %v, lapsed %v", host, h, w.unclaimed[holding{host, h.member}], w.lapsed[host])
		}
	}
	for _, name := range w.about(host, "") {
		for i, r := range w.objects.of(name).values {
			if r != nil {
				line("(%d) %s, created %v: unattached %v, cut %v, claims it %v: %v", i, name.member, r.created, r.unattached, w.cut.of(name).values, r.claimed[host], r.object)
			} else if i == 0 && len(w.objects.of(name).values) > 1 {
				line("(%d) %+v is deleted", i, name)
			}
		}
	}
	for _, member := range slices.Sorted(maps.Keys(w.policies)) {
		line("%s: %+v at %q, away %v", member, w.policies.of(member).values, w.addresses.of(member).values, w.away[member])
	}
	return text.String()
}
