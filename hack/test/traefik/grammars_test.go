package traefik

import (
	"slices"
	"strings"
)

// The matchers that rules are made of, as Traefik 3.7 documents them for routers
// of HTTP and of TCP, in both syntaxes.

var (
	regexpsV3   = expression(`^a`, `x\.io$`, `^[a-z]+\.x\.io$`, `^stranger\.`, `^[^.]+\.[xy]\.io$`, `.`, `^$`, `A`)
	templatesV2 = expression(`{sub}.x.io`, `{sub:[a-z]+}.y.io`, `{any:.+}`, `{sub:[A-Z]}.B.x.io`, `a.{rest:.*}`)

	// namedOrNot returns mostly a name, and otherwise a wildcard or a pattern for all hosts.
	namedOrNot = []func(*generator) string{(*generator).name, (*generator).name, (*generator).name, (*generator).wildcard}
)

func hosts(matcher, regexp string, regexps func(*generator) string) []func(*generator) string {
	var all []func(*generator) string
	for _, value := range namedOrNot {
		all = append(all, one(matcher, value))
	}
	return append(all, one(matcher, func(g *generator) string { return g.pick("*", g.wildcard()) }), one(regexp, regexps))
}

func hostsV2(matcher, regexp string) []func(*generator) string {
	return append(hosts(matcher, regexp, templatesV2),
		two(matcher, (*generator).name), two(regexp, templatesV2))
}

var httpV3 = grammar{
	syntax: "v3",
	hosts:  hosts("Host", "HostRegexp", regexpsV3),
	conditions: []string{
		"Query(`k%d`, `on`)", "QueryRegexp(`k%d`, `^o`)", "Header(`K%d`, `on`)", "HeaderRegexp(`K%d`, `n$`)", "PathRegexp(`/k%d/`)",
	},
	most:    2,
	invalid: []string{"Host(`a.x.io`, `b.x.io`)", "Host(``)", "HostHeader(`a.x.io`)", "Host(`ä.x.io`)", "HostRegexp(`(`)", "Host('a.x.io')", "HostSNI(`a.x.io`)", "Host(a.x.io)", "Path(`k`)", "Host(`a.x.io`", "Hosts(`a.x.io`)"},
}

var httpV2 = grammar{
	syntax:     "v2",
	hosts:      append(hostsV2("Host", "HostRegexp"), one("HostHeader", (*generator).name)),
	conditions: []string{"Query(`k%d=on`)", "Headers(`K%d`, `on`)", "HeadersRegexp(`K%d`, `n$`)", "Path(`/{before:.*}k%d/{after:.*}`)"},
	most:       2,
	invalid:    []string{"Host(``)", "Host()", "PathRegexp(`^/`)", "Host(`ä.x.io`)", "HostRegexp(`{a`)", "HostRegexp(`{a:(}`)", "Headers(`K`)", "Path(`k`)", "Header(`K`, `v`)"},
}

var tcpV3 = grammar{
	syntax:     "v3",
	hosts:      hosts("HostSNI", "HostSNIRegexp", regexpsV3),
	conditions: []string{"ALPN(`k%d`)"},
	most:       1,
	invalid:    []string{"HostSNI(`a.x.io`, `b.x.io`)", "Host(`a.x.io`)", "HostSNI(`a x.io`)", "ALPN(`acme-tls/1`)", "ClientIP(`a`)", "HostSNIRegexp(`(`)"},
}

var tcpV2 = grammar{
	syntax:     "v2",
	hosts:      hostsV2("HostSNI", "HostSNIRegexp"),
	conditions: []string{"ALPN(`k%d`)", "ALPN(`k%d`, `never`)"},
	most:       1,
	invalid:    []string{"HostSNI(`*.x.io`)", "HostSNI()", "HostSNI(`a/x.io`)", "HostSNIRegexp(`{a`)", "Host(`a.x.io`)"},
}

// unsaid returns the grammar of routes that do not set their syntax. Traefik parses them
// in its default syntax. The invalid rules are invalid in both. A condition is invalid in
// the other syntax, or means the same in it: no request would be found otherwise.
func unsaid(g grammar) grammar {
	g.syntax, g.invalid = "", []string{"Hosts(`a.x.io`)", "ClientIP(`a`)"}
	g.conditions = slices.DeleteFunc(slices.Clone(g.conditions), func(condition string) bool {
		return strings.HasPrefix(condition, "Query(`k%d=") || strings.HasPrefix(condition, "Path(")
	})
	return g
}
