package source_test

import (
	"testing"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// Traefik gives connections that a TCP router does not take to its HTTP routers, where a
// client may ask for any host.
func TestIngressRouteTCPThatTakesPartOfTheConnections(t *testing.T) {
	isolation := &v1alpha1.Isolation{TLSOptions: v1alpha1.TLSOptionsRef{Namespace: "traefik", Name: "exposed"}}
	for name, test := range map[string]struct {
		match              string
		entryPoints, https []string
		isolated           bool
	}{
		"all of a host":                      {"HostSNI(`a.techn.is`)", nil, nil, true},
		"on the entry point of usher":        {"HostSNI(`a.techn.is`)", []string{"websecure"}, []string{"websecure"}, true},
		"on an entry point, usher's unknown": {"HostSNI(`a.techn.is`)", []string{"other"}, nil, false},
		"of one protocol":                    {"HostSNI(`a.techn.is`) && ALPN(`acme-tls/1`)", nil, nil, false},
		"of some clients":                    {"HostSNI(`a.techn.is`) && ClientIP(`10.0.0.0/8`)", nil, nil, false},
	} {
		route := &traefik.IngressRouteTCP{Spec: traefik.IngressRouteTCPSpec{
			EntryPoints: test.entryPoints, TLS: &traefik.TLSTCP{Passthrough: true}, Routes: []traefik.RouteTCP{{Match: test.match}},
		}}
		mark := source.TLSOfIngressRouteTCP(route, source.Context{Isolation: isolation, HTTPSEntryPoints: test.https})
		if mark.Isolated() != test.isolated {
			t.Errorf("%s: isolated is %v, want %v", name, mark.Isolated(), test.isolated)
		}
		if !mark.Keeps("traefik-exposed") {
			t.Errorf("%s: the object changes the TLS options of other objects of the host", name)
		}
	}
}
