package controllers_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jovalle/usher/proxy/routing"
)

// The oracle: the route that a host must have by what is so now, and the routes that
// it may have while usher follows a change. Each decision may then rest on the current
// or on a former state of each object, in any combination.

// facts are what one object, or several of one member together, are to a host; and to
// a name under it, where the host is a wildcard and the question is about that name.
type facts struct {
	claims    bool // one claims it
	malformed bool // one that claims it has a malformed annotation
	sound     bool // one claims it soundly; what follows is what all sound claims allow
	clients   clients
	plain     string
	whole     bool
	share     bool
	oldest    string // age of the oldest sound claim
	silent    bool   // one serves the host and does not claim it

	named, published, claimed bool // one names, publishes, claims the name under it
}

// noFacts are what no object is to a host.
var noFacts = facts{clients: everyone, plain: plainHTTP[0], whole: true, share: true}

func (f facts) and(g facts) facts {
	both := facts{
		claims: f.claims || g.claims, malformed: f.malformed || g.malformed, sound: f.sound || g.sound,
		clients: f.clients & g.clients, plain: stricter(f.plain, g.plain), whole: f.whole && g.whole, share: f.share && g.share, oldest: f.oldest,
		silent: f.silent || g.silent, named: f.named || g.named, published: f.published || g.published, claimed: f.claimed || g.claimed,
	}
	if g.oldest != "" && (f.oldest == "" || g.oldest < f.oldest) {
		both.oldest = g.oldest
	}
	return both
}

// factsOf returns what an object is to a host and to a name under it. Cut: it is
// beyond what its member may publish.
func factsOf(r *reading, cut bool, host, name string) facts {
	f := noFacts
	if r == nil {
		return f
	}
	if f.claims = r.claimed[host] && !cut; f.claims {
		fault := r.fault(host)
		f.malformed, f.sound = fault == "malformed", fault == ""
	}
	if f.sound {
		f.clients, f.plain, f.whole, f.share, f.oldest = r.clients, r.plain, r.whole, r.share, r.age()
	}
	f.silent = r.names(host) && !f.claims || r.names(wildcardOver(host)) && !r.annotated
	f.named, f.published, f.claimed = r.names(name), r.publishes(name), r.claimed[name] && !cut
	return f
}

// view is what a member is to a host.
type view struct {
	exists  bool // its MemberCluster does
	claims  bool
	oldest  string  // age of its oldest sound claim; "" where none is sound
	options outcome // without the addresses
	silent  bool    // an object of it serves the host and does not claim it
	private bool    // and that refuses the host
	allowed bool    // the host is in its allowedDomains
	share   bool    // as a wildcard it is shared, where its claims are sound
	excepts bool    // as a wildcard it does not cover the name in question
}

func viewOf(member, host string, p policy, f facts) view {
	if !p.exists {
		return view{}
	}
	v := view{exists: true, claims: f.claims, silent: f.silent, allowed: inDomain(host, p.domain), share: f.share}
	v.options = outcome{cluster: member, clients: f.clients, plain: f.plain}
	v.excepts = f.named && !(f.sound && f.whole) || f.published && !f.claimed
	sound := f.sound && !f.malformed && f.clients != 0
	if p.recorded != nil {
		accepted, recorded := p.recorded.hosts[host]
		v.claims, sound = f.claims && recorded, accepted
	}
	if v.claims && sound && v.allowed {
		v.oldest = f.oldest
	}
	v.private = p.requireAll && p.recorded == nil && f.silent
	return v
}

func inDomain(host, domain string) bool {
	host = strings.TrimPrefix(host, "*.")
	return domain == "" || host == domain || strings.HasSuffix(host, "."+domain)
}

// views returns what a member may be to a host, and to a name under it.
func (w *world) views(member, host, name string, recent bool) []view {
	together := map[facts]bool{noFacts: true}
	for _, o := range w.about(host, name) {
		if o.member != member {
			continue
		}
		joined := map[facts]bool{}
		for _, r := range w.objects.of(o).valid(recent) {
			for _, cut := range w.cut.of(o).valid(recent) {
				alone := factsOf(r, cut, host, name)
				for f := range together {
					joined[f.and(alone)] = true
				}
			}
		}
		together = joined
	}
	views := map[view]bool{}
	for _, p := range w.policies.of(member).valid(recent) {
		for f := range together {
			views[viewOf(member, host, p, f)] = true
		}
	}
	return slices.Collect(maps.Keys(views))
}

// about returns the objects that have ever named a host, the wildcard over it, or a
// name under it; each once.
func (w *world) about(host, name string) []ref {
	all := slices.Concat(w.naming[host], w.naming[wildcardOver(host)], w.naming[name])
	slices.SortFunc(all, func(a, b ref) int {
		return cmp.Or(cmp.Compare(a.member, b.member), cmp.Compare(a.kind, b.kind), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	return slices.Compact(all)
}

// combinations calls yield with each combination of what the members may be to a host:
// member → view.
func (w *world) combinations(host, name string, recent bool, yield func(map[string]view)) {
	views := map[string]view{}
	var choose func(members []string)
	choose = func(members []string) {
		if len(members) == 0 {
			yield(views)
			return
		}
		for _, v := range w.views(members[0], host, name, recent) {
			views[members[0]] = v
			choose(members[1:])
		}
	}
	choose(slices.Sorted(maps.Keys(w.policies)))
}

// decision is what the ExposedHost of a host makes of it.
type decision struct {
	exists bool // there is one
	outcome
	excepts bool // as a wildcard it does not cover the name in question
}

// decisions returns what the ExposedHost of a host may make of it, and of a name under it.
func (w *world) decisions(host, name string, h holder, recent bool) map[decision]bool {
	all, aboves := map[decision]bool{}, w.aboves(host, recent)
	add := func(d decision) {
		if d.cluster == "" { // a person gave the address, or there is none
			d.outcome = d.at(d.addresses)
			all[d] = true
			return
		}
		options := d.outcome
		for _, addresses := range w.addresses.of(d.cluster).valid(recent) {
			d.outcome = options.at(addresses)
			all[d] = true
		}
	}
	if slices.Contains(w.deleted.of(host).valid(recent), true) {
		add(decision{})
	}
	for _, m := range w.manuals.of(host).valid(recent) {
		if m != nil {
			add(m.decision(name))
			continue
		}
		w.combinations(host, name, recent, func(views map[string]view) {
			for a := range aboves {
				add(w.decide(host, a.taken(h, views), a.limit(h, views)))
			}
		})
	}
	return all
}

func (m *manual) decision(name string) decision {
	label, _, _ := strings.Cut(name, ".")
	d := decision{exists: true, outcome: outcome{cluster: m.cluster, addresses: m.address, clients: everyone, plain: m.plain}}
	d.excepts = slices.Contains(strings.Split(m.except, ","), label)
	if m.allowFrom != "" {
		d.clients, _ = clientsIn(m.allowFrom)
	}
	return d
}

// above is what the wildcard over a host is to it. The zero value limits nothing.
type above struct {
	limits bool
	manual bool   // a person wrote it
	member string // to which it belongs; "" is none
	first  string // age of the claim by which the member gets it; "" where it is held
}

// aboves returns what the wildcard over a host may be to it.
func (w *world) aboves(host string, recent bool) map[above]bool {
	wildcard := wildcardOver(host)
	if wildcard == "" {
		return map[above]bool{{}: true}
	}
	all := map[above]bool{}
	for _, m := range w.manuals.of(wildcard).valid(recent) {
		if m != nil {
			all[above{!m.share, true, m.cluster, ""}] = true
			continue
		}
		for _, h := range w.possible(wildcard) {
			w.combinations(wildcard, "", recent, func(views map[string]view) {
				a := aboveBy(h, views)
				if all[a] = true; h.member != "" && !views[h.member].claims { // it may have been shared, and is so until another gets it
					all[above{}] = true
				}
			})
		}
	}
	return all
}

// aboveBy applies the rule: a wildcard is to be given by its holder, sound or refused;
// where there is none, by the member that gets it, against younger claims.
func aboveBy(h holder, views map[string]view) above {
	is := views[h.member]
	if !is.exists {
		member := oldest(views, true)
		if member == "" || views[member].share {
			return above{}
		}
		return above{limits: true, member: member, first: views[member].oldest}
	}
	if !is.allowed || is.claims && is.oldest != "" && !is.private && is.share {
		return above{}
	}
	return above{limits: true, member: h.member}
}

// limit returns what the members are to a host that one of them holds, where the claims
// of those are refused that may not get it.
func (a above) limit(h holder, views map[string]view) map[string]view {
	limited := maps.Clone(views)
	for name, v := range limited {
		older := a.first != "" && v.oldest < a.first
		if a.limits && name != a.member && (a.manual || name != h.member) && !older {
			v.oldest = ""
			limited[name] = v
		}
	}
	return limited
}

// taken returns the holder of a host, where a person's wildcard gives it to another.
func (a above) taken(h holder, views map[string]view) holder {
	if v := views[a.member]; a.limits && a.manual && h.member != "" && v.oldest != "" && !v.private {
		return holder{member: a.member}
	}
	return h
}

// decide applies the rule: the holder of a host keeps it while it claims it at all;
// where there is none, the oldest sound claim wins.
func (w *world) decide(host string, h holder, views map[string]view) decision {
	claimed := slices.ContainsFunc(slices.Collect(maps.Values(views)), func(v view) bool { return v.claims })
	if !views[h.member].exists {
		h = holder{member: oldest(views, true)}
	}
	is, refused := views[h.member], decision{exists: true}
	switch {
	case !claimed:
		return decision{}
	case h.member == "" || is.claims && (is.oldest == "" || is.private):
		return refused
	case is.claims:
		return decision{true, is.options, is.excepts}
	case oldest(views, false) == "" || h.lapsed || is.silent || !is.allowed || w.served[host].cluster != h.member:
		return refused
	}
	// The holder no longer claims the host, and a rival waits: it is served as before.
	before := w.served[host]
	before.addresses = ""
	return decision{true, before, is.excepts}
}

// oldest returns the member with the oldest sound claim. Annotated: it passes over
// members with requireAll whose objects are not all annotated.
func oldest(views map[string]view, annotated bool) (member string) {
	var first string
	for name, v := range views {
		if v.oldest != "" && !(annotated && v.private) && (first == "" || v.oldest < first) {
			member, first = name, v.oldest
		}
	}
	return member
}

// under returns what its wildcard may make of a name that has no ExposedHost.
func (w *world) under(name string, recent bool) map[outcome]bool {
	all := map[outcome]bool{}
	wildcard := wildcardOver(name)
	for _, h := range w.possible(wildcard) {
		for d := range w.decisions(wildcard, name, h, recent) {
			if d.excepts {
				d.outcome = outcome{}
			}
			all[d.outcome] = true
		}
	}
	return all
}

// check returns an error where the route of a host, or what a name without a route
// gets from its wildcard, is not what it must be now. With recent it is enough that it
// was right a moment ago.
func (w *world) check(host string, table *routing.Table, recent bool) error {
	route := table.Own(host)
	got := decision{exists: route != nil, outcome: outcomeOf(route)}
	want := map[decision]bool{}
	for _, h := range w.possible(host) {
		for d := range w.decisions(host, "", h, recent) {
			d.excepts = false
			want[d] = true
		}
	}
	if recent && want[decision{}] && len(want) > 1 {
		want[decision{exists: true}] = true // a new ExposedHost is refused until it is decided
	}
	if !want[got] {
		return fmt.Errorf("%s has the route %+v, but want one of %v", host, route, want)
	}
	if route != nil {
		return nil
	}
	if got, want := outcomeOf(table.Lookup(host)), w.under(host, recent); !want[got] {
		return fmt.Errorf("%s gets the route %+v from its wildcard, but want one of %v", host, table.Lookup(host), want)
	}
	return nil
}

// possible returns the holders that a host may have by now: the former one, and where
// it may have lost the host, each member that may have won it.
func (w *world) possible(host string) []holder {
	var all []holder
	free, aboves := len(w.holders[host]) == 0, w.aboves(host, true)
	for a := range aboves {
		free = free || a.limits && a.manual // a person may have given it to another
	}
	for _, h := range w.holders[host] {
		since, unclaimed := w.unclaimed[holding{host, h.member}]
		free = free || h.member == "" || unclaimed && time.Since(since) >= simGrace() || w.released(host, h.member)
		overdue := unclaimed && time.Since(since) > simGrace()+allWithin() && !w.away[h.member] && time.Since(w.unsteady[h.member]) > allWithin()
		if !overdue {
			all = append(all, h)
		}
		// While usher connects to the holder, the host is refused, and it stays so.
		disconnected := w.away[h.member] || w.unsteady[h.member].After(since.Add(-inFlight()))
		if unclaimed && (w.lapsed[host] || disconnected) {
			all = append(all, holder{h.member, true})
		}
	}
	if free {
		all = append(all, holder{})
		w.combinations(host, "", true, func(views map[string]view) {
			for a := range aboves {
				if h := (holder{member: oldest(a.limit(holder{}, views), true)}); !slices.Contains(all, h) {
					all = append(all, h)
				}
			}
		})
	}
	return all
}

// released reports whether a person may have taken a host from its holder.
func (w *world) released(host, member string) bool {
	return slices.Contains(w.deleted.of(host).values, true) ||
		slices.ContainsFunc(w.manuals.of(host).values, func(m *manual) bool { return m != nil }) ||
		slices.ContainsFunc(w.policies.of(member).values, func(p policy) bool { return !p.exists })
}
