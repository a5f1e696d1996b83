package traefikrule

import "errors"

// NamesHTTP returns the hosts and one-label wildcards that the rule of an HTTP router
// names and may serve, and whether it serves no other hosts. If both grammars accept the
// rule, it returns the names of both, since Traefik's choice is not known. Names have
// the form that [Set.List] returns. It returns an error if neither grammar accepts the
// rule, or if the rule is too large.
func NamesHTTP(rule string, syntax Syntax) (names []string, all bool, err error) {
	return namesOf(rule, syntax, httpV2, httpV3)
}

// NamesTCP is NamesHTTP for the rule of a TCP router.
func NamesTCP(rule string, syntax Syntax) (names []string, all bool, err error) {
	return namesOf(rule, syntax, tcpV2, tcpV3)
}

func namesOf(rule string, syntax Syntax, v2, v3 grammar) (names []string, all bool, err error) {
	tokens, err := checkSize(rule)
	if err != nil {
		return nil, false, err
	}
	grammars := []grammar{v2, v3}
	switch syntax {
	case V2:
		grammars = grammars[:1]
	case V3:
		grammars = grammars[1:]
	}
	all = true
	var problems []error
	for _, g := range grammars {
		set, err := g.parse(rule, tokens)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		more, finite := set.named()
		names, all = append(names, more...), all && finite
	}
	if len(problems) == len(grammars) {
		return nil, false, errors.Join(problems...)
	}
	return names, all, nil
}

// named returns the names and wildcards that the rule mentions and that the set holds
// fully or in part, and whether the set holds no other hosts.
func (s *Set) named() (names []string, all bool) {
	for name := range s.names {
		if s.holds(name) {
			names = append(names, name)
		}
	}
	for parent := range s.parents {
		if s.under(parent) != no {
			names = append(names, "*."+parent)
		}
	}
	return names, s.unmentioned() == no
}
