package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jovalle/usher/api/v1alpha1"
)

// exposedHost returns a manifest of a host on the cluster hades.
func exposedHost(host string) string {
	return fmt.Sprintf(`apiVersion: usher.techn.is/v1alpha1
kind: ExposedHost
metadata:
  name: %s
spec:
  host: "%s"
  backends: [{cluster: hades}]
`, strings.Replace(host, "*", "wildcard", 1), host)
}

const hades = `apiVersion: usher.techn.is/v1alpha1
kind: MemberCluster
metadata: {name: hades}
spec: {ingress: {addresses: [192.168.1.10]}}
`

const family = `apiVersion: usher.techn.is/v1alpha1
kind: NetworkList
metadata: {name: family}
spec: {networks: [192.168.0.0/16]}
`

// names returns the kind and name of each object.
func names(o objects) []string {
	var all []string
	for k := range o.keys {
		all = append(all, k.String())
	}
	return all
}

// readText reads a file, and returns its problems as an error.
func readText(t testing.TB, name, text string) (objects, error) {
	t.Helper()
	found, mistakes := read(t.Context(), name, []byte(text))
	if len(mistakes) > 0 {
		return found, newLocator(name, []byte(text)).problems(mistakes)
	}
	return found, nil
}

func TestReadGoodFiles(t *testing.T) {
	asJSON := `{"apiVersion":"usher.techn.is/v1alpha1","kind":"ExposedHost","metadata":{"name":"a.techn.is"},"spec":{"host":"a.techn.is"}}`
	a, b := "ExposedHost a.techn.is", "ExposedHost b.techn.is"
	for name, test := range map[string]struct {
		file, text string
		want       []string
	}{
		"one document":                       {"x.yaml", exposedHost("a.techn.is"), []string{a}},
		"several documents":                  {"x.yaml", exposedHost("a.techn.is") + "---\n" + exposedHost("b.techn.is"), []string{a, b}},
		"both kinds":                         {"x.yml", hades + "---\n" + exposedHost("a.techn.is"), []string{a, "MemberCluster hades"}},
		"all kinds":                          {"x.yml", family + "---\n" + hades + "---\n" + exposedHost("a.techn.is"), []string{a, "MemberCluster hades", "NetworkList family"}},
		"a wildcard":                         {"x.yaml", exposedHost("*.techn.is"), []string{"ExposedHost wildcard.techn.is"}},
		"a comment after the marker":         {"x.yaml", "--- # first\n" + exposedHost("a.techn.is") + "--- # second\n" + exposedHost("b.techn.is"), []string{a, b}},
		"documents on their markers' lines":  {"x.yaml", "--- " + asJSON + "\n--- " + strings.ReplaceAll(asJSON, "a.techn", "b.techn"), []string{a, b}},
		"an end marker between":              {"x.yaml", exposedHost("a.techn.is") + "...\n" + exposedHost("b.techn.is") + "...\n", []string{a, b}},
		"CR LF line ends":                    {"x.yaml", strings.ReplaceAll(exposedHost("a.techn.is")+"---\n"+exposedHost("b.techn.is"), "\n", "\r\n"), []string{a, b}},
		"line breaks that only YAML knows":   {"x.yaml", strings.ReplaceAll(exposedHost("a.techn.is")+"---\n"+exposedHost("b.techn.is"), "\n", "\u2028"), []string{a, b}},
		"a byte order mark":                  {"x.yaml", "\ufeff" + exposedHost("a.techn.is"), []string{a}},
		"empty documents and comments":       {"x.yaml", "---\n# nothing\n---\n\n---\n" + exposedHost("a.techn.is") + "---\n", []string{a}},
		"comments only":                      {"x.yaml", "# " + strings.ReplaceAll(exposedHost("a.techn.is"), "\n", "\n# "), nil},
		"JSON":                               {"x.json", asJSON, []string{a}},
		"several JSON texts":                 {"x.json", asJSON + "\n" + strings.ReplaceAll(asJSON, "a.techn", "b.techn"), []string{a, b}},
		"JSON in a YAML file":                {"x.yaml", asJSON + "\n---\n" + exposedHost("b.techn.is"), []string{a, b}},
		"a List as kubectl prints it":        {"x.yaml", "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\nitems:\n- " + strings.ReplaceAll(exposedHost("a.techn.is"), "\n", "\n  "), []string{a}},
		"a list as the API server prints it": {"x.json", `{"apiVersion":"usher.techn.is/v1alpha1","kind":"ExposedHostList","metadata":{"continue":""},"items":[` + asJSON + `]}`, []string{a}},
		"an empty List":                      {"x.yaml", "apiVersion: v1\nkind: List\nitems: []\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readText(t, test.file, test.text)
			if err != nil || !slices.Equal(names(got), test.want) {
				t.Errorf("read %v, %v; want %v", names(got), err, test.want)
			}
		})
	}
}

func TestReadReportsMistakes(t *testing.T) {
	good := exposedHost("a.techn.is")
	replace := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	for name, test := range map[string]struct {
		file, text string
		want       []string // in the error
	}{
		"nothing":                     {"x.yaml", "\n", []string{"is empty", "delete the file"}},
		"another kind":                {"x.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n", []string{"x.yaml:2: kind: Invalid value: \"Secret\"", "not read here"}},
		"another version":             {"x.yaml", replace("v1alpha1", "v1"), []string{"x.yaml:1: apiVersion: ", "usher.techn.is/v1"}},
		"no kind":                     {"x.yaml", "\n\nhost: a.techn.is\n", []string{"x.yaml:3: kind: Required value", "not read here"}},
		"not an object":               {"x.yaml", "just a line\n", []string{"x.yaml:1: ", "not an object"}},
		"not YAML":                    {"x.yaml", good + "---\n{\n", []string{"x.yaml:9: is not YAML"}},
		"not JSON":                    {"x.json", `{"apiVersion":`, []string{"x.json:1: is not JSON"}},
		"not text":                    {"x.yaml", "\xff\xfea\x00", []string{"UTF-8"}},
		"an unknown field":            {"x.yaml", replace("backends", "backend"), []string{"x.yaml:7: spec.backend: ", "unknown field"}},
		"an unknown field of a list":  {"x.yaml", "apiVersion: v1\nkind: List\nitem: []\n", []string{"x.yaml:3: item: unknown field"}},
		"an unknown metadata field":   {"x.yaml", replace("metadata:", "metadata:\n  label: {}"), []string{"metadata.label"}},
		"a field twice":               {"x.yaml", good + "  backends: []\n", []string{"x.yaml:8: ", `"backends" already set`}},
		"a field twice, in JSON":      {"x.json", `{"kind":"ExposedHost","kind":"ExposedHost"}`, []string{"x.json:1: kind: ", `duplicate field "kind"`}},
		"an object twice":             {"x.yaml", good + "---\n" + good, []string{"x.yaml:12: metadata.name: ExposedHost a.techn.is is in x.yaml:4 too"}},
		"no name":                     {"x.yaml", replace("name: a.techn.is", "name: ''"), []string{"metadata.name: Required"}},
		"a namespace":                 {"x.yaml", replace("metadata:", "metadata:\n  namespace: default"), []string{"metadata.namespace: Forbidden"}},
		"a name that is not the host": {"x.yaml", replace("name: a.techn.is", "name: b.techn.is"), []string{"metadata.name must be spec.host"}},
		"no host":                     {"x.yaml", replace(`  host: "a.techn.is"`, ""), []string{"spec.host: Required"}},
		"an invalid host":             {"x.yaml", replace(`host: "a.techn.is"`, `host: "A.techn.is"`), []string{"spec.host: Invalid", "lower-case ASCII labels"}},
		"a value of another type":     {"x.yaml", replace("[{cluster: hades}]", "[{cluster: 7}]"), []string{"spec.backends[0].cluster", "is a number, but must be text"}},
		"a value of an unknown name":  {"x.yaml", good + "  plainHTTP: Maybe\n", []string{"spec.plainHTTP: Unsupported value", "Redirect"}},
		"an invalid port":             {"x.yaml", replace("{cluster: hades}", "{address: 10.0.0.1, httpsPort: 65536}"), []string{"spec.backends[0].httpsPort", "65535"}},
		"both a cluster and address":  {"x.yaml", replace("cluster: hades", "cluster: hades, address: 10.0.0.1"), []string{"spec.backends[0]", "exactly one of"}},
		"an invalid CIDR":             {"x.yaml", good + "  allowFrom: [10.0.0.1]\n", []string{"spec.allowFrom[0]", "not a CIDR"}},
		"an invalid name of a list":   {"x.yaml", good + "  allowFrom: ['@../family']\n", []string{"spec.allowFrom[0]", "not a NetworkList"}},
		"an invalid network":          {"x.yaml", strings.Replace(family, "/16", "/33", 1), []string{"spec.networks[0]", "not a CIDR"}},
		"a list without networks":     {"x.yaml", strings.Replace(family, "192.168.0.0/16", "", 1), []string{"spec.networks", "at least 1"}},
		"a list with a dot":           {"x.yaml", strings.Replace(family, "name: family", "name: a.b", 1), []string{"must be a DNS label"}},
		"a drain that is no boolean":  {"x.yaml", strings.Replace(hades, "name: hades", "name: hades, annotations: {usher.techn.is/drain: \"yes\"}", 1), []string{"metadata.annotations[usher.techn.is/drain]", "neither"}},
		"an unknown strategy":         {"x.yaml", good + "  strategy: Random\n", []string{"spec.strategy: Unsupported value", "RoundRobin"}},
		"an invalid weight":           {"x.yaml", replace("cluster: hades", "cluster: hades, weight: 101"), []string{"spec.backends[0].weight", "100"}},
		"an ingress address twice":    {"x.yaml", strings.Replace(hades, "192.168.1.10", "10.0.0.1, 10.0.0.1", 1), []string{"spec.ingress.addresses[1]: Duplicate"}},
		"an item of a list":           {"x.yaml", "apiVersion: v1\nkind: List\nitems:\n- {kind: Pod}\n- " + strings.ReplaceAll(good, "\n", "\n  "), []string{"x.yaml:4: kind: ", "not read here"}},
		"more mistakes than a screen": {"x.yaml", strings.Repeat("kind: Pod\n---\n", 25), []string{"x.yaml:19: ", "and 15 more"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readText(t, test.file, test.text)
			if err == nil {
				t.Fatal("the file was accepted")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error is %q, without %q", err, part)
				}
			}
		})
	}
}

func TestReadFillsInDefaults(t *testing.T) {
	got, err := readText(t, "x.yaml", hades+"---\n"+exposedHost("a.techn.is"))
	if err != nil {
		t.Fatal(err)
	}
	if got := got.hosts[0].Spec.PlainHTTP; got != v1alpha1.PlainHTTPRedirect {
		t.Errorf("plainHTTP is %q", got)
	}
	if got := got.clusters[0].Spec.Ingress; got.HTTPSPort != 443 || got.HTTPPort != 80 || got.ProxyProtocol != v1alpha1.ProxyProtocolNone {
		t.Errorf("ingress is %+v", got)
	}
}

// FuzzRead checks that objects that were read from a file are the same after they were
// encoded and read again.
func FuzzRead(f *testing.F) {
	f.Add(exposedHost("a.techn.is")+"---\n"+hades, false)
	f.Add("--- # x\n...\n"+exposedHost("*.techn.is"), false)
	f.Add("apiVersion: v1\nkind: List\nitems:\n- &a {kind: x}\n- *a\n", false)
	f.Add(`{"apiVersion":"usher.techn.is/v1alpha1","kind":"ExposedHostList","items":[{}]}`, true)
	f.Fuzz(func(t *testing.T, text string, isJSON bool) {
		name := "x.yaml"
		if isJSON {
			name = "x.json"
		}
		first, err := readText(t, name, text)
		if err != nil {
			return
		}
		data := asList(t, first)
		again, err := readText(t, "x.json", string(data))
		if err != nil || !bytes.Equal(asList(t, again), data) {
			t.Errorf("read %+v, %v from\n%s", again, err, data)
		}
	})
}

func asList(t *testing.T, o objects) []byte {
	t.Helper()
	data, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": asItems(o)})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func asItems(o objects) []any {
	items := []any{}
	for i := range o.hosts {
		items = append(items, &o.hosts[i])
	}
	for i := range o.clusters {
		items = append(items, &o.clusters[i])
	}
	for i := range o.networks {
		items = append(items, &o.networks[i])
	}
	return items
}

// BenchmarkRead reads a file with many hosts.
func BenchmarkRead(b *testing.B) {
	var asYAML, items []string
	for i := range 100_000 {
		host := fmt.Sprintf("app-%d.techn.is", i)
		asYAML = append(asYAML, exposedHost(host))
		items = append(items, fmt.Sprintf(`{"apiVersion":"usher.techn.is/v1alpha1","kind":"ExposedHost","metadata":{"name":%q},"spec":{"host":%[1]q,"backends":[{"cluster":"hades"}]}}`, host))
	}
	for name, text := range map[string]string{
		"x.yaml": strings.Join(asYAML, "---\n"),
		"x.json": `{"apiVersion":"v1","kind":"List","items":[` + strings.Join(items, ",\n") + `]}`,
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if got, err := readText(b, name, text); err != nil || len(got.hosts) != 100_000 {
					b.Fatal(len(got.hosts), err)
				}
			}
		})
	}
}
