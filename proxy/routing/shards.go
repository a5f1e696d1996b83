package routing

import (
	"hash/maphash"
	"maps"
	"reflect"
)

// shardCount is the number of maps over which the routes of a table are spread. With
// 10,000 routes, a map holds 40 of them, and a changed copy takes 4 KiB.
const shardCount = 256

// seed is random, so that nobody can choose hosts that all fall into one map.
var seed = maphash.MakeSeed()

// shards maps keys to routes. A changed copy shares all maps except one with the
// original. Copying a single map of 10,000 routes would take half a millisecond, and a
// lookup in a radix tree is slower: see docs/performance.md. A nil value is empty.
type shards [shardCount]map[string]*Route

// shardOf returns the index of the map for a key.
func shardOf(key string) uint64 { return maphash.String(seed, key) % shardCount }

// get returns the route of a key, or nil.
func (s *shards) get(key string) *Route {
	if s == nil {
		return nil
	}
	return s[shardOf(key)][key]
}

// with returns a copy in which the key has the given route, or none if route is nil.
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

// add adds a route and reports whether the key had none before. s must not be shared
// yet.
func (s *shards) add(key string, route *Route) bool {
	shard := &s[shardOf(key)]
	if (*shard)[key] != nil {
		return false
	}
	put(shard, key, route)
	return true
}

// put sets the route of a key in a map that is not shared yet. It creates the map if
// it is nil.
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

// all yields all routes until yield returns false. It reports whether yield never did.
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

// changes calls yield for the keys that have another route than in before, until it
// returns false. It reports whether yield never did. Maps that both share are skipped.
func (s *shards) changes(before *shards, yield func(was, is *Route) bool) bool {
	if s == nil {
		s = new(shards)
	}
	if before == nil {
		before = new(shards)
	}
	for i, is := range s {
		was := before[i]
		if reflect.ValueOf(is).Pointer() == reflect.ValueOf(was).Pointer() {
			continue
		}
		for key, route := range is {
			if was[key] != route && !yield(was[key], route) {
				return false
			}
		}
		for key, route := range was {
			if is[key] == nil && !yield(route, nil) {
				return false
			}
		}
	}
	return true
}
