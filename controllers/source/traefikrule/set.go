package traefikrule

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Set is the set of hosts for which some request matches a rule.
type Set struct {
	rule     expr
	names    map[string]bool // hosts that the rule mentions → true
	parents  map[string]bool // parents of the wildcards that it mentions → true
	bytes    int             // of the names, at most
	tokens   int             // of the rule
	patterns []*pattern      // its regular expressions over hosts
	program  int             // their estimated instructions
	literal  bool            // wildcards match no host
}

// Work estimates the cost of evaluating the rule for all of its names, in steps. A CPU
// core takes hundreds of steps in a microsecond.
func (s *Set) Work() int {
	return (len(s.names)+len(s.parents)+1)*s.tokens + s.bytes*s.program
}

// List returns the hosts of the set, sorted, if they are a finite list of names and
// one-label wildcards ("*.example.org"). It returns false if they are not: the set is the
// complement of such a list, has every host, or depends on a regular expression. The list
// may be empty. The hosts are in lower case and without a trailing dot, but otherwise as
// the rule spells them: they may be invalid host names.
func (s *Set) List() ([]string, bool) {
	if s.unmentioned() != no {
		return nil, false
	}
	var hosts []string
	gaps := map[string]bool{} // parents of the mentioned names that the set does not hold → true
	for name := range s.names {
		if s.holds(name) {
			hosts = append(hosts, name)
		} else {
			gaps[parentOf(name)] = true
		}
	}
	for parent := range s.parents {
		switch v := s.under(parent); {
		case v == unknown, v == yes && gaps[parent]:
			return nil, false
		case v == yes:
			hosts = append(hosts, "*."+parent)
		}
	}
	slices.Sort(hosts)
	return hosts, true
}

// Covers reports whether the set holds a host. For a one-label wildcard it reports whether
// the set holds all hosts directly under it. If that depends on regular expressions, it
// takes fuel, and is false if the fuel does not suffice. The host must be in lower case
// and without a trailing dot.
func (s *Set) Covers(host string, fuel *Fuel) bool {
	parent, wildcard := strings.CutPrefix(host, "*.")
	if !wildcard {
		return s.holds(host)
	}
	others := s.under(parent)
	if others == no {
		return false
	}
	for name := range s.names {
		if parentOf(name) == parent && !s.holds(name) {
			return false
		}
	}
	return others == yes || s.holdsEachUnder(parent, fuel)
}

// WithoutWildcards returns the hosts for which some request matches the rule in a
// Traefik before 3.7: Host(`*.example.org`) matches none there.
func (s *Set) WithoutWildcards() *Set {
	literal := *s
	literal.literal = true
	return &literal
}

// Intersect returns the hosts that both sets hold.
func (s *Set) Intersect(other *Set) *Set {
	return &Set{
		rule:     and(s.rule, other.rule),
		names:    unionOf(s.names, other.names),
		parents:  unionOf(s.parents, other.parents),
		bytes:    s.bytes + other.bytes,
		tokens:   s.tokens + other.tokens,
		patterns: slices.Concat(s.patterns, other.patterns),
		program:  s.program + other.program,
		literal:  s.literal || other.literal,
	}
}

func unionOf(a, b map[string]bool) map[string]bool {
	u := maps.Clone(a)
	maps.Copy(u, b)
	return u
}

// unmentioned returns the rule's verdict on the hosts that it does not mention.
func (s *Set) unmentioned() verdict { return s.rule(atom{literal: s.literal}, false) }

// holds reports whether the set holds the host with a name.
func (s *Set) holds(name string) bool {
	return s.rule(atom{name: name, parent: parentOf(name), literal: s.literal}, false) == yes
}

// under returns the rule's verdict on the hosts directly under a wildcard's parent that
// it does not mention.
func (s *Set) under(parent string) verdict {
	return s.rule(atom{parent: parent, literal: s.literal}, false)
}

// parentOf returns the part of a host after its first label.
func parentOf(name string) string {
	_, parent, _ := strings.Cut(name, ".")
	return parent
}

// String describes the set for a person: "every host but a.example.org".
func (s *Set) String() string {
	switch hosts, finite := s.List(); {
	case finite && len(hosts) == 0:
		return "no host"
	case finite:
		return firstFew(hosts)
	}
	switch s.unmentioned() {
	case yes:
		return "every host" + s.exceptions()
	case unknown:
		return "hosts that only a regular expression describes"
	default:
		return "some of the hosts under a wildcard"
	}
}

// exceptions lists the hosts that the rule mentions and the set does not hold.
func (s *Set) exceptions() string {
	var hosts []string
	for name := range s.names {
		if !s.holds(name) {
			hosts = append(hosts, name)
		}
	}
	for parent := range s.parents {
		if s.under(parent) != yes {
			hosts = append(hosts, "*."+parent)
		}
	}
	if len(hosts) == 0 {
		return ""
	}
	slices.Sort(hosts)
	return " but " + firstFew(hosts)
}

// firstFew joins the first few hosts.
func firstFew(hosts []string) string {
	const most = 5
	if len(hosts) <= most {
		return strings.Join(hosts, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(hosts[:most], ", "), len(hosts)-most)
}
