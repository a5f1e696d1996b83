package routing

import (
	"hash/maphash"
	"math/bits"
)

// shardCount is a power of two. With 10,000 routes a shard holds 40 of them: a
// changed copy then takes 10 KiB, most of it the array of shards.
const shardCount = 256

// seed is secret, so that nobody can name hosts that fall into one shard, or
// into slots that follow each other.
var seed = maphash.MakeSeed()

// shards is a map from keys to routes, in many small hash tables, so that a
// changed copy shares all of them with the original but one. A nil one is empty.
type shards struct {
	shards [shardCount]shard // by the low bits of the key's hash
	count  int
}

// shard is a hash table with linear probing. Go's map would do, but asks for
// several more lines of memory at each lookup, and with many routes none of them
// is in the processor's caches.
type shard struct {
	slots []slot // a power of two of them, at most three quarters used; or none
	used  int
}

// slot holds a route, or none: then route is nil.
type slot struct {
	hash  uint64 // of the key
	key   string
	route *Route
}

func hashOf(key string) uint64 { return maphash.String(seed, key) }

// slotsFor returns how many slots a shard of so many routes has.
func slotsFor(routes int) int { return 1 << bits.Len(uint(routes+routes/3)) }

// find returns the slot that a key has, or would get. There must be slots.
func (s *shard) find(hash uint64, key string) *slot {
	mask := uint64(len(s.slots)) - 1
	for i := hash / shardCount & mask; ; i = (i + 1) & mask {
		if slot := &s.slots[i]; slot.route == nil || slot.hash == hash && slot.key == key {
			return slot
		}
	}
}

// get returns the route of a key, or nil.
func (s *shard) get(hash uint64, key string) *Route {
	if s.used == 0 {
		return nil
	}
	return s.find(hash, key).route
}

// put adds a route whose key s does not have.
func (s *shard) put(added slot) {
	*s.find(added.hash, added.key) = added
	s.used++
}

// with returns a copy in which the key has another route; nil: none.
func (s *shard) with(hash uint64, key string, route *Route) shard {
	next := shard{slots: make([]slot, slotsFor(s.used+1))}
	for _, slot := range s.slots {
		if slot.route != nil && (slot.hash != hash || slot.key != key) {
			next.put(slot)
		}
	}
	if route != nil {
		next.put(slot{hash, key, route})
	}
	return next
}

// get returns the route of a key, or nil.
func (s *shards) get(key string) *Route {
	if s == nil || s.count == 0 {
		return nil
	}
	hash := hashOf(key)
	return s.shards[hash%shardCount].get(hash, key)
}

// with returns a copy in which the key has another route; nil: none.
func (s *shards) with(key string, route *Route) *shards {
	var next shards
	if s != nil {
		next = *s
	}
	hash := hashOf(key)
	shard := &next.shards[hash%shardCount]
	next.count -= shard.used
	*shard = shard.with(hash, key, route)
	next.count += shard.used
	return &next
}

// add puts a route where there is none yet, while nobody else knows of s, and
// reports whether it did.
func (s *shards) add(key string, route *Route) bool {
	hash := hashOf(key)
	shard := &s.shards[hash%shardCount]
	if shard.get(hash, key) != nil {
		return false
	}
	if slotsFor(shard.used+1) > len(shard.slots) {
		*shard = shard.with(hash, key, route)
	} else {
		shard.put(slot{hash, key, route})
	}
	s.count++
	return true
}

func (s *shards) len() int {
	if s == nil {
		return 0
	}
	return s.count
}

// all yields every route until yield returns false, and reports whether it never did.
func (s *shards) all(yield func(*Route) bool) bool {
	if s == nil {
		return true
	}
	for i := range s.shards {
		for _, slot := range s.shards[i].slots {
			if slot.route != nil && !yield(slot.route) {
				return false
			}
		}
	}
	return true
}
