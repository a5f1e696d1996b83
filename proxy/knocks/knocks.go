// Package knocks remembers which names clients have asked for and were refused, in a
// constant amount of memory: the names that were asked for most often, and the latest ones.
// It keeps no client addresses, only their networks.
package knocks

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Bounds of one Recorder, and of the networks of one name.
const (
	maxFrequent = 200 // names that were asked for most often
	maxLatest   = 256 // other names, the latest ones
	maxNetworks = 4

	// halfLife is how long it takes until a request counts half as much as a new one, in
	// the decision which names are kept. Names that nobody asks for make way in the end.
	halfLife = 6 * time.Hour
)

// The lengths of the networks that clients are counted by, in bits.
const (
	bitsIPv4 = 24
	bitsIPv6 = 48
)

// A Knock is a name that clients have asked for in vain.
type Knock struct {
	// Host is canonical. It is empty for all requests without a valid host name.
	Host string `json:"host"`
	// Count is how often it was refused since First, as far as that is remembered.
	Count uint64 `json:"count"`
	// First and Last are the times of the first and last request.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Reason is why the last request was refused.
	Reason string `json:"reason"`
	// Networks are the networks of the latest clients, at most 4, the latest first: of
	// IPv4 addresses the /24, of IPv6 addresses the /48.
	Networks []netip.Prefix `json:"networks"`
	// ServedBy are the member clusters that serve the name, if the control plane runs in
	// this process: no object with the annotation publishes it.
	ServedBy []string `json:"servedBy,omitempty"`
}

// A Book has the knocks of all Recorders. Its zero value is empty. It must not be copied.
type Book struct {
	mu        sync.Mutex
	recorders []*Recorder
}

// Recorder returns a new Recorder. Each thread that refuses clients at a high rate should
// have its own, so that threads do not wait for each other.
func (b *Book) Recorder() *Recorder {
	if b == nil {
		return nil // it records nothing
	}
	r := &Recorder{
		frequent: make(map[string]*knock, maxFrequent),
		latest:   make(map[string]*knock, maxLatest),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recorders = append(b.recorders, r)
	return r
}

// Top returns at most n knocks of all Recorders. The first is the one with the most
// requests; requests without a valid name come last. A quarter of the places is for the
// latest names, if there are so many: a new name appears although it was asked for once.
func (b *Book) Top(n int) []Knock {
	b.mu.Lock()
	recorders := slices.Clone(b.recorders)
	b.mu.Unlock()
	all := map[string]*Knock{} // host → its knocks
	for _, r := range recorders {
		r.addTo(all)
	}
	return top(n, all)
}

// Of returns the knocks of all Recorders for one host; false if none is remembered.
func (b *Book) Of(host string) (Knock, bool) {
	b.mu.Lock()
	recorders := slices.Clone(b.recorders)
	b.mu.Unlock()
	all := map[string]*Knock{} // host → its knocks
	for _, r := range recorders {
		r.addTo(all)
	}
	k := all[host]
	if k == nil {
		return Knock{}, false
	}
	return *k, true
}

// Merge returns at most n knocks of several Books, in the order of Top.
func Merge(n int, books ...[]Knock) []Knock {
	all := map[string]*Knock{}
	for _, book := range books {
		for i := range book {
			merge(all, &book[i])
		}
	}
	return top(n, all)
}

// top returns the first n knocks of all; see Top.
func top(n int, all map[string]*Knock) []Knock {
	nameless := all[""]
	delete(all, "")
	names := slices.SortedFunc(maps.Values(all), func(a, b *Knock) int { return b.Last.Compare(a.Last) })
	if len(names) > n {
		kept := n / 4
		slices.SortFunc(names[kept:], byCount)
		names = names[:n]
	}
	slices.SortFunc(names, byCount)
	if nameless != nil {
		names = append(names[:min(len(names), max(n-1, 0))], nameless)
	}
	first := make([]Knock, len(names))
	for i, name := range names {
		first[i] = *name
	}
	return first
}

func byCount(a, b *Knock) int {
	return cmp.Or(cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last), cmp.Compare(a.Host, b.Host))
}

// A Recorder records the refusals of one thread. Add of one Recorder may be called by any
// goroutine; if a single one calls it, it waits only while Top copies the knocks.
type Recorder struct {
	mu       sync.Mutex
	nameless knock
	frequent map[string]*knock // host → a knock with a higher score than those in latest
	lowest   *knock            // of frequent, if that is full; nil: not known
	latest   map[string]*knock // host → knock
	ring     [maxLatest]*knock // the knocks in latest; next is the oldest
	next     int
	halved   time.Time // when the scores were halved last
}

// knock is a Knock with the score that decides whether it is kept.
type knock struct {
	Knock
	score uint64 // like Count, but halved after each halfLife
	at    int    // index in ring, if it is in latest
}

// Add records that a client was refused. Host is canonical, or empty if the client has
// sent no valid name. A nil Recorder ignores it.
func (r *Recorder) Add(client netip.Addr, host, reason string) {
	if r == nil {
		return
	}
	r.add(time.Now(), client, host, reason)
}

func (r *Recorder) add(now time.Time, client netip.Addr, host, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.halve(now)
	k := r.find(host)
	k.Count++
	k.score++
	if k.First.IsZero() {
		k.First = now
	}
	k.Last, k.Reason = now, reason
	k.addNetwork(client)
	if r.lowest == k {
		r.lowest = nil
	}
}

// halve halves all scores after each halfLife.
func (r *Recorder) halve(now time.Time) {
	if r.halved.IsZero() {
		r.halved = now
	}
	for ; now.Sub(r.halved) >= halfLife; r.halved = r.halved.Add(halfLife) {
		if now.Sub(r.halved) > 64*halfLife {
			r.halved = now.Add(-halfLife) // nobody knocked for weeks, or the clock was set
		}
		for _, k := range r.frequent {
			k.score /= 2
		}
		for _, k := range r.latest {
			k.score /= 2
		}
	}
}

// find returns the knock of a host, which it makes if there is none. Names that are asked
// for once replace each other in latest. A name gets into frequent only if it was asked
// for more often than another that is there: names that nobody repeats displace none.
func (r *Recorder) find(host string) *knock {
	if host == "" {
		return &r.nameless
	}
	if k := r.frequent[host]; k != nil {
		return k
	}
	k := r.latest[host]
	if len(r.frequent) < maxFrequent {
		k = &knock{Knock: Knock{Host: host}}
		r.frequent[host] = k
		return k
	}
	if k == nil {
		return r.addLatest(&knock{Knock: Knock{Host: host}})
	}
	if low := r.lowestFrequent(); k.score+1 > low.score {
		delete(r.frequent, low.Host)
		delete(r.latest, host)
		r.frequent[host] = k
		r.latest[low.Host], r.ring[k.at], low.at = low, low, k.at
		r.lowest = nil
	}
	return k
}

// addLatest puts a knock into latest in place of the oldest.
func (r *Recorder) addLatest(k *knock) *knock {
	if oldest := r.ring[r.next]; oldest != nil {
		delete(r.latest, oldest.Host)
	}
	k.at, r.ring[r.next], r.latest[k.Host] = r.next, k, k
	r.next = (r.next + 1) % maxLatest
	return k
}

// lowestFrequent returns the knock in frequent with the lowest score.
func (r *Recorder) lowestFrequent() *knock {
	if r.lowest == nil {
		for _, k := range r.frequent {
			if r.lowest == nil || k.score < r.lowest.score {
				r.lowest = k
			}
		}
	}
	return r.lowest
}

// addNetwork moves the network of a client to the front, in place of the one that was seen
// longest ago.
func (k *knock) addNetwork(client netip.Addr) {
	bits := bitsIPv6
	if client = client.Unmap(); client.Is4() {
		bits = bitsIPv4
	}
	network, err := client.WithZone("").Prefix(bits)
	if err != nil {
		return // there is no address
	}
	at := slices.Index(k.Networks, network)
	switch {
	case at == 0:
		return
	case at < 0 && len(k.Networks) < maxNetworks:
		k.Networks = append(k.Networks, network)
		at = len(k.Networks) - 1
	case at < 0:
		at = maxNetworks - 1
	}
	copy(k.Networks[1:at+1], k.Networks[:at])
	k.Networks[0] = network
}

// addTo adds the knocks to a map of the knocks of all Recorders.
func (r *Recorder) addTo(all map[string]*Knock) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nameless.Count > 0 {
		merge(all, &r.nameless.Knock)
	}
	for _, k := range r.frequent {
		merge(all, &k.Knock)
	}
	for _, k := range r.latest {
		merge(all, &k.Knock)
	}
}

// merge adds a copy of a knock to the knock of the same host.
func merge(all map[string]*Knock, k *Knock) {
	sum := all[k.Host]
	if sum == nil {
		sum = new(*k)
		sum.Networks = slices.Clone(k.Networks[:min(len(k.Networks), maxNetworks)])
		all[k.Host] = sum
		return
	}
	if len(k.ServedBy) > 0 {
		sum.ServedBy = k.ServedBy // only the leader knows them
	}
	sum.Count += k.Count
	if k.First.Before(sum.First) {
		sum.First = k.First
	}
	later := k.Networks
	if k.Last.After(sum.Last) {
		sum.Last, sum.Reason = k.Last, k.Reason
		later, sum.Networks = sum.Networks, slices.Clone(k.Networks)
	}
	for _, network := range later {
		if len(sum.Networks) < maxNetworks && !slices.Contains(sum.Networks, network) {
			sum.Networks = append(sum.Networks, network)
		}
	}
}
