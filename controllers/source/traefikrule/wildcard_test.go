package traefikrule_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// ample is enough fuel for every rule within the other bounds.
func ample() *traefikrule.Fuel {
	fuel := traefikrule.Fuel(1 << 30)
	return &fuel
}

// host returns a rule with a HostRegexp.
func host(expression string) string { return "HostRegexp(`" + expression + "`)" }

func TestWildcardsThatRegularExpressionsCover(t *testing.T) {
	tests := []struct {
		name   string
		syntax traefikrule.Syntax
		rule   string
		covers bool // *.x.io
	}{
		{"one label", v3, host(`^[^.]+\.x\.io$`), true},
		{"at least one label", v3, host(`^.+\.x\.io$`), true},
		{"letters, digits and hyphens", v3, host(`^[a-z0-9-]+\.x\.io$`), true},
		{"as RFC 1123 has them", v3, host(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?\.x\.io$`), true},
		{"with their length", v3, host(`^[a-z0-9-]{1,63}\.x\.io$`), true},
		{"without an anchor", v3, host(`\.x\.io`), true},
		{"the end alone", v3, host(`\.x\.io$`), true},
		{`\z is $`, v3, host(`\.x\.io\z`), true},
		{`\A is ^`, v3, host(`\A[^.]+\.x\.io\z`), true},
		{"the lines of a host are one", v3, host(`(?m)^[^.]+\.x\.io$`), true},
		{"a dot is every character", v3, host(`^[^.]+.x.io$`), true},
		{"in any letter case", v3, host(`(?i)^[A-Z0-9-]+\.X\.IO$`), true},
		{"words and not words", v3, host(`^(\w|\W)+\.x\.io$`), true},
		{"a word before the dot", v3, host(`\b\.x\.io$`), true},
		{"a word at the beginning", v3, host(`^\b.+\.x\.io$`), true},
		{"Unicode's letters and digits", v3, host(`^[\pL\pN-]+\.x\.io$`), true},
		{"all but Greek", v3, host(`^[^.\p{Greek}]+\.x\.io$`), true},
		{"lazily", v3, host(`^.+?\.x\.io$`), true},
		{"an optional label before", v3, host(`^([^.]+\.)?[^.]+\.x\.io$`), true},
		{"an alternation that leaves nothing out", v3, host(`^([a-m].*|[^a-m].*)\.x\.io$`), true},
		{"two expressions", v3, host(`^[a-m].*\.x\.io$`) + " || " + host(`^[n-z0-9].*\.x\.io$`), true},
		{"two that agree", v3, host(`^.+\.x\.io$`) + " && " + host(`^[^.]+\.x\.`), true},
		{"a negation", v3, "!" + host(`\.y\.io$`), true},
		{"a negation of what no host name has", v3, host(`\.x\.io$`) + " && !" + host(`_`), true},
		{"all but one, which is named", v3, host(`^([^a].*|a.+)\.x\.io$`) + " || Host(`a.x.io`)", true},
		{"all, where a wildcard holds them", v3, "Host(`*.x.io`) && " + host(`^.+\.x\.io$`), true},
		{"with a path", v3, host(`^[^.]+\.x\.io$`) + " && PathPrefix(`/a`)", true},
		{"without any that needs a path", v3, host(`^[^.]+\.x\.io$`) + " && !PathPrefix(`/a`)", true},
		{"the empty string", v3, host(`^[a-m]*$|^$`), true},
		{"a template", v2, host(`{sub}.x.io`), true},
		{"a template with an expression", v2, host(`{sub:[a-z0-9-]+}.x.io`), true},
		{"a template in upper case", v2, host(`{sub:[A-Z0-9-]+}.X.io`), true},
		{"several templates", v2, "HostRegexp(`{a:[a-m].*}.x.io`, `{b:[n-z0-9].*}.x.io`)", true},
		{"one label of many", v2, host(`{any:.+}.io`), true},

		{"all but admin", v3, host(`^[^.]+\.x\.io$`) + " && !" + host(`^admin\.`), false},
		{"all but admin by name", v3, host(`^[^.]+\.x\.io$`) + " && !Host(`admin.x.io`)", false},
		{"all but a, by alternation", v3, host(`^([^a].*|a.+)\.x\.io$`), false},
		{"all but admin, by alternation", v3, host(`^([^a].*|a|a[^d].*|ad|ad[^m].*|adm|adm[^i].*|admi|admi[^n].*|admin.+)\.x\.io$`), false},
		{"one name, and all with a hyphen", v3, "Host(`a.x.io`) || " + host(`-`), false},
		{"letters", v3, host(`^[a-z]+\.x\.io$`), false},
		{"without the hyphen", v3, host(`^[a-z0-9]+\.x\.io$`), false},
		{"without one letter", v3, host(`^[a-y0-9-]+\.x\.io$`), false},
		{"not one character", v3, host(`^..+\.x\.io$`), false},
		{"one byte short", v3, host(`^.{1,62}\.x\.io$`), false},
		{"upper case", v3, host(`^[A-Z0-9-]+\.x\.io$`), false},
		{"only letters in any case", v3, host(`(?i)^[a-z-]+\.x\.io$`), false},
		{"words", v3, host(`^\w+\.x\.io$`), false},
		{"a word within", v3, host(`^\w+\b.+\.x\.io$`), false},
		{"no word boundary", v3, host(`\B\.x\.io$`), false},
		{"another parent", v3, host(`^[^.]+\.y\.io$`), false},
		{"a longer parent", v3, host(`^[^.]+\.a\.x\.io$`), false},
		{"two labels", v3, host(`^[^.]+\.[^.]+\.x\.io$`), false},
		{"a line before", v3, host(`(?m)\n^[^.]+\.x\.io$`), false},
		{"Greek", v3, host(`^[\p{Greek}]+\.x\.io$`), false},
		{"the empty class", v3, host(`^[^\x00-\x{10FFFF}]`), false},
		{"one expression of two", v3, host(`^[a-m].*\.x\.io$`) + " || " + host(`^[o-z0-9].*\.x\.io$`), false},
		{"two that have less in common", v3, host(`^.+\.x\.io$`) + " && " + host(`^[^q]`), false},
		{"a template without digits", v2, host(`{sub:[a-z]+}.x.io`), false},
		{"a template of one label more", v2, host(`{sub}.{sub2}.x.io`), false},
		{"no syntax: what both grammars match", absent, host(`^[^.]+\.x\.io$`), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set, err := traefikrule.ParseHTTP(test.rule, test.syntax)
			if err != nil {
				t.Fatal(err)
			}
			if got := set.Covers("*.x.io", ample()); got != test.covers {
				t.Errorf("%s\n covers *.x.io: %v, want %v", test.rule, got, test.covers)
			}
		})
	}
}

func TestWildcardsOfServerNames(t *testing.T) {
	for rule, covers := range map[string]bool{
		"HostSNIRegexp(`^.+\\.x\\.io$`)":                         true,
		"HostSNIRegexp(`^[a-z0-9-]+\\.x\\.io$`)":                 true,
		"HostSNIRegexp(`^[a-z0-9-]+\\.x\\.io$`) && ALPN(`h2`)":   true,
		"HostSNIRegexp(`^[a-z]+\\.x\\.io$`)":                     false,
		"HostSNIRegexp(`^$|^a`)":                                 false, // no CNAME is flattened here
		"HostSNIRegexp(`^.+\\.x\\.io$`) && !HostSNI(`a.x.io`)":   false,
		"HostSNIRegexp(`^.+\\.x\\.io$`) && !HostSNI(`a.b.x.io`)": true,
	} {
		set, err := traefikrule.ParseTCP(rule, v3)
		if err != nil {
			t.Fatal(err)
		}
		if set.Covers("*.x.io", ample()) != covers {
			t.Errorf("%s\n covers *.x.io: %v, want %v", rule, !covers, covers)
		}
	}
}

func TestAWildcardIsNotCoveredWithoutFuel(t *testing.T) {
	set, err := traefikrule.ParseHTTP(host(`^[^.]+\.x\.io$`), v3)
	if err != nil {
		t.Fatal(err)
	}
	fuel := *ample()
	for covered := 0; ; covered++ {
		before := fuel
		if !set.Covers("*.x.io", &fuel) {
			t.Fatalf("not covered with %d steps left", before)
		}
		if covered == 0 {
			fuel = 5 * (before - fuel) / 2 // for one more, not for two
			continue
		}
		if fuel >= before {
			t.Fatal("it takes no fuel")
		}
		if fuel < before/2 {
			break
		}
	}
	if set.Covers("*.x.io", &fuel) {
		t.Errorf("covered with %d steps left", fuel)
	}
}

// slow are expressions that would make the automaton large, or slow to build.
var slow = map[string]string{
	"two to the power of 20 states":  `a[^.]{20}\.x\.io$`,
	"and of 50":                      `^[^.]*(a|b)[^.]{50}\.x\.io$`,
	"nested repetitions":             `^((([a-z0-9-]{1,4}){1,4}){1,4}){1,4}\.x\.io$`,
	"nested stars":                   `^((([a-z0-9-]*)*)*)*\.x\.io$`,
	"nested plus":                    `^(((([^.]+)+)+)+)+\.x\.io$`,
	"a large repetition":             `^.{1,900}\.x\.io$`,
	"unanchored, with many threads":  `.{0,220}a.{0,220}\.x\.io`,
	"many classes":                   `^(` + strings.Repeat(`\pL?`, 90) + `)`,
	"many small classes":             `^(` + strings.Repeat(`[aceg]?`, 50) + `)b`,
	"many alternatives":              `^(` + strings.Repeat(`.|..|`, 70) + `.+)\.x\.io$`,
	"many optional bytes":            `^` + strings.Repeat(`a?`, 90) + strings.Repeat(`a`, 90),
	"many word boundaries":           `^(\b|\B|.)+` + strings.Repeat(`\b?\B?`, 60) + `.*\.x\.io$`,
	"each label of a different kind": `^[a-m]{3}[^.]*|[^.]*[n-z][^.]{12}\.x\.io|[^.]*[0-9][^.]{11}\.x\.io$`,
}

func TestSlowExpressionsTakeNoLongerThanTheirFuel(t *testing.T) {
	rules := map[string]string{
		"many expressions":           join("!HostRegexp(`q%$`)", " && ", 40),
		"names beside an expression": host(`.`) + " || " + join("Host(`a%.x.io`)", " || ", 490),
	}
	for name, expression := range slow {
		rules[name] = host(expression)
		rules[name+", beside one that holds all"] = host(expression) + ` || ` + host(`\.x\.io$`)
	}
	const bound = 2 * time.Second // 50 ms on an idle machine
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			start, fuel := time.Now(), traefikrule.Fuel(2<<20)
			set, err := traefikrule.ParseHTTP(rule, v3)
			if err != nil {
				t.Logf("refused: %.200v", err)
				return
			}
			covered := set.Covers("*.x.io", &fuel)
			took := time.Since(start)
			t.Logf("%v after %v; %d steps left", covered, took, fuel)
			if took > bound {
				t.Errorf("it took %v, want at most %v", took, bound)
			}
		})
	}
}

// expressions generates random regular expressions over a few characters.
type expressions struct{ *rand.Rand }

func (g expressions) pick(list ...string) string { return list[g.IntN(len(list))] }

func (g expressions) atom() string {
	return g.pick("a", "b", "z", "0", "-", ".", "[^.]", "[^a.]", "[a-z]", "[a-z0-9-]", "[^.b-]", `\w`, `\W`, `\d`, `\D`, `\b`, `\B`, `\.`, "[ab]", "(?i:A)", `\pL`, `\PL`, "^", "$", "")
}

func (g expressions) part(depth int) string {
	if depth == 0 {
		return g.atom()
	}
	switch g.IntN(6) {
	case 0, 1:
		return g.part(depth-1) + g.part(depth-1)
	case 2:
		return "(" + g.part(depth-1) + "|" + g.part(depth-1) + ")"
	case 3, 4:
		return "(" + g.part(depth-1) + ")" + g.pick("*", "+", "?", "+?", "*?", "{2}", "{1,2}", "{2,}")
	default:
		return g.atom()
	}
}

// whole returns an expression that has a chance to match every label.
func (g expressions) whole() string {
	return g.pick("^", "^", "", `\A`, "(?m)^") + g.pick("", "[^.]+|", "[a-z]+|", ".") + "(" + g.part(3) + ")" + g.pick("", ".*", "[^.]*") +
		g.pick("", `\.x\.io`, `\.x\.io$`, `\.x\.io$`, `\b`) + g.pick("", "", "$", `\z`)
}

// shortLabels are labels of up to 3 bytes: of the characters that the expressions name,
// and one of each other kind; and some of up to 63.
func shortLabels() []string {
	all, layer := []string{}, []string{""}
	for range 3 {
		var longer []string
		for _, label := range layer {
			for _, c := range "abz0q7-" {
				longer = append(longer, label+string(c))
			}
		}
		layer = longer
		all = append(all, layer...)
	}
	for _, c := range "abz0q7" {
		all = append(all, strings.Repeat(string(c), 9), strings.Repeat(string(c), 62), strings.Repeat(string(c), 63), strings.Repeat(string(c), 61)+"-b")
	}
	return slices.DeleteFunc(all, func(label string) bool {
		return strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-")
	})
}

// finds searches longer labels for one that passes a test.
func (g expressions) finds(test func(label string) bool, tries int) bool {
	for range tries {
		label := make([]byte, 4+g.IntN(9))
		for i := range label {
			label[i] = "aabz07-"[g.IntN(7)]
		}
		if label[0] != '-' && label[len(label)-1] != '-' && test(string(label)) {
			return true
		}
	}
	return false
}

func TestWildcardsAgreeWithASearchForALabel(t *testing.T) {
	labels := shortLabels()
	outcomes := map[bool]int{}
	for seed := range uint64(3000) {
		g := expressions{rand.New(rand.NewPCG(seed, 1))}
		first, second := g.whole(), g.whole()
		one, err := regexp.Compile(first)
		other, err2 := regexp.Compile(second)
		if err != nil || err2 != nil {
			continue
		}
		combine := []func(a, b bool) bool{
			func(a, _ bool) bool { return a },
			func(a, b bool) bool { return a || b },
			func(a, b bool) bool { return a && !b },
			func(a, b bool) bool { return a || !b },
		}[seed%4]
		rule := fmt.Sprintf([]string{"HostSNIRegexp(%#q)", "HostSNIRegexp(%#q) || HostSNIRegexp(%#q)", "HostSNIRegexp(%#q) && !HostSNIRegexp(%#q)", "HostSNIRegexp(%#q) || !HostSNIRegexp(%#q)"}[seed%4], []any{first, second}[:min(2, 1+seed%4)]...)
		set, err := traefikrule.ParseTCP(rule, v3)
		if err != nil {
			continue // too large
		}
		misses := func(label string) bool {
			name := label + ".x.io"
			return !combine(one.MatchString(name), other.MatchString(name))
		}
		missed := slices.ContainsFunc(labels, misses) || g.finds(misses, 300)
		covers := set.Covers("*.x.io", ample())
		outcomes[covers]++
		if covers && missed {
			t.Errorf("%s\n covers *.x.io, but does not match all of its names", rule)
		}
		if !covers && !missed && !g.finds(misses, 200_000) {
			t.Errorf("%s\n does not cover *.x.io, but matches all of its names", rule)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("covered or not: %v", outcomes)
	if outcomes[true] < 300 || outcomes[false] < 300 {
		t.Error("too few of one kind to prove anything")
	}
}

func FuzzWildcard(f *testing.F) {
	for _, expression := range slow {
		f.Add(expression, "a-b")
	}
	f.Add(`^[^.]+\.x\.io$`, "a")
	f.Fuzz(func(t *testing.T, expression, label string) {
		set, err := traefikrule.ParseTCP(fmt.Sprintf("HostSNIRegexp(%q)", expression), v3)
		if err != nil || !regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`).MatchString(label) {
			return
		}
		fuel := traefikrule.Fuel(1 << 20)
		if set.Covers("*.x.io", &fuel) && !regexp.MustCompile(expression).MatchString(label+".x.io") {
			t.Errorf("%q covers *.x.io, but does not match %s.x.io", expression, label)
		}
	})
}
