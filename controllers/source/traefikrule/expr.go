package traefikrule

import (
	"regexp"
	"slices"
)

// verdict is what a rule says of an atom of hosts. The order is that of && and
// ||, which are its minimum and its maximum.
type verdict int

const (
	no      verdict = iota // no request of these hosts matches
	unknown                // of some of these hosts, perhaps
	yes                    // for each of these hosts some request matches
)

func (v verdict) not() verdict { return yes - v }

func verdictOf(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// atom is a host, or hosts that a rule cannot tell apart by name.
type atom struct {
	// name is one host's; empty for all hosts that the rule does not mention.
	name string
	// parent is what follows the first label and its dot. Of hosts that the rule
	// does not mention it is that of a wildcard, or empty for all the others.
	parent string
	// literal asks a Traefik in which no host is under a wildcard.
	literal bool
}

// expr is a rule or a part of it: for the hosts of an atom, does some request
// match, or where negated: does some request not match?
type expr func(a atom, negated bool) verdict

func and(left, right expr) expr {
	return func(a atom, negated bool) verdict {
		if negated {
			return either(left, right, a, negated)
		}
		return both(left, right, a, negated)
	}
}

func or(left, right expr) expr {
	return func(a atom, negated bool) verdict {
		if negated {
			return both(left, right, a, negated)
		}
		return either(left, right, a, negated)
	}
}

func not(e expr) expr {
	return func(a atom, negated bool) verdict { return e(a, !negated) }
}

func both(left, right expr, a atom, negated bool) verdict {
	v := left(a, negated)
	if v == no {
		return no
	}
	return min(v, right(a, negated))
}

func either(left, right expr, a atom, negated bool) verdict {
	v := left(a, negated)
	if v == yes {
		return yes
	}
	return max(v, right(a, negated))
}

// anyHost is a matcher that says nothing of hosts.
func anyHost(atom, bool) verdict { return yes }

// hostTest is a matcher of hosts. In contrast to [anyHost], its negation is its
// complement.
func hostTest(test func(atom) verdict) expr {
	return func(a atom, negated bool) verdict {
		if negated {
			return test(a).not()
		}
		return test(a)
	}
}

// everyHost is a matcher of hosts that all of them pass.
func everyHost(_ atom, negated bool) verdict { return verdictOf(!negated) }

// oneHost matches the host of that name; none where it is empty.
func oneHost(name string) expr {
	return hostTest(func(a atom) verdict { return verdictOf(name != "" && a.name == name) })
}

// hostsUnder matches the hosts directly under a parent; none where it is empty.
func hostsUnder(parent string) expr {
	return hostTest(func(a atom) verdict { return verdictOf(parent != "" && a.parent == parent && !a.literal) })
}

// someHosts matches the hosts of names.
func someHosts(names map[string]bool) expr {
	return hostTest(func(a atom) verdict { return verdictOf(names[a.name]) })
}

// anyOf matches the hosts that one of the regular expressions matches.
func anyOf(res ...*regexp.Regexp) expr {
	return hostTest(func(a atom) verdict {
		if a.name == "" {
			return unknown
		}
		return verdictOf(slices.ContainsFunc(res, func(re *regexp.Regexp) bool {
			return re.MatchString(a.name)
		}))
	})
}
