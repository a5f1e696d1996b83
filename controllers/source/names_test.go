package source_test

import (
	"slices"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/controllers/source"
)

// names reads an object's spec as one of T, and returns what the object names.
func names[T any](of func(*T) source.Names) func(t *testing.T, spec string) source.Names {
	return func(t *testing.T, spec string) source.Names {
		t.Helper()
		o := new(T)
		if err := yaml.Unmarshal([]byte("spec: "+spec), o); err != nil {
			t.Fatal(err)
		}
		return of(o)
	}
}

func TestNames(t *testing.T) {
	ingress, route, tcp := names(source.NamesOfIngress), names(source.NamesOfIngressRoute), names(source.NamesOfIngressRouteTCP)
	http, tls := names(source.NamesOfHTTPRoute), names(source.NamesOfTLSRoute)
	match := func(rule string) string { return "{routes: [{match: '" + rule + "'}]}" }
	for name, test := range map[string]struct {
		of   func(*testing.T, string) source.Names
		spec string
		want []string
		open bool
	}{
		"Ingress":                           {ingress, "{rules: [{host: b.is}, {host: a.is}, {host: '*.is.is'}, {host: a.is}]}", []string{"*.is.is", "a.is", "b.is"}, false},
		"Ingress without a host":            {ingress, "{rules: [{host: a.is}, {}]}", []string{"a.is"}, true},
		"Ingress of a default backend":      {ingress, "{defaultBackend: {service: {name: app}}}", nil, true},
		"rule":                              {route, match("Host(`A.is`) && PathPrefix(`/x`)"), []string{"a.is"}, false},
		"rule with a catch-all beside":      {route, match("Host(`a.is`) || PathPrefix(`/x`)"), []string{"a.is"}, true},
		"rule of all hosts but one":         {route, match("!Host(`a.is`)"), nil, true},
		"rule of two grammars":              {route, match("Host(`*.a.is`)"), []string{"*.a.is"}, false},
		"rule of v2":                        {route, match("Host(`a.is`, `b.is`)"), []string{"a.is", "b.is"}, false},
		"rule of a regular expression":      {route, match("HostRegexp(`^a[.]is$`)"), nil, true},
		"rule that nobody reads":            {route, match("Host("), nil, true},
		"wildcard but one":                  {route, "{routes: [{syntax: v3, match: 'Host(`*.a.is`) && !Host(`b.a.is`)'}]}", []string{"*.a.is"}, false},
		"rule of an unknown syntax":         {route, "{routes: [{syntax: v9, match: 'Host(`a.is`)'}]}", nil, true},
		"rule within a parent's":            {route, "{parentRefs: [{name: p}], routes: [{match: 'PathPrefix(`/x`)'}]}", nil, true},
		"server name":                       {tcp, "{tls: {}, routes: [{match: 'HostSNI(`a.is`)'}]}", []string{"a.is"}, false},
		"any server name":                   {tcp, "{tls: {}, routes: [{match: 'HostSNI(`*`)'}]}", nil, true},
		"any server name, without TLS":      {tcp, "{routes: [{match: 'HostSNI(`*`)'}]}", nil, false},
		"HTTPRoute":                         {http, "{hostnames: [b.is, '*.a.is']}", []string{"*.a.is", "b.is"}, false},
		"HTTPRoute of its listeners' hosts": {http, "{}", nil, true},
		"TLSRoute":                          {tls, "{hostnames: [a.is]}", []string{"a.is"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := test.of(t, test.spec); !slices.Equal(got.Hosts, test.want) || got.Open != test.open {
				t.Errorf("it names %+v, want %q, open %v", got, test.want, test.open)
			}
		})
	}
}
