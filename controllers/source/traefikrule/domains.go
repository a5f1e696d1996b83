package traefikrule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vulcand/predicate"
)

// domains are the values of the Host matchers of a rule or a part of it: those that
// count, and those that count if the part is negated.
type domains struct{ positive, negative []string }

// Domains returns the hosts for which Traefik uses the TLS options of a router with
// this rule: the values of its Host matchers that are not negated (ParseDomains of
// Traefik's pkg/muxer/http). It sorts them, each once, in lower case. A rule that
// cannot be read, or is too large, has none.
func Domains(rule string) []string {
	join := func(a, b domains) domains {
		return domains{slices.Concat(a.positive, b.positive), slices.Concat(a.negative, b.negative)}
	}
	negate := func(d domains) domains { return domains{d.negative, d.positive} }
	found, _ := evaluate(rule, []grammar{httpV2, httpV3}, join, negate, func(name string, values []string) domains {
		if name != "Host" {
			return domains{}
		}
		return domains{positive: values}
	})
	for i, host := range found.positive {
		found.positive[i] = strings.ToLower(host)
	}
	slices.Sort(found.positive)
	return slices.Compact(found.positive)
}

// HostsAlone reports whether a TCP rule has only matchers of host names, so that nothing
// else decides whether it matches a connection. A rule that cannot be read, or is too
// large, has others.
func HostsAlone(rule string) bool {
	both := func(a, b bool) bool { return a && b }
	same := func(alone bool) bool { return alone }
	alone, ok := evaluate(rule, []grammar{tcpV2, tcpV3}, both, same, func(name string, _ []string) bool {
		return name == "HostSNI" || name == "HostSNIRegexp"
	})
	return ok && alone
}

// evaluate computes a value from a rule of any of the grammars: from each matcher by its
// name and values, from both operators by join, and from a negation by negate. It reports
// false for a rule that cannot be read, or is too large.
func evaluate[T any](rule string, grammars []grammar, join func(a, b T) T, negate func(T) T, matcher func(name string, values []string) T) (T, bool) {
	var none T
	if _, err := checkSize(rule); err != nil {
		return none, false
	}
	functions := map[string]any{}
	for _, g := range grammars {
		for name := range g {
			for _, spelling := range spellings(name) {
				functions[spelling] = func(values ...string) (T, error) { return matcher(name, values), nil }
			}
		}
	}
	parser, err := predicate.NewParser(predicate.Def{
		Operators: predicate.Operators{AND: join, OR: join, NOT: negate},
		Functions: functions,
	})
	if err != nil {
		panic(fmt.Sprintf("traefikrule: %v", err)) // the operators and functions above have a wrong type
	}
	parsed, err := parser.Parse(rule)
	if err != nil {
		return none, false
	}
	value, ok := parsed.(T)
	return value, ok
}
