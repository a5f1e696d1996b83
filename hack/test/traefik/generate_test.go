package traefik

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// population are the hosts that are compared: some that rules mention, and others below
// each wildcard and elsewhere.
var population = strings.Fields(`
	a.x.io b.x.io stranger.x.io x.io
	a.y.io stranger.y.io y.io
	a.b.x.io b.b.x.io stranger.b.x.io stranger.a.b.x.io
	a.z.io stranger.example stranger`)

// generator generates the rules of one object.
type generator struct {
	*rand.Rand
	grammar    grammar
	conditions int  // number of conditions of the object besides the host; each is used once
	regexps    bool // whether it has a regular expression over hosts
}

// grammar has the matchers of a Traefik version for a kind of router.
type grammar struct {
	syntax string // of the route; empty if it is not set
	hosts  []func(*generator) string
	// conditions match a request that fulfils the condition with that number.
	conditions []string
	most       int // conditions of an object
	invalid    []string
}

func (g *generator) pick(list ...string) string { return list[g.IntN(len(list))] }

// rule is a random expression. Half of them are held to some hosts: negations
// make most of the others match all but a few.
func (g *generator) rule() string {
	rule := g.part(3)
	if g.IntN(2) == 0 {
		return rule
	}
	return "(" + g.host() + " || " + g.host() + ") && (" + rule + ")"
}

func (g *generator) part(depth int) string {
	if depth == 0 {
		return g.matcher()
	}
	switch g.IntN(6) {
	case 0:
		return "!(" + g.part(depth-1) + ")"
	case 1, 2:
		return "(" + g.part(depth-1) + " && " + g.part(depth-1) + ")"
	case 3:
		return "(" + g.part(depth-1) + " || " + g.part(depth-1) + ")"
	case 4:
		return "!" + g.matcher()
	default:
		return g.matcher()
	}
}

func (g *generator) matcher() string {
	switch n := g.IntN(40); {
	case n == 0:
		return g.pick(g.grammar.invalid...)
	case n < 10 && g.conditions < g.grammar.most:
		g.conditions++
		return fmt.Sprintf(g.pick(g.grammar.conditions...), g.conditions)
	default:
		return g.host()
	}
}

// host returns a matcher of hosts.
func (g *generator) host() string { return g.grammar.hosts[g.IntN(len(g.grammar.hosts))](g) }

// name returns a host for a rule, sometimes in another spelling.
func (g *generator) name() string {
	name := g.pick("a.x.io", "b.x.io", "x.io", "a.y.io", "y.io", "a.b.x.io", "b.b.x.io")
	switch g.IntN(12) {
	case 0:
		return strings.ToUpper(name)
	case 1:
		return name + "."
	default:
		return name
	}
}

func (g *generator) wildcard() string { return g.pick("*.x.io", "*.b.x.io", "*.y.io") }

// one returns a matcher with one value.
func one(matcher string, value func(*generator) string) func(*generator) string {
	return func(g *generator) string { return fmt.Sprintf("%s(%#q)", matcher, value(g)) }
}

// two returns a matcher with two values, which Traefik 2 supports.
func two(matcher string, value func(*generator) string) func(*generator) string {
	return func(g *generator) string { return fmt.Sprintf("%s(%#q, %q)", matcher, value(g), value(g)) }
}

// expression returns one of the regular expressions in list.
func expression(list ...string) func(*generator) string {
	return func(g *generator) string {
		g.regexps = true
		return g.pick(list...)
	}
}
