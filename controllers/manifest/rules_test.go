package manifest

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/proxy/routing"
)

// TestRulesAreThoseOfTheAPIServer validates the same objects by the API server and by this package.
func TestRulesAreThoseOfTheAPIServer(t *testing.T) {
	host := func(spec string) string { return asObject("ExposedHost", "a.techn.is", spec) }
	cluster := func(spec string) string { return asObject("MemberCluster", "hades", spec) }
	list := func(name, spec string) string { return asObject("NetworkList", name, spec) }
	bed := testbed.New(t, testbed.Options{Clusters: []string{"edge"}})
	edge := bed.Cluster("edge")
	if err := edge.ApplyFiles(t.Context(), "../../config/crd/*.yaml"); err != nil {
		t.Fatal(err)
	}
	api, err := client.New(edge.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"a host":                               host("{host: a.techn.is, backends: [{cluster: hades}]}"),
		"a host without a backend":             host("{host: a.techn.is}"),
		"nulls":                                host("{host: a.techn.is, backends: null, plainHTTP: null, allowFrom: null}"),
		"a host with all fields":               host("{host: a.techn.is, backends: [{address: '::1', httpsPort: 8443, httpPort: 8080}], plainHTTP: Deny, allowFrom: ['2001:db8::/32']}"),
		"a name that is not the host":          host("{host: b.techn.is}"),
		"a wildcard of another name":           host("{host: '*.techn.is'}"),
		"no host":                              host("{}"),
		"no spec":                              "{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: a.techn.is}}",
		"an address for a host":                asObject("ExposedHost", "10.0.0.1", "{host: 10.0.0.1}"),
		"a name in upper case":                 asObject("ExposedHost", "A.techn.is", "{host: A.techn.is}"),
		"a host that is too long":              host("{host: " + strings.Repeat("a", 254) + "}"),
		"a host that is a number":              host("{host: 7}"),
		"an unknown field":                     host("{host: a.techn.is, hosts: []}"),
		"an unknown field of a backend":        host("{host: a.techn.is, backends: [{cluster: hades, port: 443}]}"),
		"a backend with cluster and address":   host("{host: a.techn.is, backends: [{cluster: hades, address: 10.0.0.1}]}"),
		"an empty backend":                     host("{host: a.techn.is, backends: [{}]}"),
		"a cluster's port":                     host("{host: a.techn.is, backends: [{cluster: hades, httpsPort: 443}]}"),
		"an address with a port":               host("{host: a.techn.is, backends: [{address: '10.0.0.1:443'}]}"),
		"port 0":                               host("{host: a.techn.is, backends: [{address: 10.0.0.1, httpsPort: 0}]}"),
		"a fractional port":                    host("{host: a.techn.is, backends: [{address: 10.0.0.1, httpsPort: 1.5}]}"),
		"an integer port with a decimal point": host("{host: a.techn.is, backends: [{address: 10.0.0.1, httpsPort: 443.0}]}"),
		"seventeen backends":                   host("{host: a.techn.is, backends: [" + strings.Repeat("{cluster: hades},", 17) + "]}"),
		"an unknown value of plainHTTP":        host("{host: a.techn.is, plainHTTP: Maybe}"),
		"an address for a CIDR":                host("{host: a.techn.is, allowFrom: [10.0.0.1]}"),
		"a CIDR twice":                         host("{host: a.techn.is, allowFrom: [10.0.0.0/8, 10.0.0.0/8]}"),
		"a list by name":                       host("{host: a.techn.is, allowFrom: ['@family', '@a&@b&10.0.0.0/8', '@a&@b&@c&@d']}"),
		"a list without a name":                host("{host: a.techn.is, allowFrom: ['@']}"),
		"two marks":                            host("{host: a.techn.is, allowFrom: ['@@a']}"),
		"a path":                               host("{host: a.techn.is, allowFrom: ['@../a']}"),
		"a list in capitals":                   host("{host: a.techn.is, allowFrom: ['@A']}"),
		"a list and a word":                    host("{host: a.techn.is, allowFrom: ['@a&b']}"),
		"a list and nothing":                   host("{host: a.techn.is, allowFrom: ['@a&']}"),
		"a list after a CIDR":                  host("{host: a.techn.is, allowFrom: ['10.0.0.0/8&@a']}"),
		"two CIDRs in one entry":               host("{host: a.techn.is, allowFrom: ['@a&10.0.0.0/8&10.0.0.0/8']}"),
		"five lists in one entry":              host("{host: a.techn.is, allowFrom: ['@a&@b&@c&@d&@e']}"),
		"five lists and a CIDR":                host("{host: a.techn.is, allowFrom: ['@a&@b&@c&@d&@e&10.0.0.0/8']}"),
		"an empty entry":                       host("{host: a.techn.is, allowFrom: ['']}"),
		"the longest entry":                    host("{host: a.techn.is, allowFrom: ['" + strings.Repeat("@"+strings.Repeat("a", 63)+"&", 4) + "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128']}"),
		"a list of networks":                   list("family", "{networks: [10.0.0.0/8, '2001:db8::/32']}"),
		"a list of every address":              list("world", "{networks: [0.0.0.0/0, '::/0']}"),
		"a list of no networks":                list("family", "{networks: []}"),
		"a list of null":                       list("family", "{networks: null}"),
		"a list of nothing":                    list("family", "{}"),
		"a list of a list":                     list("family", "{networks: ['@a']}"),
		"a list of a name":                     list("family", "{networks: [home.lan]}"),
		"a list of an address":                 list("family", "{networks: [10.0.0.1]}"),
		"a list of IPv4 in IPv6":               list("family", "{networks: ['::ffff:10.0.0.0/104']}"),
		"a list of too many networks":          list("family", "{networks: ["+strings.Repeat("10.0.0.0/8,", 257)+"]}"),
		"a list with a dot":                    list("a.b", "{networks: [10.0.0.0/8]}"),
		"a list with 63 letters":               list(strings.Repeat("a", 63), "{networks: [10.0.0.0/8]}"),
		"a list with 64 letters":               list(strings.Repeat("a", 64), "{networks: [10.0.0.0/8]}"),
		"a cluster":                            cluster("{}"),
		"a cluster with a kubeconfig":          cluster("{kubeconfig: {secretName: hades}}"),
		"a kubeconfig without a Secret":        cluster("{kubeconfig: {key: config}}"),
		"a cluster with all fields":            cluster("{ingress: {addresses: [192.168.1.10], httpsPort: 8443, proxyProtocol: V2}, ingressClasses: [traefik], allowedDomains: [techn.is]}"),
		"an ingress address with a port":       cluster("{ingress: {addresses: ['192.168.1.10:443']}}"),
		"an ingress address twice":             cluster("{ingress: {addresses: [192.168.1.10, 192.168.1.10]}}"),
		"a domain with a dot at its end":       cluster("{allowedDomains: [techn.is.]}"),
		"a name that is too long":              asObject("MemberCluster", strings.Repeat("a", 64), "{}"),
		"an unknown PROXY protocol":            cluster("{ingress: {proxyProtocol: V3}}"),
		"an unknown field of the cluster":      cluster("{ingress: {address: 192.168.1.10}}"),
	} {
		t.Run(name, func(t *testing.T) {
			theirs := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(text), &theirs.Object); err != nil {
				t.Fatal(err)
			}
			theirErr := api.Create(t.Context(), theirs, client.DryRunAll, client.FieldValidation("Strict"))
			ours, ourErr := readText(t, "x.yaml", text)
			if (theirErr == nil) != (ourErr == nil) {
				t.Fatalf("the API server says %v; the file reader says %v", theirErr, ourErr)
			}
			if theirErr != nil {
				compareErrors(t, theirErr, ourErr)
				return
			}
			if spec := specOf(t, ours); !reflect.DeepEqual(spec, theirs.Object["spec"]) {
				t.Errorf("the API server makes it\n%v\nthe file reader\n%v", theirs.Object["spec"], spec)
			}
		})
	}
}

// asObject returns a manifest with the spec, on one line.
func asObject(kind, name, spec string) string {
	return "{apiVersion: usher.techn.is/v1alpha1, kind: " + kind + ", metadata: {name: " + name + "}, spec: " + spec + "}"
}

// compareErrors checks that our error has each field and reason of the API server's.
func compareErrors(t *testing.T, theirs, ours error) {
	t.Helper()
	var status *apierrors.StatusError
	if !errors.As(theirs, &status) || status.ErrStatus.Details == nil {
		return // a strict decoding error, which is one line of text
	}
	for _, cause := range status.ErrStatus.Details.Causes {
		want := cause.Field + ": " + cause.Message
		if cause.Field == "<nil>" { // the object as a whole
			want = strings.TrimPrefix(strings.TrimPrefix(cause.Message, "Invalid value: "), `"": `)
		}
		if cause.Type == metav1.CauseTypeTypeInvalid { // ours says how to write the value
			want = cause.Field + ": Invalid value: "
		}
		if !strings.Contains(want, "some validation rules were not checked") && !strings.Contains(ours.Error(), want) {
			t.Errorf("the file reader says\n%v\nwithout\n%s", ours, want)
		}
	}
}

// specOf returns the spec of the only object.
func specOf(t *testing.T, o objects) any {
	t.Helper()
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(asItems(o)[0])
	if err != nil {
		t.Fatal(err)
	}
	return object["spec"]
}

// The schema refuses each host that routing.ParseHost refuses, except for
// internationalized labels, which only a decoder can check. Hosts that it accepts have
// different names.
func TestTheSchemaAgreesWithTheParserOfHosts(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	pieces := []string{"*", ".", ".", ".", "-", "a", "b2", "1", "23", "xn--", "xn--bcher-kva", "_", "A", "techn", "is", "wildcard", ":", strings.Repeat("c", 62)}
	accepted := 0
	for range 3000 {
		var host strings.Builder
		for range 1 + random.IntN(7) {
			host.WriteString(pieces[random.IntN(len(pieces))])
		}
		h := host.String()
		name := v1alpha1.NameOfHost(h)
		err := validate(t.Context(), kindExposedHost, map[string]any{
			"apiVersion": v1alpha1.GroupVersion.String(), "kind": kindExposedHost,
			"metadata": map[string]any{"name": name}, "spec": map[string]any{"host": h},
		})
		if err != nil {
			continue
		}
		accepted++
		if v1alpha1.HostOfName(name) != h {
			t.Errorf("the schema accepts %q, whose object name is another host's", h)
		}
		if canonical, err := routing.ParseHost(h); (err != nil || canonical != h) && !strings.Contains(h, "xn--") {
			t.Errorf("the schema accepts %q; the parser returns %q, %v", h, canonical, err)
		}
	}
	if accepted < 50 {
		t.Errorf("the schema accepted only %d hosts", accepted)
	}
}
