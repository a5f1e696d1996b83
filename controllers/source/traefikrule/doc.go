// Package traefikrule says for which hosts a Traefik rule can match a request.
//
// A rule is a Boolean expression of matchers, and asks more of a request than
// its host. The question here is for which hosts some request matches: a matcher
// of paths, methods or addresses holds for some request of every host, and so
// does its negation; a matcher of hosts is a set, its negation the complement;
// && intersects and || unites. Negation is pushed down to the matchers, as
// Traefik does it. That a rule contradicts itself in its paths, say, is not
// seen: it serves nothing on a host that it names.
//
// Such sets form a finite algebra. A rule can tell apart only the hosts that it
// mentions: each name, the other names under each one-label wildcard, and all
// other hosts. These are its atoms, and a set is which of them it holds. A rule
// is evaluated by asking it about each. A regular expression is exact about a
// name, and unknown about the hosts that the rule does not mention; so an
// expression over it may be unknown there too, and is then not a yes.
//
// The grammars are those of Traefik 2 and 3, in the packages pkg/rules,
// pkg/muxer/http and pkg/muxer/tcp of github.com/traefik/traefik/v3, whose
// parser base this is too: github.com/vulcand/predicate. They were read at
// v3.7.13. A rule that Traefik would not load is an error.
//
// The package is pure, and must import nothing of usher and of Kubernetes.
package traefikrule
