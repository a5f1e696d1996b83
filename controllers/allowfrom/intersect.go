package allowfrom

import (
	"maps"
	"slices"
)

// MaxEntries is the maximum length of a list, as in the schema of ExposedHost.
const MaxEntries = 256

// Intersect returns the list of the clients that are in both lists, whatever the content
// of the NetworkLists is: sorted, without duplicates, and independent of the order of the
// arguments. An empty list is everyone. So the result is empty only if both lists are, or
// if they have no client in common. It returns false if the result would have more than
// MaxEntries entries, or an entry with more than MaxNames names.
//
// The lists are results of package source or Intersect. An entry that cannot be parsed
// has no client in common with any other.
func Intersect(a, b []string) (both []string, ok bool) {
	if len(a) == 0 {
		return b, true
	}
	if len(b) == 0 {
		return a, true
	}
	common := map[string]bool{} // entry → true
	// What the other list covers is common as it is. Only the rest is combined, so that
	// two equal lists stay as they are.
	restA, restB := parseAll(a), parseAll(b)
	allA, allB := restA, restB
	restA = takeCovered(restA, allB, common)
	restB = takeCovered(restB, allA, common)
	for _, x := range restA {
		for _, y := range restB {
			e, some := x.and(y)
			if !some {
				continue
			}
			common[e.String()] = true
			if len(e.names) > MaxNames || len(common) > MaxEntries {
				return nil, false
			}
		}
	}
	return slices.Sorted(maps.Keys(common)), len(common) <= MaxEntries
}

// parseAll returns the entries of a list that can be parsed.
func parseAll(list []string) []entry {
	entries := make([]entry, 0, len(list))
	for _, text := range list {
		if e, err := parse(text); err == nil {
			entries = append(entries, e)
		}
	}
	return entries
}

// takeCovered adds the entries that one of the others covers to common, and returns the
// rest.
func takeCovered(entries, others []entry, common map[string]bool) (rest []entry) {
	for _, e := range entries {
		if slices.ContainsFunc(others, func(other entry) bool { return other.covers(e) }) {
			common[e.String()] = true
		} else {
			rest = append(rest, e)
		}
	}
	return rest
}
