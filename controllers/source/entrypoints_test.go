package source_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// withPorts is a cluster whose ports lead to entry points of Traefik; that of dot is unknown.
var withPorts = source.Context{
	Cluster: "hades", RuleSyntax: traefikrule.V3,
	HTTPSEntryPoints: []string{"websecure"}, HTTPEntryPoints: []string{"web"},
	Ports: []source.Port{{Name: "mqtts", EntryPoints: []string{"mqtt-secure"}}, {Name: "ldaps", EntryPoints: []string{"ldaps"}}, {Name: "dot"}},
}

// portsOf is a result in a line: the ports of its first claim, what plain HTTP does, and the
// refused ports with their reasons; or why the claim is refused.
func portsOf(r source.Result) string {
	c := r.Claims[0]
	if c.Refusal != nil {
		return "refused=" + c.Refusal.Reason
	}
	words := c.Options.TLSPorts()
	words = append(slices.Clone(words), "plain="+string(c.Options.PlainHTTP))
	if refused := c.RefusedPorts; refused != nil {
		words = append(words, strings.Join(refused.Names, "+")+"="+refused.First.Reason)
	}
	return strings.Join(words, " ")
}

func TestPorts(t *testing.T) {
	isolated := withPorts
	isolated.Isolation = &v1alpha1.Isolation{TLSOptions: v1alpha1.TLSOptionsRef{Namespace: "traefik", Name: "exposed"}}
	const none, forward = "", "forward"
	tooMany := "https"
	for i := range v1alpha1.MaxPorts {
		tooMany += fmt.Sprintf(",p%d", i)
	}
	for _, tt := range []struct {
		name, entryPoints, ports, plain string
		in                              source.Context
		want                            string
	}{
		{"https by default", "websecure", none, none, withPorts, "https plain=Redirect"},
		{"https by name", "websecure", "https", none, withPorts, "https plain=Redirect"},
		{"a port alone, which says nothing of plain HTTP", "mqtt-secure", "mqtts", none, withPorts, "mqtts plain="},
		{"a port alone, with plain HTTP", "mqtt-secure", "mqtts", forward, withPorts, "mqtts plain=Forward"},
		{"several, in any order, one of them twice", "mqtt-secure, websecure", "mqtts,https , mqtts", none, withPorts, "https mqtts plain=Redirect"},
		{"without entry points it is on the default ones", none, "https, mqtts", none, withPorts, "https mqtts plain=Redirect"},
		{"one good, one that the member lacks", "websecure", "https, smtps", none, withPorts, "https plain=Redirect smtps=PortUnknown"},
		{"one good, one on another entry point", "websecure", "https, mqtts", none, withPorts, "https plain=Redirect mqtts=EntryPoint"},
		{"https is the bad one: there is nothing to redirect to", "mqtt-secure", "https, mqtts", none, withPorts, "mqtts plain= https=EntryPoint"},
		{"an unknown entry point", "anything", "dot", none, withPorts, "dot plain="},
		{"no good one", "ldaps", "mqtts", none, withPorts, "refused=EntryPoint"},
		{"none that the member has", "websecure", "smtps", none, withPorts, "refused=PortUnknown"},
		{"on another port, without asking for it", "mqtt-secure", none, none, withPorts, "refused=EntryPoint"},
		{"on plain HTTP only", "web", none, forward, withPorts, "plain=Forward"},
		{"on plain HTTP only, and a port that it is not on", "web", "https, mqtts", forward, withPorts, "plain=Forward mqtts=EntryPoint"},
		{"on plain HTTP only, but another port is requested", "web", "mqtts", forward, withPorts, "refused=EntryPoint"},
		{"on plain HTTP and a port", "web, mqtt-secure", "mqtts", forward, withPorts, "mqtts plain=Forward"},
		{"a cluster without ports", "websecure", "mqtts", none, hades, "refused=PortUnknown"},
		{"a redirect to nowhere", "mqtt-secure", "mqtts", "redirect", withPorts, "refused=AnnotationInvalid"},
		{"no name", "websecure", " ", none, withPorts, "refused=AnnotationInvalid"},
		{"an empty name", "websecure", "https,", none, withPorts, "refused=AnnotationInvalid"},
		{"a number", "websecure", "https 8883", none, withPorts, "refused=AnnotationInvalid"},
		{"upper case", "websecure", "HTTPS", none, withPorts, "refused=AnnotationInvalid"},
		{"too many", "websecure", tooMany, none, withPorts, "refused=AnnotationInvalid"},
		{"isolated, on the entry point", "mqtt-secure", "mqtts", none, isolated, "mqtts plain="},
		{"isolated, on default entry points", none, "mqtts", none, isolated, "refused=NotIsolated"},
		{"isolated, on default entry points, and https", none, "https, mqtts", none, isolated, "https plain=Redirect mqtts=NotIsolated"},
		{"isolated, an unknown entry point", "anything", "dot", none, isolated, "refused=NotIsolated"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var annotations []string
			if tt.ports != none {
				annotations = append(annotations, fmt.Sprintf("usher.techn.is/ports: %q", tt.ports))
			}
			if tt.plain != none {
				annotations = append(annotations, "usher.techn.is/plain-http: "+tt.plain)
			}
			manifest := meta(annotations...) + fmt.Sprintf("spec: {entryPoints: [%s], tls: {passthrough: true}, routes: [{match: HostSNI(`a.techn.is`)}]}", tt.entryPoints)
			result := translate(t, source.KindIngressRouteTCP, manifest, tt.in)
			if got := portsOf(result); got != tt.want {
				t.Errorf("%s\n becomes %s, want %s\n%+v", manifest, got, tt.want, result)
			}
			checkMessages(t, result)
		})
	}
}

// Routes of the Gateway API have no entry points: their ports are those that the member has,
// and none of them where the cluster is isolated.
func TestPortsOfGatewayRoutes(t *testing.T) {
	in := gatewayContext(t)
	in.Ports = withPorts.Ports
	manifest := meta(`usher.techn.is/ports: "https, mqtts, smtps"`) + accepted("{name: tls}", "a.techn.is")[len(exposed):]
	if got, want := portsOf(translate(t, source.KindTLSRoute, manifest, in)), "https mqtts plain=Redirect smtps=PortUnknown"; got != want {
		t.Errorf("it becomes %s, want %s", got, want)
	}
	in.Isolation = &v1alpha1.Isolation{TLSOptions: v1alpha1.TLSOptionsRef{Namespace: "traefik", Name: "exposed"}}
	if got, want := portsOf(translate(t, source.KindTLSRoute, manifest, in)), "https plain=Redirect mqtts+smtps=NotIsolated"; got != want {
		t.Errorf("isolated it becomes %s, want %s", got, want)
	}
}

// A router on the entry point of another port takes TLS connections from usher, and its TLS
// options count.
func TestRoutersOnOtherPortsAreIsolated(t *testing.T) {
	in := withPorts
	in.Isolation = &v1alpha1.Isolation{TLSOptions: v1alpha1.TLSOptionsRef{Namespace: "traefik", Name: "exposed"}}
	in.Ports = in.Ports[:2]
	mark := func(entryPoint string) source.TLSMark {
		route := decode[traefik.IngressRoute](t, exposed+"spec: {entryPoints: ["+entryPoint+"], tls: {}, routes: [{match: Host(`a.techn.is`)}]}")
		return source.TLSOfIngressRoute(route, in)
	}
	for entryPoint, plain := range map[string]bool{"websecure": false, "mqtt-secure": false, "ldaps": false, "web": true, "metrics": true} {
		if got := mark(entryPoint); got.Plain != plain || got.Isolated() {
			t.Errorf("on %s it is %+v", entryPoint, got)
		}
	}
	in.Ports = withPorts.Ports // that of dot is unknown, and so may be any of them
	if got := mark("metrics"); got.Plain {
		t.Errorf("with an unknown entry point it is %+v", got)
	}
}

func TestPortsOfTheService(t *testing.T) {
	spec := []v1alpha1.IngressPort{
		{BackendPort: v1alpha1.BackendPort{Name: "mqtts", Port: 8883}},
		{BackendPort: v1alpha1.BackendPort{Name: "ldaps", Port: 636}, EntryPoint: "ldap"},
		{BackendPort: v1alpha1.BackendPort{Name: "dot", Port: 853}},
	}
	got := fmt.Sprint(source.PortsOf(spec, map[int32][]string{8883: {"mqtt-secure"}, 636: {"ignored"}}))
	if want := "[{mqtts [mqtt-secure]} {ldaps [ldap]} {dot []}]"; got != want {
		t.Errorf("the ports are %s, want %s", got, want)
	}
}
