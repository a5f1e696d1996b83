package routing

import (
	"hash/maphash"
	"maps"
)

// shardCount is a power of two. With 100,000 routes a shard holds a hundred of
// them: a change then costs microseconds, most of them the copy of the 8 KiB that
// hold the shards.
const shardCount = 1024

// seed is secret, so that nobody can name hosts that fall into one shard.
var seed = maphash.MakeSeed()

// shards is a map from keys to routes, in many small maps, so that a changed copy
// shares all of them with the original but one. A nil one is empty.
type shards struct {
	routes [shardCount]map[string]*Route // by shardOf the key; key → route
	count  int
}

func shardOf(key string) uint64 { return maphash.String(seed, key) % shardCount }

// get returns the route of a key, or nil.
func (s *shards) get(key string) *Route {
	if s == nil || s.count == 0 {
		return nil
	}
	return s.routes[shardOf(key)][key]
}

// with returns a copy in which the key has another route; nil: none.
func (s *shards) with(key string, route *Route) *shards {
	var next shards
	if s != nil {
		next = *s
	}
	shard := &next.routes[shardOf(key)]
	next.count -= len(*shard)
	*shard = maps.Clone(*shard)
	switch {
	case route == nil:
		delete(*shard, key)
	case *shard == nil:
		*shard = map[string]*Route{key: route}
	default:
		(*shard)[key] = route
	}
	next.count += len(*shard)
	return &next
}

// add puts a route where there is none yet, while nobody else knows of s.
func (s *shards) add(key string, route *Route) {
	shard := &s.routes[shardOf(key)]
	if (*shard)[key] != nil {
		return
	}
	if *shard == nil {
		*shard = map[string]*Route{}
	}
	(*shard)[key] = route
	s.count++
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
	for _, shard := range &s.routes {
		for _, route := range shard {
			if !yield(route) {
				return false
			}
		}
	}
	return true
}
