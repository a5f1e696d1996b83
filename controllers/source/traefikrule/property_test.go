package traefikrule_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// request has the properties that the rules of this test check.
type request struct {
	host    string
	queries int // a bit for each query that the request has
}

// part is a part of a rule: its text, and a plain function for what it matches.
type part struct {
	text    string
	matches func(request) bool
}

// generator makes random rules.
type generator struct {
	*rand.Rand
	queries int  // how many queries the rule checks: each is checked once
	regexps bool // whether the rule may have regular expressions
}

// population are the hosts that requests go to: some that the rules mention, and
// strangers under each wildcard and unmentioned.
var population = strings.Fields(`
	a.x.io b.x.io stranger.x.io
	x.io a.y.io stranger.y.io y.io
	a.b.x.io stranger.b.x.io stranger.a.b.x.io
	stranger.example stranger`)

func (g *generator) pick(list ...string) string { return list[g.IntN(len(list))] }

func (g *generator) part(depth int) part {
	if depth == 0 {
		return g.matcher()
	}
	switch g.IntN(5) {
	case 0:
		p := g.part(depth - 1)
		return part{"!(" + p.text + ")", func(r request) bool { return !p.matches(r) }}
	case 1, 2:
		p, q := g.part(depth-1), g.part(depth-1)
		return part{"(" + p.text + " && " + q.text + ")", func(r request) bool { return p.matches(r) && q.matches(r) }}
	case 3:
		p, q := g.part(depth-1), g.part(depth-1)
		return part{"(" + p.text + " || " + q.text + ")", func(r request) bool { return p.matches(r) || q.matches(r) }}
	default:
		return g.matcher()
	}
}

func (g *generator) matcher() part {
	switch g.IntN(8) {
	case 0, 1:
		parent := g.pick("x.io", "b.x.io", "y.io")
		return part{"Host(`*." + parent + "`)", func(r request) bool {
			_, rest, _ := strings.Cut(r.host, ".")
			return rest == parent
		}}
	case 2:
		bit := 1 << g.queries
		g.queries++
		return part{fmt.Sprintf("Query(`k%d`)", g.queries), func(r request) bool { return r.queries&bit != 0 }}
	case 3:
		if !g.regexps {
			return part{"Host(`*`)", func(request) bool { return true }}
		}
		re := regexp.MustCompile(g.pick(`^a`, `x\.io$`, `^s.*\.y`, `.`, `^$`, `b`))
		return part{"HostRegexp(`" + re.String() + "`)", func(r request) bool {
			return re.MatchString(r.host) || re.MatchString("")
		}}
	default:
		host := g.pick("a.x.io", "b.x.io", "x.io", "a.y.io", "a.b.x.io")
		return part{"Host(`" + host + "`)", func(r request) bool { return r.host == host }}
	}
}

// served searches for a request to the host that the rule matches.
func (g *generator) served(p part, host string) bool {
	for queries := range 1 << g.queries {
		if p.matches(request{host, queries}) {
			return true
		}
	}
	return false
}

// under are the hosts of the population that a wildcard covers.
func under(parent string) []string {
	return slices.DeleteFunc(slices.Clone(population), func(host string) bool {
		_, rest, _ := strings.Cut(host, ".")
		return rest != parent
	})
}

func TestSetsAgreeWithASearchForARequest(t *testing.T) {
	for seed := range uint64(20_000) {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 0)), regexps: seed%2 == 0}
		p := g.part(4)
		if g.queries > 8 {
			continue // 256 requests a host are enough
		}
		set, err := traefikrule.ParseHTTP(p.text, v3)
		if err != nil {
			t.Fatalf("%s\n is refused: %v", p.text, err)
		}
		g.compare(t, p, set)
		if t.Failed() {
			return
		}
	}
}

func (g *generator) compare(t *testing.T, p part, set *traefikrule.Set) {
	t.Helper()
	list, finite := set.List()
	for _, host := range population {
		served := g.served(p, host)
		if set.Covers(host, ample()) != served {
			t.Errorf("%s\n serves %s: %v, but the set says %v", p.text, host, served, !served)
		}
		_, parent, _ := strings.Cut(host, ".")
		if listed := slices.Contains(list, host) || slices.Contains(list, "*."+parent); finite && listed != served {
			t.Errorf("%s\n serves %s: %v, but the list is %v", p.text, host, served, list)
		}
	}
	for _, parent := range []string{"x.io", "b.x.io", "y.io"} {
		notServed := func(host string) bool { return !g.served(p, host) }
		all := !slices.ContainsFunc(under(parent), notServed)
		switch covers := set.Covers("*."+parent, ample()); {
		case covers && !all:
			t.Errorf("%s\n does not serve all of %v, but the set covers *.%s", p.text, under(parent), parent)
		case !covers && all && !g.regexps:
			t.Errorf("%s\n serves all of %v, but the set does not cover *.%s", p.text, under(parent), parent)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, rule := range []string{
		"Host(`a.x.io`) && !PathPrefix(`/api`)",
		"Host(`a`, `b`) || HostRegexp(`{sub:[a-z]{2}}.x.io`)",
		"HostSNI(`*.x.io`) || HostSNIRegexp(`^a`) && ALPN(\"h2\")",
		"!(!Host(`*.x.io`) || Query(`a=b`, `c={d}`)) && Headers(`a`, `b`)",
	} {
		f.Add(rule, "a.x.io")
	}
	f.Fuzz(func(t *testing.T, rule, host string) {
		for _, parse := range []func(string, traefikrule.Syntax) (*traefikrule.Set, error){
			traefikrule.ParseHTTP, traefikrule.ParseTCP,
		} {
			for _, syntax := range []traefikrule.Syntax{absent, v2, v3} {
				set, err := parse(rule, syntax)
				if err != nil {
					continue
				}
				consistent(t, rule, host, set)
			}
		}
	})
}

// consistent checks what must hold of any set.
func consistent(t *testing.T, rule, host string, set *traefikrule.Set) {
	list, finite := set.List()
	for _, listed := range list {
		if !set.Covers(listed, ample()) {
			t.Errorf("%q lists %q, and does not cover it", rule, listed)
		}
	}
	_, parent, _ := strings.Cut(host, ".")
	if finite && set.Covers(host, ample()) && !slices.Contains(list, host) && !slices.Contains(list, "*."+parent) {
		t.Errorf("%q covers %q, and does not list it: %q", rule, host, list)
	}
	if set.String() == "" {
		t.Errorf("%q has no description", rule)
	}
}
