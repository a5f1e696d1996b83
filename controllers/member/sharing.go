package member

import (
	"maps"
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/source"
)

// sharing indexes the readings that use isolating TLS options: options → allow-from
// list → readings, the oldest first.
type sharing map[string]map[string][]*reading

// optionsOf returns the isolating TLS options of a reading, which are the same for all
// of its claims; "" if it has none, or if its allow-from list is not known.
func optionsOf(claims []source.Claim) string {
	if len(claims) == 0 || claims[0].Refusal != nil && claims[0].Refusal.Reason == reason.AnnotationInvalid {
		return ""
	}
	return claims[0].TLSOptions
}

// allowed returns a reading's allow-from list as one string.
func (r *reading) allowed() string { return strings.Join(r.allowFrom, ",") }

func (s sharing) add(r *reading) {
	if r.options == "" {
		return
	}
	if s[r.options] == nil {
		s[r.options] = map[string][]*reading{}
	}
	list := s[r.options][r.allowed()]
	i, _ := slices.BinarySearchFunc(list, r, (*reading).compareAge)
	s[r.options][r.allowed()] = slices.Insert(list, i, r)
}

func (s sharing) remove(r *reading) {
	list := s[r.options][r.allowed()]
	i, found := slices.BinarySearchFunc(list, r, (*reading).compareAge)
	if !found {
		return
	}
	if list = slices.Delete(list, i, i+1); len(list) > 0 {
		s[r.options][r.allowed()] = list
		return
	}
	delete(s[r.options], r.allowed())
	if len(s[r.options]) == 0 {
		delete(s, r.options)
	}
}

// oldest returns the oldest reading of each allow-from list of some TLS options.
func (s sharing) oldest(options string) map[string]*reading {
	first := map[string]*reading{}
	for allowed, list := range s[options] {
		first[allowed] = list[0]
	}
	return first
}

// hosts returns the hosts of all readings with some TLS options.
func (s sharing) hosts(options string) []string {
	var hosts []string
	for _, list := range s[options] {
		for _, r := range list {
			hosts = append(hosts, hostsOf(r.claims)...)
		}
	}
	return hosts
}

// sharedOtherwise returns the hosts that may be refused, or no longer, because the
// readings that share TLS options have changed since oldest was called.
func (b *readings) sharedOtherwise(options string, before map[string]*reading) []string {
	after := b.byOptions.oldest(options)
	if options == "" || max(len(before), len(after)) < 2 || maps.Equal(before, after) {
		return nil
	}
	return b.byOptions.hosts(options)
}

// oldestWithOptions returns the oldest reading that claims a host and has isolating TLS
// options; nil if there is none.
func (b *readings) oldestWithOptions(host string) *reading {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var oldest *reading
	for _, r := range b.byHost[host] {
		if r.options != "" && (oldest == nil || r.compareAge(oldest) < 0) {
			oldest = r
		}
	}
	return oldest
}

// sharing returns, for each allow-from list, the oldest reading that shares the TLS
// options of a host's own one, is not younger than that, and claims another host.
func (b *readings) sharing(own *reading, host, cluster string) []source.Sharing {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var shared []source.Sharing
	for _, allowed := range slices.Sorted(maps.Keys(b.byOptions[own.options])) {
		for _, r := range b.byOptions[own.options][allowed] {
			if r.compareAge(own) > 0 {
				break
			}
			i := slices.IndexFunc(r.claims, func(c source.Claim) bool { return c.Host != host })
			if i >= 0 {
				shared = append(shared, source.Sharing{Source: r.id.ref(cluster), Host: r.claims[i].Host, AllowFrom: r.allowFrom})
				break
			}
		}
	}
	return shared
}
