package manifest

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// linesOf returns the file, line and field of each problem.
func linesOf(t *testing.T, name, text string) []string {
	t.Helper()
	_, mistakes := read(t.Context(), name, []byte(text))
	var lines []string
	for _, p := range newLocator(name, []byte(text)).problems(mistakes) {
		p.Message = ""
		lines = append(lines, strings.TrimSuffix(p.String(), ": "))
	}
	return lines
}

func TestLinesAreThoseOfTheFile(t *testing.T) {
	good := exposedHost("a.techn.is") // seven lines
	bad := strings.Replace(exposedHost("b.techn.is"), "[{cluster: hades}]", "\n  - cluster: hades\n  - address: '10.0.0.1:80'\n    httpsPort: 0\n", 1)
	list := func(items ...string) string {
		text := "apiVersion: v1\nkind: List\nitems:\n"
		for _, item := range items {
			text += "- " + strings.ReplaceAll(strings.TrimSpace(item), "\n", "\n  ") + "\n"
		}
		return text
	}
	for name, test := range map[string]struct {
		file, text string
		want       []string
	}{
		"one document":                  {"x.yaml", bad, []string{"x.yaml:9: spec.backends[1].address", "x.yaml:10: spec.backends[1].httpsPort"}},
		"the second document":           {"x.yaml", good + "---\n" + bad, []string{"x.yaml:17: spec.backends[1].address", "x.yaml:18: spec.backends[1].httpsPort"}},
		"CR LF":                         {"x.yaml", strings.ReplaceAll(good+"---\n"+bad, "\n", "\r\n"), []string{"x.yaml:17: spec.backends[1].address", "x.yaml:18: spec.backends[1].httpsPort"}},
		"CR":                            {"x.yaml", strings.ReplaceAll(good+"---\n"+bad, "\n", "\r"), []string{"x.yaml:17: spec.backends[1].address", "x.yaml:18: spec.backends[1].httpsPort"}},
		"line breaks that are YAML's":   {"x.yaml", "# \u2028\u0085\n" + bad, []string{"x.yaml:10: spec.backends[1].address", "x.yaml:11: spec.backends[1].httpsPort"}},
		"a byte order mark":             {"x.yaml", "\ufeff" + bad, []string{"x.yaml:9: spec.backends[1].address", "x.yaml:10: spec.backends[1].httpsPort"}},
		"comments and empty documents":  {"x.yaml", "# a\n---\n# b\n---\n...\n\n---\n" + bad, []string{"x.yaml:16: spec.backends[1].address", "x.yaml:17: spec.backends[1].httpsPort"}},
		"an item of a List":             {"x.yaml", list(good, bad), []string{"x.yaml:19: spec.backends[1].address", "x.yaml:20: spec.backends[1].httpsPort"}},
		"a field that is missing":       {"x.yaml", strings.Replace(good, "  host: \"a.techn.is\"\n", "", 1), []string{"x.yaml:5: spec.host"}},
		"a name with dots":              {"x.yaml", strings.Replace(good, "backends", "back.ends", 1), []string{"x.yaml:7: spec.back.ends"}},
		"an anchor elsewhere":           {"x.yaml", list("kind: &kind Pod", "kind: *kind"), []string{"x.yaml:4: kind", "x.yaml:5: kind"}},
		"a merged field":                {"x.yaml", list("&a\nkind: Pod", "<<: [*a]\nx: y"), []string{"x.yaml:5: kind", "x.yaml:5: kind"}},
		"a field twice":                 {"x.yaml", good + "---\n" + good + "  host: x\n", []string{"x.yaml:16"}},
		"an indentation":                {"x.yaml", good + "---\n" + good + "   bad: x\n" + "---\n" + bad, []string{"x.yaml:16", "x.yaml:26: spec.backends[1].address", "x.yaml:27: spec.backends[1].httpsPort"}},
		"a bracket that is left open":   {"x.yaml", strings.Replace(good, "}]", "}", 1) + "---\n" + bad, []string{"x.yaml:7", "x.yaml:17: spec.backends[1].address", "x.yaml:18: spec.backends[1].httpsPort"}},
		"the end of a quote is missing": {"x.yaml", good + "  x: 'y\n\n", []string{"x.yaml:9"}},
		"a tab":                         {"x.yaml", good + "---\nkind:\n\tx: y\n", []string{"x.yaml:10"}},
		"after a bracket of many lines": {"x.yaml", "a: [\n  b,\n  c\n]\nd: [\n  e,\n  f]\n}\n", []string{"x.yaml:8"}},
		"JSON, with tabs and escapes":   {"x.json", "{\n\t\"kind\":\n\t\t\"Pod\", \"x\": \"\\ud83d\\ude00\\/\", \"n\": 1e300\n}\n\n{\"apiVersion\": \"v1\",\n \"kind\": \"List\", \"items\": [\n  {},\n  {\"kind\": \"Pod\"}\n]}", []string{"x.json:2: kind", "x.json:8: kind", "x.json:9: kind"}},
		"a byte order mark before JSON": {"x.json", "\ufeff{\n\"kind\": 7}", []string{"x.json:1"}},
		"JSON that is none":             {"x.json", "{}\n{\n \"a\": 1,\n \"b\" 2\n}\n", []string{"x.json:1: kind", "x.json:4"}},
		"JSON that ends early":          {"x.json", "{}\n{\n \"a\": 1,\n\n", []string{"x.json:1: kind", "x.json:3"}},
		"JSON in a YAML file":           {"x.yaml", good + "---\n{\"a\": 1,\n\"kind\": \"Pod\"}\n", []string{"x.yaml:10: kind"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := linesOf(t, test.file, test.text); !slices.Equal(got, test.want) {
				t.Errorf("the problems are at\n%q, want\n%q", got, test.want)
			}
		})
	}
}

func TestAProblemIsOneLine(t *testing.T) {
	text := "apiVersion: usher.techn.is/v1alpha1\nkind: ExposedHost\nmetadata: {name: a.techn.is}\nspec: {host: a.techn.is, \"x\\n/etc/usher/y.yaml:1\\e[2J\\u2028\": 1}\n"
	_, mistakes := read(t.Context(), "x.yaml", []byte(text))
	got := newLocator("x\n.yaml", []byte(text)).problems(mistakes)
	if len(got) != 1 || strings.ContainsAny(got[0].String(), "\n\x1b\u2028") {
		t.Errorf("the problems are %q", got)
	}
}

// FuzzLines checks that each problem has a line that is in the file.
func FuzzLines(f *testing.F) {
	f.Add(exposedHost("A.techn.is")+"---\n"+hades+"  x: [", false)
	f.Add("items:\n- &a {<<: *a, x: y}\n- *a\nkind: List\napiVersion: v1\n", false)
	f.Add("\ufeff# \u0085\u2028\r\r\n...\n--- {kind: x}", false)
	f.Add("{\"kind\":\n\"x\"}\n{\"a\"", true)
	f.Fuzz(func(t *testing.T, text string, isJSON bool) {
		name := "x.yaml"
		if isJSON {
			name = "x.json"
		}
		_, mistakes := read(t.Context(), name, []byte(text))
		last := len(lineStarts([]byte(text), lineBreak))
		whole := slices.ContainsFunc(mistakes, func(m mistake) bool { return m.document == 0 })
		for _, p := range newLocator(name, []byte(text)).problems(mistakes) {
			if p.Line > last || p.Line < 0 || (p.Line == 0 && !whole) {
				t.Errorf("%v is on line %d of %d", p, p.Line, last)
			}
			if bytes.ContainsAny([]byte(p.String()), "\r\n") {
				t.Errorf("%q is not one line", p.String())
			}
		}
	})
}
