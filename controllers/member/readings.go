package member

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
	"unsafe"

	"k8s.io/apimachinery/pkg/types"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// Limits bound what may be published of one member.
type Limits struct {
	// SourceHosts is how many hosts one object may publish; 0 is no limit.
	SourceHosts int
	// MemberHosts is how many claims all objects of the member may make together; 0 is
	// no limit. A host that two objects claim counts twice. Older objects take
	// precedence.
	MemberHosts int
}

// DefaultLimits are far more than clusters usually publish.
var DefaultLimits = Limits{SourceHosts: 500, MemberHosts: 10_000}

// sourceID identifies a source within a session.
type sourceID struct {
	kind int // index in sources
	types.NamespacedName
}

// reading is the result of the last read of an annotated source.
type reading struct {
	id       sourceID
	created  time.Time
	claims   []source.Claim // sorted by host; nil while the reading is cut
	refusals []source.Refusal

	options   string   // isolating TLS options of the claims
	allowFrom []string // of the claims
	hosts     int      // number of claims, also while the reading is cut
	more      int      // number of hosts that the object names beyond Limits.SourceHosts
	cut       bool     // the claims are dropped: they are beyond Limits.MemberHosts
}

// size estimates the memory that a reading takes, in bytes.
func (r *reading) size() int {
	size := int(unsafe.Sizeof(*r)) + len(r.claims)*int(unsafe.Sizeof(source.Claim{}))
	for _, claim := range r.claims {
		if claim.Refusal != nil {
			size += len(claim.Refusal.Message)
		}
	}
	if len(r.claims) > 0 && r.claims[0].RefusedPorts != nil { // which all of them share
		size += len(r.claims[0].RefusedPorts.First.Message)
	}
	for _, refusal := range r.refusals {
		size += len(refusal.Message)
	}
	return size
}

// compareAge orders readings by the age of their objects, the oldest first, then by name.
func (r *reading) compareAge(o *reading) int {
	return cmp.Or(
		r.created.Compare(o.created),
		cmp.Compare(r.id.kind, o.id.kind),
		cmp.Compare(r.id.Namespace, o.id.Namespace),
		cmp.Compare(r.id.Name, o.id.Name),
	)
}

// claimOn returns the reading's claim on a host.
func (r *reading) claimOn(host string) (source.Claim, bool) {
	i, found := slices.BinarySearchFunc(r.claims, host, func(c source.Claim, host string) int { return cmp.Compare(c.Host, host) })
	if !found {
		return source.Claim{}, false
	}
	return r.claims[i], true
}

// refusedAt returns the refusals of a reading that do not concern a single host.
func (r *reading) refusedAt(limits Limits) []v1alpha1.SourceRefusal {
	refusals := make([]v1alpha1.SourceRefusal, 0, len(r.refusals)+1)
	add := func(why, text string) {
		refusals = append(refusals, v1alpha1.SourceRefusal{
			Kind: sources[r.id.kind].gvk.Kind, Namespace: r.id.Namespace, Name: r.id.Name, Reason: why, Message: text,
		})
	}
	if r.cut {
		add(reason.TooManyHosts, message.Format("%s %s/%s: the objects of the cluster claim more than %d hosts together; older objects come first, so no host of this one is published. Remove claims of older objects, or raise usher's --max-member-hosts",
			sources[r.id.kind].gvk.Kind, r.id.Namespace, r.id.Name, limits.MemberHosts))
	}
	for _, refusal := range r.refusals {
		add(refusal.Reason, refusal.Message)
	}
	return refusals
}

// readings are the readings of all annotated sources of a session, indexed by source,
// age and host.
type readings struct {
	limits Limits

	mu     sync.RWMutex
	byID   map[sourceID]*reading
	byAge  []*reading                 // the oldest first
	byHost map[string][]*reading      // host → the readings that claim it
	under  map[string]map[string]bool // wildcard → claimed hosts that it covers → true

	byOptions sharing
	hosts     int // number of claims of all readings, including cut ones
	more      int // number of readings that name hosts beyond Limits.SourceHosts
	cuts      int // number of readings that are cut
}

func newReadings(limits Limits) *readings {
	return &readings{limits: limits, byID: map[sourceID]*reading{}, byHost: map[string][]*reading{}, under: map[string]map[string]bool{}, byOptions: sharing{}}
}

// changed is the effect of a new reading.
type changed struct {
	hosts    []string   // whose claims have changed; one may be in the list twice
	refusals bool       // whether the refusals that concern no single host have changed
	again    []sourceID // cut sources that are within the limit again, and must be read again
	size     int        // bytes by which the readings grow
}

// put replaces the reading of a source; nil removes it.
func (b *readings) put(id sourceID, r *reading) changed {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.byID[id]
	was, is := optionsIn(before), optionsIn(r)
	sharedWas, sharedIs := b.byOptions.oldest(was), b.byOptions.oldest(is)
	var c changed
	if before != nil {
		b.unlink(before)
		c.size -= before.size()
	}
	if r != nil {
		b.link(r)
		c.size += r.size()
	}
	c.hosts = differing(claimsOf(before), claimsOf(r))
	c.refusals = !slices.Equal(refusalsOf(before), refusalsOf(r))
	c.hosts = append(c.hosts, b.sharedOtherwise(was, sharedWas)...)
	if is != was {
		c.hosts = append(c.hosts, b.sharedOtherwise(is, sharedIs)...)
	}
	b.fit(&c)
	return c
}

func optionsIn(r *reading) string {
	if r == nil {
		return ""
	}
	return r.options
}

func claimsOf(r *reading) []source.Claim {
	if r == nil {
		return nil
	}
	return r.claims
}

func refusalsOf(r *reading) []source.Refusal {
	if r == nil {
		return nil
	}
	return r.refusals
}

func (b *readings) link(r *reading) {
	b.byID[r.id] = r
	i, _ := slices.BinarySearchFunc(b.byAge, r, (*reading).compareAge)
	b.byAge = slices.Insert(b.byAge, i, r)
	b.hosts += r.hosts
	if r.more > 0 {
		b.more++
	}
	b.byOptions.add(r)
	b.index(r)
}

func (b *readings) unlink(r *reading) {
	delete(b.byID, r.id)
	if i, found := slices.BinarySearchFunc(b.byAge, r, (*reading).compareAge); found {
		b.byAge = slices.Delete(b.byAge, i, i+1)
	}
	b.hosts -= r.hosts
	if r.more > 0 {
		b.more--
	}
	if r.cut {
		b.cuts--
	}
	b.byOptions.remove(r)
	b.unindex(r)
}

func (b *readings) index(r *reading) {
	for _, claim := range r.claims {
		if b.byHost[claim.Host] = append(b.byHost[claim.Host], r); len(b.byHost[claim.Host]) == 1 {
			b.cover(claim.Host)
		}
	}
}

// cover adds a claimed host to those under its wildcard.
func (b *readings) cover(host string) {
	wildcard := v1alpha1.WildcardOver(host)
	if wildcard == "" {
		return
	}
	if b.under[wildcard] == nil {
		b.under[wildcard] = map[string]bool{}
	}
	b.under[wildcard][host] = true
}

// uncover removes a host from those under its wildcard.
func (b *readings) uncover(host string) {
	wildcard := v1alpha1.WildcardOver(host)
	if delete(b.under[wildcard], host); len(b.under[wildcard]) == 0 {
		delete(b.under, wildcard)
	}
}

func (b *readings) unindex(r *reading) {
	for _, claim := range r.claims {
		left := slices.DeleteFunc(b.byHost[claim.Host], func(o *reading) bool { return o == r })
		// The keys may share memory with the removed object.
		delete(b.byHost, claim.Host)
		b.uncover(claim.Host)
		if len(left) == 0 {
			continue
		}
		first, _ := left[0].claimOn(claim.Host)
		b.byHost[first.Host] = left
		b.cover(first.Host)
	}
}

// fit cuts the readings beyond the limit, and collects those that are within it again.
// Older objects take precedence: once one is cut, all younger ones are cut too.
func (b *readings) fit(c *changed) {
	limit := b.limits.MemberHosts
	if limit == 0 || b.hosts <= limit && b.cuts == 0 {
		return
	}
	total := 0
	for _, r := range b.byAge {
		total += r.hosts
		switch {
		case total <= limit && r.cut:
			c.again = append(c.again, r.id)
		case total > limit && !r.cut:
			c.hosts = append(c.hosts, hostsOf(r.claims)...)
			b.unindex(r)
			c.size -= r.size()
			r.claims, r.cut, c.refusals = nil, true, true
			c.size += r.size()
			b.cuts++
		}
	}
}

// forget removes the readings of a kind, and returns by how many bytes the readings grow.
func (b *readings) forget(kind int) (size int) {
	for _, id := range b.ids(kind) {
		size += b.put(id, nil).size
	}
	return size
}

// on returns the claims on a host, of the kinds for which reads returns true.
func (b *readings) on(host string, reads func(kind int) bool) []source.Claim {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var claims []source.Claim
	for _, r := range b.byHost[host] {
		if claim, found := r.claimOn(host); found && reads(r.id.kind) {
			claims = append(claims, claim)
		}
	}
	return claims
}

// claimed reports whether any object claims a host.
func (b *readings) claimed(host string) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.byHost[host]) > 0
}

// claimedUnder returns the claimed hosts that a wildcard covers.
func (b *readings) claimedUnder(wildcard string) []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.Collect(maps.Keys(b.under[wildcard]))
}

// capped reports whether hosts of some objects are left out because of Limits.
func (b *readings) capped() bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.more > 0 || b.cuts > 0
}

// claimedHosts returns the hosts that are claimed by the kinds for which reads returns
// true. Sorted.
func (b *readings) claimedHosts(reads func(kind int) bool) []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	hosts := make([]string, 0, len(b.byHost))
	for host, by := range b.byHost {
		if slices.ContainsFunc(by, func(r *reading) bool { return reads(r.id.kind) }) {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// ids returns the sources of some kinds that have readings, or of all kinds if none is
// given.
func (b *readings) ids(kinds ...int) []sourceID {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var ids []sourceID
	for _, r := range b.byAge {
		if len(kinds) == 0 || slices.Contains(kinds, r.id.kind) {
			ids = append(ids, r.id)
		}
	}
	return ids
}

// has reports whether there is a reading of a source.
func (b *readings) has(id sourceID) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.byID[id] != nil
}

// refusals returns no more than most refusals that do not concern a single host, those of
// the newest sources first.
func (b *readings) refusals(most int, reads func(kind int) bool) []v1alpha1.SourceRefusal {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var refused []*reading
	for _, r := range b.byAge {
		if (r.cut || len(r.refusals) > 0) && reads(r.id.kind) {
			refused = append(refused, r)
		}
	}
	slices.SortFunc(refused, func(a, b *reading) int { return cmp.Or(b.created.Compare(a.created), a.compareAge(b)) })
	var refusals []v1alpha1.SourceRefusal
	for _, r := range refused {
		refusals = append(refusals, r.refusedAt(b.limits)...)
		if len(refusals) >= most {
			return slices.Clip(refusals[:most])
		}
	}
	return refusals
}

// refusalOf returns the first refusal of a source that does not concern a single host; nil
// if there is none.
func (b *readings) refusalOf(id sourceID) *source.Refusal {
	b.mu.RLock()
	defer b.mu.RUnlock()
	r := b.byID[id]
	if r == nil || !r.cut && len(r.refusals) == 0 {
		return nil
	}
	refused := r.refusedAt(b.limits)
	if len(refused) == 0 {
		return nil
	}
	return &source.Refusal{Reason: refused[0].Reason, Message: refused[0].Message}
}

func hostsOf(claims []source.Claim) []string {
	hosts := make([]string, len(claims))
	for i, claim := range claims {
		hosts[i] = claim.Host
	}
	return hosts
}

// differing returns the hosts on which two lists of claims differ. Both lists are sorted
// by host.
func differing(before, after []source.Claim) []string {
	var hosts []string
	for len(before) > 0 || len(after) > 0 {
		var order int
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		default:
			order = cmp.Compare(before[0].Host, after[0].Host)
		}
		switch {
		case order < 0:
			hosts, before = append(hosts, before[0].Host), before[1:]
		case order > 0:
			hosts, after = append(hosts, after[0].Host), after[1:]
		default:
			if !before[0].Equal(after[0]) {
				hosts = append(hosts, after[0].Host)
			}
			before, after = before[1:], after[1:]
		}
	}
	return hosts
}
