package traefikrule_test

import (
	"slices"
	"testing"

	"github.com/jovalle/usher/controllers/source/traefikrule"
)

func TestDomains(t *testing.T) {
	for rule, want := range map[string][]string{
		"Host(`b.x`) || Host(`A.x`)":                        {"a.x", "b.x"},
		"Host(`a.x`,`b.x`) && PathPrefix(`/`)":              {"a.x", "b.x"},
		"Host(`*.x`)":                                       {"*.x"},
		"Host(`a.x`) && !Host(`b.x`)":                       {"a.x"},
		"!(Host(`a.x`) || !Host(`b.x`))":                    {"b.x"},
		"HostRegexp(`^a\\.x$`) || PathPrefix(`/`)":          nil,
		"HOST(`a.x`) && HostHeader(`b.x`) && Method(`GET`)": {"a.x"},
		"Host(`a.x`": nil,
		"":           nil,
	} {
		if got := traefikrule.Domains(rule); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", rule, got, want)
		}
	}
}

func TestHostsAlone(t *testing.T) {
	for rule, want := range map[string]bool{
		"HostSNI(`a.x`)": true,
		"HostSNI(`a.x`) || !HostSNIRegexp(`^b\\.x$`)":    true,
		"HostSNI(`a.x`,`b.x`)":                           true,
		"HostSNI(`a.x`) && ALPN(`acme-tls/1`)":           false,
		"HostSNI(`a.x`) && !ClientIP(`10.0.0.0/8`)":      false,
		"HostSNI(`a.x`) || hostsni(`b.x`) && alpn(`h2`)": false,
		"HostSNI(`a.x`": false,
		"":              false,
	} {
		if got := traefikrule.HostsAlone(rule); got != want {
			t.Errorf("%s: %v, want %v", rule, got, want)
		}
	}
}
