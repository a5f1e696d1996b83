// Package traefikrule computes for which hosts a Traefik rule can match a request.
//
// A rule is a Boolean expression of matchers, which also check other parts of a
// request than its host. The package computes the hosts for which at least one
// request matches. A matcher of paths, methods or addresses matches some request
// of every host, and so does its negation. A matcher of hosts is a set, and its
// negation is the complement. && is the intersection and || the union. Negation
// is pushed down to the matchers, as in Traefik. The package does not detect a
// rule that contradicts itself, for example in its paths: Traefik then serves
// nothing on a host that the rule names.
//
// Such sets form a finite algebra. A rule distinguishes only the hosts that it
// mentions: each name, the other names under each one-label wildcard, and all
// other hosts. These are its atoms. A set is determined by the atoms that it
// holds, and a rule is evaluated for each atom. A regular expression has an exact
// result for a name. For the hosts that the rule does not mention its result is
// unknown. An expression that contains it may be unknown there too, and unknown
// does not count as a match.
//
// Whether a set with regular expressions holds all hosts under a parent is decided by a
// finite automaton. Its states are the sets of threads of the compiled expressions after
// the first bytes of a label. Labels with the same threads have the same result, so the
// rule is evaluated for one host of each state. The number of states and the work are
// limited; beyond the limits, the result is no.
//
// The grammars are those of Traefik 2 and 3, in the packages pkg/rules,
// pkg/muxer/http and pkg/muxer/tcp of github.com/traefik/traefik/v3 at v3.7.13.
// Like Traefik, the package parses with github.com/vulcand/predicate. A rule that
// Traefik would not load is an error, except for mistakes in very long regular
// expressions over paths, headers and queries, which take long to parse.
//
// The package is pure. It must not import anything of usher or of Kubernetes.
package traefikrule
