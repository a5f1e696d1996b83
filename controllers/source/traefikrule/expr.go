package traefikrule

// verdict is the result of a rule for an atom of hosts. The values are ordered so that
// && is the minimum and || the maximum.
type verdict int

const (
	no      verdict = iota // no request of these hosts matches
	unknown                // some request may match some of these hosts
	yes                    // for each of these hosts some request matches
)

func (v verdict) not() verdict { return yes - v }

func verdictOf(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// atom is a host, or a group of hosts that a rule does not distinguish by name.
type atom struct {
	// name of the host; empty for hosts that the rule does not mention.
	name string
	// parent is the part of the name after the first label and its dot. For hosts that
	// the rule does not mention, it is the parent of a wildcard, or empty for all
	// other hosts.
	parent string
	// literal evaluates the rule as a Traefik before 3.7, where wildcards match no host.
	literal bool
	// matches are the regular expressions that match the name; nil if they must be
	// evaluated.
	matches map[*pattern]bool
}

// expr is a rule or a part of one. It returns whether some request for the hosts of an
// atom matches or, if negated, whether some request does not match.
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

// anyHost is a matcher that does not depend on the host.
func anyHost(atom, bool) verdict { return yes }

// hostTest makes a matcher of hosts. Unlike that of [anyHost], its negation is the
// complement.
func hostTest(test func(atom) verdict) expr {
	return func(a atom, negated bool) verdict {
		if negated {
			return test(a).not()
		}
		return test(a)
	}
}

// everyHost is a matcher of hosts that matches every host.
func everyHost(_ atom, negated bool) verdict { return verdictOf(!negated) }

// oneHost matches the host with a name; no host if the name is empty.
func oneHost(name string) expr {
	return hostTest(func(a atom) verdict { return verdictOf(name != "" && a.name == name) })
}

// hostsUnder matches the hosts directly under a parent; no host if it is empty.
func hostsUnder(parent string) expr {
	return hostTest(func(a atom) verdict { return verdictOf(parent != "" && a.parent == parent && !a.literal) })
}

// someHosts matches the hosts in names.
func someHosts(names map[string]bool) expr {
	return hostTest(func(a atom) verdict { return verdictOf(names[a.name]) })
}
