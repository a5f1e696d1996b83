package routing

import (
	"hash/maphash"
	"maps"
)

// shardCount is how many maps a table's routes are spread over. With 10,000 routes
// a map holds 40 of them, and a changed copy takes 4 KiB.
const shardCount = 256

// seed is secret, so that nobody can choose hosts that all fall into one map.
var seed = maphash.MakeSeed()

// shards maps keys to routes. A changed copy shares all maps with the original but
// one. To copy a single map of 10,000 routes takes half a millisecond, and a radix
// tree is slower to look up in: docs/performance.md has the figures. A nil one is empty.
type shards [shardCount]map[string]*Route

// shardOf returns the index of the map that holds a key's route.
func shardOf(key string) uint64 { return maphash.String(seed, key) % shardCount }

// get returns the route of a key, or nil.
func (s *shards) get(key string) *Route {
	if s == nil {
		return nil
	}
	return s[shardOf(key)][key]
}

// with returns a copy in which the key has another route; nil: none.
func (s *shards) with(key string, route *Route) *shards {
	next := new(shards)
	if s != nil {
		*next = *s
	}
	shard := &next[shardOf(key)]
	*shard = maps.Clone(*shard)
	if route == nil {
		delete(*shard, key)
	} else {
		put(shard, key, route)
	}
	return next
}

// add puts a route where there is none yet, while nobody else knows of s, and
// reports whether it did.
func (s *shards) add(key string, route *Route) bool {
	shard := &s[shardOf(key)]
	if (*shard)[key] != nil {
		return false
	}
	put(shard, key, route)
	return true
}

// put sets the route of a key in a map that nobody else knows of; it makes the map
// where there is none.
func put(shard *map[string]*Route, key string, route *Route) {
	if *shard == nil {
		*shard = make(map[string]*Route)
	}
	(*shard)[key] = route
}

// len returns the number of routes.
func (s *shards) len() (n int) {
	if s != nil {
		for _, shard := range s {
			n += len(shard)
		}
	}
	return n
}

// all yields every route until yield returns false, and reports whether it never did.
func (s *shards) all(yield func(*Route) bool) bool {
	if s == nil {
		return true
	}
	for _, shard := range s {
		for _, route := range shard {
			if !yield(route) {
				return false
			}
		}
	}
	return true
}
