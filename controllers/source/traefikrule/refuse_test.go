package traefikrule_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/controllers/source/traefikrule"
)

func TestRulesThatTraefikDoesNotLoad(t *testing.T) {
	tests := []struct {
		name   string
		syntax traefikrule.Syntax
		rule   string
		want   string
	}{
		{"nothing", v3, "", "1:1: expected operand, found 'EOF'"},
		{"no matcher", v3, "`a.x.io`", "1:1: a rule is an expression of matchers"},
		{"a name without quotes", v3, "Host(a.x.io)", "1:1: a.x.io is not defined"},
		{"single quotes", v3, "Host('a.x.io')", "1:6: illegal rune literal"},
		{"a quote that is not closed", v3, "Host(`a.x.io)", "1:6: raw string literal not terminated"},
		{"typographic quotes", v3, "Host(“a.x.io”)", "1:6: curly quotation mark '“' (use neutral '\"')"},
		{"a bracket that is not closed", v3, "Path(`/`) && Host(`a.x.io`", "1:27: missing ',' before newline in argument list"},
		{"a word for an operator", v3, "Host(`a`) and Host(`b`)", "1:11: expected 'EOF', found and"},
		{"a single &", v3, "Host(`a`) & Host(`b`)", "1:11: & is not supported"},
		{"a minus", v3, "Host(`a`) && -Host(`b`)", "1:14: - is not supported"},
		{"a number", v3, "Host(1)", "1:1: reflect: cannot use int as type string"},
		{"an unknown matcher", v3, "Host(`a`) && Port(`443`)", "1:14: unsupported function: Port"},
		{"odd letter case of a matcher", v3, "hoST(`a`)", "1:1: unsupported function: hoST"},
		{"a matcher of Traefik 2", v3, "HostHeader(`a`)", "1:1: unsupported function: HostHeader"},
		{"a matcher of Traefik 3", v2, "Host(`a`) &&\n PathRegexp(`a`)", "2:2: unsupported function: PathRegexp"},
		{"a matcher of TCP", v3, "HostSNI(`a`)", "1:1: unsupported function: HostSNI"},
		{"many values in Traefik 3", v3, "Host(`a`) || Host(`a`, `b`)", "1:14: Host: unexpected number of parameters; got 2, expected one of [1]"},
		{"too few values", v3, "Header(`a`)", "1:1: Header: unexpected number of parameters; got 1, expected one of [2]"},
		{"no value", v2, "Host()", "1:1: Host: no value for the matcher"},
		{"an empty value", v2, "Host(`a`, ``)", "1:1: Host: empty value for the matcher"},
		{"a host that is not ASCII", v3, "Host(`bücher.x.io`)", "1:1: Host: invalid value \"bücher.x.io\": non-ASCII characters are not allowed; write the name's xn-- form"},
		{"likewise in Traefik 2", v2, "Host(`bücher.x.io`)", "1:1: Host: invalid value \"bücher.x.io\": non-ASCII characters are not allowed; write the name's xn-- form"},
		{"likewise in a regular expression", v3, "HostRegexp(`ü`)", "1:1: HostRegexp: invalid value \"ü\": non-ASCII characters are not allowed; write the name's xn-- form"},
		{"likewise in a template", v2, "HostRegexp(`ü`)", "1:1: HostRegexp: invalid value \"ü\": non-ASCII characters are not allowed; write the name's xn-- form"},
		{"all names of one label", v3, "Host(`*.`)", "1:1: Host: invalid value \"*.\": not a host name"},
		{"a bad regular expression", v3, "Host(`a`) && HostRegexp(`(`)", "1:14: HostRegexp: error parsing regexp: missing closing ): `(`"},
		{"a bad one over paths", v3, "PathRegexp(`(`)", "1:1: PathRegexp: error parsing regexp: missing closing ): `(`"},
		{"a bad one over headers", v2, "HeadersRegexp(`a`, `(`)", "1:1: HeadersRegexp: error parsing regexp: missing closing ): `(`"},
		{"a bad one over queries", v3, "QueryRegexp(`a`, `(`)", "1:1: QueryRegexp: error parsing regexp: missing closing ): `(`"},
		{"a template with open braces", v2, "HostRegexp(`{a.x.io`)", "1:1: HostRegexp: template \"{a.x.io\": unbalanced braces"},
		{"a template with a brace too many", v2, "HostRegexp(`a}.x.io`)", "1:1: HostRegexp: template \"a}.x.io\": unbalanced braces"},
		{"a template without a pattern", v2, "HostRegexp(`{a:}.x.io`)", "1:1: HostRegexp: template \"{a:}.x.io\": missing name or pattern in \"{a:}\""},
		{"a template whose pattern is bad", v2, "HostRegexp(`{a:[}.x.io`)", "1:1: HostRegexp: error parsing regexp: missing closing ]: `[$`"},
		{"a variable that ends its group", v2, "HostRegexp(`{a:b)(c}`)", "1:1: HostRegexp: error parsing regexp: unexpected ): `^b)(c$`"},
		{"a path without a slash", v3, "Path(`a`)", "1:1: Path: path \"a\" does not start with a '/'"},
		{"a path template without a slash", v2, "Path(`/a`, `b`)", "1:1: Path: path \"b\" does not start with a '/'"},
		{"a bad path template", v2, "PathPrefix(`/{a`)", "1:1: PathPrefix: template \"/{a\": unbalanced braces"},
		{"a bad address", v3, "ClientIP(`10.0.0.0/33`)", "1:1: ClientIP: invalid CIDR address: 10.0.0.0/33"},
		{"a header without a value", v2, "Headers(`a`)", "1:1: Headers: number of parameters must be a multiple of 2; got 1"},
		{"a query without a value", v2, "Query(`a`)", "1:1: Query: number of parameters must be a multiple of 2; got 1"},
		{"a query variable twice", v2, "Query(`a={x}`, `b={x}`)", "1:1: Query: duplicated variable \"x\""},
		{"a bad query template", v2, "Query(`a={x`)", "1:1: Query: template \"a={x\": unbalanced braces"},
		{"the first of several mistakes", v3, "Host(`a`) && (Path(`b`) || Hots(`c`))", "1:15: Path: path \"b\" does not start with a '/'"},
		{"a matcher within a matcher", v3, "Host(Host(`a`))", "1:1: reflect: cannot use traefikrule.expr as type string"},
		{"wrong in both grammars", absent, "Host(`a`) && Port(`1`)", "as a rule of v3: 1:14: unsupported function: Port; as one of v2: 1:14: unsupported function: Port"},
		{"hosts that differ between the grammars", absent, "Host(`a.x.io`) || Host(`*.x.io`)", "the rule is valid in the syntaxes v2 and v3, and matches different hosts: a.x.io in v2, *.x.io, a.x.io in v3; set the route's syntax"},
		{"every host in one grammar, none in the other", absent, "Host(`*`)", "the rule is valid in the syntaxes v2 and v3, and matches different hosts: no host in v2, every host in v3; set the route's syntax"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set, err := traefikrule.ParseHTTP(test.rule, test.syntax)
			if err == nil {
				t.Fatalf("%s\n is read as %s, want a refusal", test.rule, set)
			}
			if !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("%s\n is refused with %q\n want %q", test.rule, err, test.want)
			}
		})
	}
}

func TestTCPRulesThatTraefikDoesNotLoad(t *testing.T) {
	tests := []struct {
		name   string
		syntax traefikrule.Syntax
		rule   string
		want   string
	}{
		{"a matcher of HTTP", v3, "Host(`a`)", "1:1: unsupported function: Host"},
		{"a name with a slash", v3, "HostSNI(`a/b`)", "1:1: HostSNI: invalid value \"a/b\": not a host name"},
		{"a wildcard in Traefik 2", v2, "HostSNI(`a`, `*.x.io`)", "1:1: HostSNI: invalid value \"*.x.io\": not a host name"},
		{"an asterisk within a name", v3, "HostSNI(`a*.x.io`)", "1:1: HostSNI: invalid value \"a*.x.io\": not a host name"},
		{"a name that is not ASCII", v2, "HostSNI(`bücher.x.io`)", "1:1: HostSNI: invalid value \"bücher.x.io\": not a host name"},
		{"many values in Traefik 3", v3, "HostSNI(`a`, `b`)", "1:1: HostSNI: unexpected number of parameters; got 2, expected one of [1]"},
		{"the protocol that Traefik answers itself", v3, "ALPN(`acme-tls/1`)", "1:1: ALPN: invalid protocol value \"acme-tls/1\": it is not allowed"},
		{"likewise among many", v2, "ALPN(`h2`, `acme-tls/1`)", "1:1: ALPN: invalid protocol value \"acme-tls/1\": it is not allowed"},
		{"a bad regular expression", v3, "HostSNIRegexp(`[`)", "1:1: HostSNIRegexp: error parsing regexp: missing closing ]: `[`"},
		{"a bad template", v2, "HostSNIRegexp(`{`)", "1:1: HostSNIRegexp: template \"{\": unbalanced braces"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set, err := traefikrule.ParseTCP(test.rule, test.syntax)
			if err == nil {
				t.Fatalf("%s\n is read as %s, want a refusal", test.rule, set)
			}
			if !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("%s\n is refused with %q\n want %q", test.rule, err, test.want)
			}
		})
	}
}

func TestParseSyntax(t *testing.T) {
	for value, want := range map[string]traefikrule.Syntax{"": absent, "v2": v2, "v3": v3} {
		if got, err := traefikrule.ParseSyntax(value); err != nil || got != want {
			t.Errorf("syntax %q is read as %v (%v), want %v", value, got, err, want)
		}
	}
	for _, value := range []string{"V3", "3", "default"} {
		if got, err := traefikrule.ParseSyntax(value); err == nil {
			t.Errorf("syntax %q is read as %v, want a refusal", value, got)
		}
	}
}

// large are valid rules, each of the largest size in one respect. Some are evaluated,
// some refused, and none takes long.
var large = map[string]string{
	"one very long host":                "Host(`" + strings.Repeat("a", 65000) + "`)",
	"as many hosts as there can be":     join("Host(`a%.x.io`)", " || ", 500),
	"as many exceptions":                "PathPrefix(`/`) && !" + join("Host(`a%.x.io`)", " && !", 498),
	"as many wildcards":                 join("Host(`*.a%.x.io`)", " || ", 500),
	"wildcards and names":               join("Host(`*.a%.x.io`) && !Host(`b.a%.x.io`)", " || ", 225),
	"one matcher with many hosts":       "Host(" + join("`a%.x.io`", ",", 1240) + ")",
	"more hosts than there can be":      join("Host(`a%.x.io`)", "||", 3000),
	"deep brackets":                     strings.Repeat("(", 1240) + "Host(`a`)" + strings.Repeat(")", 1240),
	"deeper brackets":                   strings.Repeat("(", 32000) + "Host(`a`)" + strings.Repeat(")", 32000),
	"many negations":                    strings.Repeat("!", 2490) + "Host(`a`)",
	"nested types":                      strings.Repeat("chan ", 13000) + "int",
	"a large repetition":                "HostRegexp(`" + strings.Repeat("a{1000}", 52) + "`)",
	"a repetition of a repetition":      "HostRegexp(`((a{31}){31}){31}`)",
	"many classes":                      "HostRegexp(`" + strings.Repeat(`\pL`, 120) + "`)",
	"many folded classes":               "HostRegexp(`(?i)" + strings.Repeat(`\pL`, 120) + "`)",
	"many folded classes over paths":    "PathRegexp(`(?i)" + strings.Repeat(`[\pL]`, 70) + "`)",
	"many regular expressions":          join("HostRegexp(`^a%`)", " && ", 100),
	"names for a regular expression":    "HostRegexp(`^[a-z]+[0-9]+`) && (" + join("Host(`a%.x.io`)", " || ", 490) + ")",
	"long expressions over paths":       "PathRegexp(`" + strings.Repeat("a|bc", 16000) + "`)",
	"brackets over paths":               "PathRegexp(`" + strings.Repeat("()", 32000) + "`)",
	"many expressions over paths":       join("PathRegexp(`(()()()()()|[a-z]?%)`)", " && ", 400),
	"wide classes over headers":         "HeaderRegexp(`a`, `(?i)" + strings.Repeat(`[B-\x{10FFFF}]`, 4000) + "`)",
	"Unicode classes over queries":      "QueryRegexp(`a`, `(?i)" + strings.Repeat(`[\pL]`, 10000) + "`)",
	"long names for an awkward one":     "HostRegexp(`(a|aa|a?a)+$`) && (" + join("Host(`"+strings.Repeat("a", 240)+"%`)", " || ", 200) + ")",
	"braces without end":                "HostRegexp(`" + strings.Repeat("{", 60000) + "`)",
	"variables without end":             "HostRegexp(`" + strings.Repeat("{a}", 80) + "`)",
	"conjunctions of many disjunctions": join("(Host(`a%.x.io`) || Host(`b%.x.io`) || Path(`/`))", " && ", 170),
}

// join repeats a pattern, with a number in place of its '%'.
func join(pattern, between string, n int) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strings.ReplaceAll(pattern, "%", strings.Repeat("z", i%7)+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676)))
	}
	return strings.Join(parts, between)
}

// read parses a rule and calls every method of its set.
func read(rule string, syntax traefikrule.Syntax) {
	if set, err := traefikrule.ParseHTTP(rule, syntax); err == nil {
		set.List()
	}
}

func BenchmarkLargeRules(b *testing.B) {
	for name, rule := range large {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				read(rule, v3)
			}
		})
	}
}

func TestLargeRulesTakeNoLongerThanABound(t *testing.T) {
	const bound = 2 * time.Second // 10 ms on an idle machine: see the benchmark
	for name, rule := range large {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			read(rule, absent)
			if took := time.Since(start); took > bound {
				t.Errorf("%d bytes took %v, want at most %v", len(rule), took, bound)
			}
		})
	}
}

// Templates are of Traefik 2's grammar alone.
func TestLargeTemplatesTakeNoLongerThanABound(t *testing.T) {
	const bound = 2 * time.Second
	for name, rule := range map[string]string{
		"variables of paths":   "Path(`/" + strings.Repeat("{a}", 20000) + "`)",
		"variables of queries": "Query(`a=" + join("{%}", "", 8000) + "`)",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			read(rule, v2)
			if took := time.Since(start); took > bound {
				t.Errorf("%d bytes took %v, want at most %v", len(rule), took, bound)
			}
		})
	}
}

func TestExpressionsThatAreNotOfHostsMayBeLong(t *testing.T) {
	long := "^/(" + strings.Repeat("sync|rooms/[^/]+/(messages|members)|", 500) + "x)$"
	for _, test := range []struct {
		syntax traefikrule.Syntax
		rule   string
	}{
		{v3, "PathRegexp(`" + long + "`)"},
		{v3, "HeaderRegexp(`a`, `" + long + "`)"},
		{v3, "QueryRegexp(`a`, `" + long + "`)"},
		{v2, "PathPrefix(`/{a:" + long + "}`)"},
		{v2, "HeadersRegexp(`a`, `" + long + "`)"},
		{v2, "Query(`a={b:" + long + "}`)"},
	} {
		set, err := traefikrule.ParseHTTP("Host(`a.x.io`) && "+test.rule, test.syntax)
		if err != nil {
			t.Errorf("%.40s of %d bytes is refused: %v", test.rule, len(test.rule), err)
			continue
		}
		if set.String() != "a.x.io" {
			t.Errorf("%.40s names %s, want a.x.io", test.rule, set)
		}
	}
	if _, err := traefikrule.ParseHTTP(host(long), v3); err == nil || !strings.Contains(err.Error(), "over hosts are longer than 384 bytes") {
		t.Errorf("an expression over hosts of %d bytes is refused with %v", len(long), err)
	}
}
