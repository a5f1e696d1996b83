package source_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jovalle/usher/controllers/source"
)

// rule is a rule of an Ingress for one host.
func rule(host string) string {
	return fmt.Sprintf("{host: %q, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}}", host)
}

func TestFromIngress(t *testing.T) {
	one := "spec: {rules: [" + rule("a.techn.is") + "]}"
	runSourceTests(t, source.KindIngress, hades, []sourceTest{
		{"a host", exposed + one, "a.techn.is []"},
		{"without the annotation", "metadata: {namespace: apps, name: whoami}\n" + one, "[]"},
		{"another value of the annotation is no", `metadata: {annotations: {usher.techn.is/expose: "True"}}` + "\n" + one, "[]"},
		{"yes is no, too", `metadata: {annotations: {usher.techn.is/expose: "yes"}}` + "\n" + one, "[]"},
		{"cert-manager's solver never claims", `metadata: {annotations: {usher.techn.is/expose: "true"}, labels: {acme.cert-manager.io/http01-solver: "true"}}` + "\n" + one, "[]"},
		{"many hosts", exposed + "spec: {rules: [" + rule("b.techn.is") + "," + rule("a.techn.is") + "]}", "a.techn.is b.techn.is []"},
		{"a host twice is claimed once", exposed + "spec: {rules: [" + rule("a.techn.is") + "," + rule("a.techn.is") + "]}", "a.techn.is []"},
		{"a wildcard", exposed + "spec: {rules: [" + rule("*.techn.is") + "]}", "*.techn.is []"},
		{"a rule without a host", exposed + "spec: {rules: [" + rule("") + "," + rule("a.techn.is") + "]}", "a.techn.is [UnknownHosts]"},
		{"a default backend alone", exposed + "spec: {defaultBackend: {service: {name: app, port: {number: 80}}}}", "[UnknownHosts]"},
		{"a rule without paths", exposed + "spec: {rules: [{host: a.techn.is}," + rule("b.techn.is") + "]}", "b.techn.is [RuleInvalid]"},
		{"a host that is not one", exposed + "spec: {rules: [" + rule("10.0.0.1") + "," + rule("b.techn.is") + "]}", "b.techn.is [HostInvalid]"},
		{"a host in a spelling that nobody asks for", exposed + "spec: {rules: [" + rule("A.techn.is") + "]}", "[HostInvalid]"},
		{"a host that no object can be named after", exposed + "spec: {rules: [" + rule("a_b.techn.is") + "," + rule("wildcard.techn.is") + "]}", "[HostInvalid HostInvalid]"},
	})
}

func TestHostsAnnotation(t *testing.T) {
	hosts := func(list string) string { return meta(fmt.Sprintf("usher.techn.is/hosts: %q", list)) }
	two := "spec: {rules: [" + rule("a.techn.is") + "," + rule("*.b.techn.is") + "]}"
	every := "spec: {rules: [" + rule("") + "]}"
	runSourceTests(t, source.KindIngress, hades, []sourceTest{
		{"narrows to one of the hosts", hosts("a.techn.is") + two, "a.techn.is []"},
		{"narrows a wildcard to a name", hosts("x.b.techn.is") + two, "x.b.techn.is []"},
		{"keeps a wildcard", hosts("*.b.techn.is") + two, "*.b.techn.is []"},
		{"names the hosts of a rule that does not", hosts("a.techn.is, b.techn.is") + every, "a.techn.is b.techn.is []"},
		{"names a wildcard of it", hosts("*.techn.is") + every, "*.techn.is []"},
		{"a name that no rule covers is refused by itself", hosts("a.techn.is,c.techn.is") + two, "a.techn.is c.techn.is=HostNotCovered []"},
		{"a name two labels below a wildcard", hosts("x.y.b.techn.is") + two, "x.y.b.techn.is=HostNotCovered []"},
		{"a wildcard over what is but a name", hosts("*.techn.is") + two, "*.techn.is=HostNotCovered []"},
		{"people's spelling", hosts(" A.Techn.is. ,Bücher.b.techn.is") + two, "a.techn.is xn--bcher-kva.b.techn.is []"},
		{"a name twice", hosts("a.techn.is,A.techn.is") + two, "a.techn.is []"},
		{"a name that is not one is refused by itself", hosts("a.techn.is,https://b.techn.is") + two, "a.techn.is [AnnotationInvalid]"},
		{"an empty item", hosts("a.techn.is,") + two, "a.techn.is [AnnotationInvalid]"},
		{"an empty list is not the same as none", hosts("") + two, "[AnnotationInvalid]"},
	})
}

func TestOtherAnnotations(t *testing.T) {
	one := "spec: {rules: [" + rule("a.techn.is") + "]}"
	runSourceTests(t, source.KindIngress, hades, []sourceTest{
		{"plain-http in upper case", meta("usher.techn.is/plain-http: Redirect") + one, "a.techn.is=AnnotationInvalid []"},
		{"plain-http empty", meta(`usher.techn.is/plain-http: ""`) + one, "a.techn.is=AnnotationInvalid []"},
		{"allow-from empty is not everyone", meta(`usher.techn.is/allow-from: ""`) + one, "a.techn.is=AnnotationInvalid []"},
		{"allow-from with an empty item", meta(`usher.techn.is/allow-from: "10.0.0.0/8,"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"allow-from with an address", meta(`usher.techn.is/allow-from: "10.0.0.1"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"allow-from with a longer address than its prefix", meta(`usher.techn.is/allow-from: "192.168.1.5/24"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"allow-from with IPv4 in IPv6", meta(`usher.techn.is/allow-from: "::ffff:10.0.0.0/104"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"allow-from with a name and a CIDR", meta(`usher.techn.is/allow-from: "@family, 10.0.0.0/8"`) + one, "a.techn.is []"},
		{"allow-from with a name that has no @", meta(`usher.techn.is/allow-from: "family"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"allow-from with an empty name", meta(`usher.techn.is/allow-from: "@"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"allow-from with two marks", meta(`usher.techn.is/allow-from: "@@family"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"allow-from with a path", meta(`usher.techn.is/allow-from: "@../family"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"allow-from with a capital", meta(`usher.techn.is/allow-from: "@Family"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"allow-from with a name that is too long", meta(`usher.techn.is/allow-from: "@`+strings.Repeat("a", 64)+`"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"allow-from with a combination", meta(`usher.techn.is/allow-from: "@family&10.0.0.0/8"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"allow-from with a name beside a malformed one", meta(`usher.techn.is/allow-from: "@family,@"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"an annotation that is mistyped", meta(`usher.techn.is/allow-form: "10.0.0.0/8"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"share true", meta(`usher.techn.is/share: "true"`) + one, "a.techn.is []"},
		{"share false", meta(`usher.techn.is/share: "false"`) + one, "a.techn.is []"},
		{"share empty", meta(`usher.techn.is/share: ""`) + one, "a.techn.is=AnnotationInvalid []"},
		{"share in upper case", meta(`usher.techn.is/share: "True"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"share with a cluster", meta(`usher.techn.is/share: illmatic`) + one, "a.techn.is=AnnotationInvalid []"},
		{"strategy", meta(`usher.techn.is/strategy: RoundRobin`) + one, "a.techn.is []"},
		{"strategy in lower case", meta(`usher.techn.is/strategy: leastconnections`) + one, "a.techn.is []"},
		{"strategy empty", meta(`usher.techn.is/strategy: ""`) + one, "a.techn.is=AnnotationInvalid []"},
		{"strategy unknown", meta(`usher.techn.is/strategy: Random`) + one, "a.techn.is=AnnotationInvalid []"},
		{"strategy with a space", meta(`usher.techn.is/strategy: "Failover "`) + one, "a.techn.is=AnnotationInvalid []"},
		{"weight 0", meta(`usher.techn.is/weight: "0"`) + one, "a.techn.is []"},
		{"weight 100", meta(`usher.techn.is/weight: "100"`) + one, "a.techn.is []"},
		{"weight 101", meta(`usher.techn.is/weight: "101"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"weight negative", meta(`usher.techn.is/weight: "-1"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"weight with a sign", meta(`usher.techn.is/weight: "+1"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"weight in hexadecimal", meta(`usher.techn.is/weight: "0x10"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"weight empty", meta(`usher.techn.is/weight: ""`) + one, "a.techn.is=AnnotationInvalid []"},
		{"weight in per cent", meta(`usher.techn.is/weight: "10%"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"weight that overflows", meta(`usher.techn.is/weight: "4294967297"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"share-below true", meta(`usher.techn.is/share-below: "true"`) + one, "a.techn.is []"},
		{"share-below false", meta(`usher.techn.is/share-below: "false"`) + one, "a.techn.is []"},
		{"share-below empty", meta(`usher.techn.is/share-below: ""`) + one, "a.techn.is=AnnotationInvalid []"},
		{"share-below in upper case", meta(`usher.techn.is/share-below: "True"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"share-below with a space", meta(`usher.techn.is/share-below: "true "`) + one, "a.techn.is=AnnotationInvalid []"},
		{"share-below with a list of clusters", meta(`usher.techn.is/share-below: "hades"`) + one, "a.techn.is=AnnotationInvalid []"},
		{"a malformed annotation and no host to hang it on", meta("usher.techn.is/plain-http: no") + "spec: {rules: [" + rule("") + "]}", "[UnknownHosts AnnotationInvalid]"},
		{"a malformed annotation gives no say over a host that is not covered", meta("usher.techn.is/plain-http: no", "usher.techn.is/hosts: b.techn.is") + one, "b.techn.is=HostNotCovered []"},
		{"others' annotations are not usher's", meta("techn.is/hosts: x", "cert-manager.io/cluster-issuer: y") + one, "a.techn.is []"},
	})
}

func TestListsAreBounded(t *testing.T) {
	list := "a.techn.is"
	for range 300 {
		list += ",a.techn.is"
	}
	one := "spec: {rules: [" + rule("a.techn.is") + "]}"
	runSourceTests(t, source.KindIngress, hades, []sourceTest{
		{"hosts", meta("usher.techn.is/hosts: \""+list+"\"") + one, "a.techn.is=AnnotationInvalid []"},
		{"allow-from", meta("usher.techn.is/allow-from: \""+list+"\"") + one, "a.techn.is=AnnotationInvalid []"},
	})
}

func TestOptions(t *testing.T) {
	tests := []struct {
		name        string
		annotations []string
		want        source.Options
	}{
		{"the defaults", nil, source.Options{PlainHTTP: "Redirect"}},
		{"redirect", []string{"usher.techn.is/plain-http: redirect"}, source.Options{PlainHTTP: "Redirect"}},
		{"forward", []string{"usher.techn.is/plain-http: forward"}, source.Options{PlainHTTP: "Forward"}},
		{"deny", []string{"usher.techn.is/plain-http: deny"}, source.Options{PlainHTTP: "Deny"}},
		{
			"clients, sorted and each once",
			[]string{`usher.techn.is/allow-from: "2001:DB8::/32, 192.168.0.0/16,10.1.2.3/32 , 192.168.0.0/16"`},
			source.Options{PlainHTTP: "Redirect", AllowFrom: []string{"10.1.2.3/32", "192.168.0.0/16", "2001:db8::/32"}},
		},
		{
			"lists of networks and clients",
			[]string{`usher.techn.is/allow-from: "@vpn,@family , 192.168.0.0/16,@vpn"`},
			source.Options{PlainHTTP: "Redirect", AllowFrom: []string{"192.168.0.0/16", "@family", "@vpn"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			result := translate(t, source.KindIngress, meta(test.annotations...)+"spec: {rules: ["+rule("a.techn.is")+"]}", hades)
			if len(result.Claims) != 1 || !result.Claims[0].Options.Equal(test.want) {
				t.Errorf("claims are %+v, want one with %+v", result.Claims, test.want)
			}
		})
	}
}

func TestIngressClasses(t *testing.T) {
	only := hades
	only.IngressClasses = []string{"traefik", "internal"}
	rules := "rules: [" + rule("a.techn.is") + "," + rule("b.techn.is") + "]}"
	runSourceTests(t, source.KindIngress, only, []sourceTest{
		{"one that is allowed", exposed + "spec: {ingressClassName: internal, " + rules, "a.techn.is b.techn.is []"},
		{"another, refused on each host", exposed + "spec: {ingressClassName: nginx, " + rules, "a.techn.is=IngressClass b.techn.is=IngressClass []"},
		{"none", exposed + "spec: {" + rules, "a.techn.is b.techn.is []"},
		{"by the old annotation", meta("kubernetes.io/ingress.class: nginx") + "spec: {" + rules, "a.techn.is=IngressClass b.techn.is=IngressClass []"},
		{"the field wins over the old annotation", meta("kubernetes.io/ingress.class: nginx") + "spec: {ingressClassName: traefik, " + rules, "a.techn.is b.techn.is []"},
		{"the class is asked first", meta("usher.techn.is/plain-http: no") + "spec: {ingressClassName: nginx, " + rules, "a.techn.is=IngressClass b.techn.is=IngressClass []"},
	})

	only.DefaultIngressClass = "nginx"
	runSourceTests(t, source.KindIngress, only, []sourceTest{
		{"none belongs to the cluster's default", exposed + "spec: {" + rules, "a.techn.is=IngressClass b.techn.is=IngressClass []"},
		{"one that is allowed, beside another default", exposed + "spec: {ingressClassName: traefik, " + rules, "a.techn.is b.techn.is []"},
	})

	runSourceTests(t, source.KindIngress, hades, []sourceTest{
		{"any, where the cluster does not say", exposed + "spec: {ingressClassName: nginx, " + rules, "a.techn.is b.techn.is []"},
	})
}

func TestClaimsSayWhoseTheyAre(t *testing.T) {
	manifest := `metadata: {namespace: apps, name: whoami, creationTimestamp: "2026-01-02T03:04:05Z", annotations: {usher.techn.is/expose: "true"}}
spec: {rules: [` + rule("a.techn.is") + "]}"
	result := translate(t, source.KindIngress, manifest, hades)
	if len(result.Claims) != 1 {
		t.Fatalf("claims are %+v, want one", result.Claims)
	}
	c := result.Claims[0]
	if got := fmt.Sprint(c.Source, c.Created); got != "{hades Ingress apps whoami} 2026-01-02 03:04:05 +0000 UTC" {
		t.Errorf("the claim is of %s", got)
	}
}
