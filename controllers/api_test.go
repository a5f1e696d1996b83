package controllers_test

import (
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
)

// What the API server itself refuses, before usher sees it.
func TestAPIRefusesInvalidObjects(t *testing.T) {
	c := edge(t)
	for _, test := range []struct {
		name, manifest, says string
	}{
		{"a name that is not the host", exposedHost("other.techn.is", "{host: whoami.techn.is}"), "metadata.name must be spec.host"},
		{"a wildcard's name without 'wildcard.'", exposedHost("techn.is", "{host: '*.techn.is'}"), "metadata.name must be spec.host"},
		{"an upper-case host", exposedHost("a.techn.is", "{host: A.techn.is}"), "lower-case ASCII labels"},
		{"an IP address for a host", exposedHost("192.0.2.1", "{host: 192.0.2.1}"), "no IP address"},
		{"a trailing dot", exposedHost("a.techn.is", "{host: a.techn.is.}"), "no trailing dot"},
		{"a wildcard in the middle", exposedHost("a.techn.is", "{host: a.*.techn.is}"), "lower-case ASCII labels"},
		{"a host that ends as an IP address does", exposedHost("app.123", "{host: app.123}"), "IP address"},
		{"a wildcard that ends as an IP address does", exposedHost("wildcard.app.123", "{host: '*.app.123'}"), "IP address"},
		{"a label that encodes nothing", exposedHost("xn--a.techn.is", "{host: xn--a.techn.is}"), "internationalized label"},
		{"a last label that encodes nothing", exposedHost("techn.xn--ab", "{host: techn.xn--ab}"), "internationalized label"},
		{"a wildcard over a top-level domain", exposedHost("wildcard.is", "{host: '*.is'}"), "top-level domain"},
		{"a host that an object's name could not tell from a wildcard", exposedHost("wildcard.techn.is", "{host: wildcard.techn.is}"), "stands for '*'"},
		{"a backend with cluster and address", exposedHost("a.techn.is", "{host: a.techn.is, backends: [{cluster: hades, address: 192.0.2.1}]}"), "exactly one of cluster and address"},
		{"a backend with neither", exposedHost("a.techn.is", "{host: a.techn.is, backends: [{httpsPort: 443}]}"), "exactly one of cluster and address"},
		{"a port beside a cluster", exposedHost("a.techn.is", "{host: a.techn.is, backends: [{cluster: hades, httpsPort: 8443}]}"), "ports go with an address"},
		{"a port out of range", exposedHost("a.techn.is", "{host: a.techn.is, backends: [{address: 192.0.2.1, httpsPort: 70000}]}"), "less than or equal to 65535"},
		{"an address with a port", exposedHost("a.techn.is", "{host: a.techn.is, backends: [{address: '192.0.2.1:443'}]}"), "without a port"},
		{"a client that is no CIDR", exposedHost("a.techn.is", "{host: a.techn.is, allowFrom: [192.168.0.300/16]}"), "not a CIDR"},
		{"exceptions from what is no wildcard", exposedHost("a.techn.is", "{host: a.techn.is, except: [b]}"), "except goes with a wildcard"},
		{"a share of names under what is no wildcard", exposedHost("a.techn.is", "{host: a.techn.is, shareBelow: true}"), "shareBelow goes with a wildcard"},
		{"an exception that is no label", exposedHost("wildcard.techn.is", "{host: '*.techn.is', except: [a.techn.is]}"), "spec.except[0]"},
		{"an unknown mode of plain HTTP", exposedHost("a.techn.is", "{host: a.techn.is, plainHTTP: Maybe}"), "Unsupported value"},
		{"a field that does not exist", exposedHost("a.techn.is", "{host: a.techn.is, mirror: true}"), "mirror"},
		{"an unknown strategy", exposedHost("a.techn.is", "{host: a.techn.is, strategy: Fastest}"), "Unsupported value"},
		{"a weight over 100", exposedHost("a.techn.is", "{host: a.techn.is, backends: [{cluster: hades, weight: 101}]}"), "less than or equal to 100"},
		{"a health check beside a cluster", exposedHost("a.techn.is", "{host: a.techn.is, backends: [{cluster: hades, healthCheck: {type: TCP}}]}"), "healthCheck goes with an address"},
		{"an interval that is too short", exposedHost("a.techn.is", "{host: a.techn.is, backends: [{address: 192.0.2.1, healthCheck: {interval: 10ms}}]}"), "interval is between 1s and 1h"},
		{"a timeout that is too long", exposedHost("a.techn.is", "{host: a.techn.is, backends: [{address: 192.0.2.1, healthCheck: {timeout: 1h}}]}"), "timeout is between 100ms and 1m"},
		{"ports, and TLS denied", exposedHost("a.techn.is", "{host: a.techn.is, ports: [https], tls: Deny, plainHTTP: Forward}"), "tls: Deny refuses TLS on every port"},
		{"a redirect to a port that is not served", exposedHost("a.techn.is", "{host: a.techn.is, ports: [mqtts]}"), "plain HTTP cannot be redirected"},
		{"a port twice", exposedHost("a.techn.is", "{host: a.techn.is, ports: [https, https]}"), "duplicate entries"},
		{"a port by its number", exposedHost("a.techn.is", "{host: a.techn.is, plainHTTP: Deny, ports: ['8883/tcp']}"), "spec.ports[0]"},
		{"too many ports", exposedHost("a.techn.is", "{host: a.techn.is, ports: [https, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15, p16]}"), "at most 16"},
		{"ports beside a cluster", exposedHost("a.techn.is", "{host: a.techn.is, backends: [{cluster: hades, ports: [{name: mqtts, port: 8883}]}]}"), "ports go with an address"},
		{"an address's port https", exposedHost("a.techn.is", "{host: a.techn.is, backends: [{address: 192.0.2.1, ports: [{name: https, port: 8443}]}]}"), "httpsPort is the port"},
		{"a member's port https", memberCluster("{ingress: {ports: [{name: https, port: 8443}]}}"), "httpsPort is the port"},
		{"a member's port without number", memberCluster("{ingress: {ports: [{name: mqtts}]}}"), "ports[0].port"},
		{"a member's port twice", memberCluster("{ingress: {ports: [{name: mqtts, port: 8883}, {name: mqtts, port: 8884}]}}"), "duplicate entries"},
		{"a domain with a wildcard", memberCluster("{allowedDomains: ['*.techn.is']}"), "without '*.'"},
		{"an ingress address with a port", memberCluster("{ingress: {addresses: ['192.0.2.1:443']}}"), "without a port"},
		{"an unknown PROXY protocol", memberCluster("{ingress: {proxyProtocol: V3}}"), "Unsupported value"},
		{"an empty Secret name", memberCluster("{kubeconfig: {secretName: ''}}"), "secretName"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := bed.Cluster("edge").Apply(t.Context(), test.manifest)
			if err == nil {
				t.Fatal("it was accepted")
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("the error does not say %q: %v", test.says, err)
			}
		})
	}
	t.Run("a changed host", func(t *testing.T) {
		eh := &v1alpha1.ExposedHost{Spec: v1alpha1.ExposedHostSpec{Host: "immutable.techn.is"}}
		eh.Name = eh.Spec.Host
		create(t, c, eh)
		err := c.Patch(t.Context(), eh, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"host":"other.techn.is"}}`)))
		if err == nil || !strings.Contains(err.Error(), "host is immutable") {
			t.Errorf("got %v", err)
		}
	})
}

func exposedHost(name, spec string) string {
	return "{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: " + name + "}, spec: " + spec + "}"
}

func memberCluster(spec string) string {
	return "{apiVersion: usher.techn.is/v1alpha1, kind: MemberCluster, metadata: {name: invalid}, spec: " + spec + "}"
}
