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
	if _, err := checkSize(rule); err != nil {
		return nil
	}
	functions := map[string]any{}
	for _, g := range []grammar{httpV2, httpV3} {
		for name := range g {
			for _, spelling := range spellings(name) {
				functions[spelling] = func(values ...string) (domains, error) {
					if name != "Host" {
						return domains{}, nil
					}
					return domains{positive: values}, nil
				}
			}
		}
	}
	join := func(a, b domains) domains {
		return domains{slices.Concat(a.positive, b.positive), slices.Concat(a.negative, b.negative)}
	}
	parser, err := predicate.NewParser(predicate.Def{
		Operators: predicate.Operators{AND: join, OR: join, NOT: func(d domains) domains { return domains{d.negative, d.positive} }},
		Functions: functions,
	})
	if err != nil {
		panic(fmt.Sprintf("traefikrule: %v", err)) // the operators and functions above have a wrong type
	}
	parsed, err := parser.Parse(rule)
	if err != nil {
		return nil
	}
	found, _ := parsed.(domains)
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
	if _, err := checkSize(rule); err != nil {
		return false
	}
	functions := map[string]any{}
	for _, g := range []grammar{tcpV2, tcpV3} {
		for name := range g {
			for _, spelling := range spellings(name) {
				functions[spelling] = func(...string) (bool, error) { return name == "HostSNI" || name == "HostSNIRegexp", nil }
			}
		}
	}
	both := func(a, b bool) bool { return a && b }
	parser, err := predicate.NewParser(predicate.Def{
		Operators: predicate.Operators{AND: both, OR: both, NOT: func(alone bool) bool { return alone }},
		Functions: functions,
	})
	if err != nil {
		panic(fmt.Sprintf("traefikrule: %v", err)) // the operators and functions above have a wrong type
	}
	parsed, err := parser.Parse(rule)
	alone, _ := parsed.(bool)
	return err == nil && alone
}
