package chart

import (
	"strings"
	"testing"
)

// An invalid value ends the installation with a message that names the value and what is allowed.
func TestInvalidValuesAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		value string
		says  []string
	}{
		"an unknown value":            {"replica=2", []string{"replica"}},
		"an unknown value of a part":  {"proxy.httpPorts=80", []string{"/proxy", "httpPorts"}},
		"an unknown mode":             {"mode=Split", []string{"/mode", "'single'", "'split'"}},
		"an unknown network":          {"network=hostNetwork", []string{"/network", "'HostNetwork'", "'HostPort'", "'LoadBalancer'"}},
		"a port that is none":         {"proxy.httpsPort=70000", []string{"/proxy/httpsPort", "65,535"}},
		"a port that is a word":       {"proxy.httpsPort=https", []string{"/proxy/httpsPort", "integer"}},
		"a flag without dashes":       {"proxy.extraArgs={idle-timeout=2h}", []string{"/proxy/extraArgs/0", "^--"}},
		"an admin port without colon": {"adminListen=8080x", []string{"/adminListen"}},
		"an admin host's name":        {"adminListen=localhost:8080", []string{"/adminListen"}},
		"an admin port of TLS":        {"adminListen=192.168.1.2:443", []string{"proxy.httpsPort, proxy.httpPort, adminListen and tlsPorts need a port each, and are 443, 80, 443"}},
		"one port for TLS and HTTP":   {"proxy.httpPort=443", []string{"need a port each, and are 443, 443, 8080"}},
		"one port for two names":      {"tlsPorts.mqtts.port=443", []string{"need a port each, and are 443, 80, 8080, 443"}},
		"a TLS port without number":   {"tlsPorts.mqtts.hostPort=8883", []string{"/tlsPorts/mqtts", "port"}},
		"a TLS port named https":      {"tlsPorts.https.port=8883", []string{"invalid propertyName 'https'"}},
		"a name that Kubernetes bars": {"tlsPorts.mqtt_s.port=8883", []string{"invalid propertyName 'mqtt_s'"}},
		"a cluster's port https":      {"clusters.hades.ingress.ports[0].name=https", []string{"/clusters/hades/ingress/ports/0"}},
		"a grace that is negative":    {"handoverGraceSeconds=-1", []string{"/handoverGraceSeconds"}},
		"no time to drain":            {"proxy.drainSeconds=0", []string{"/proxy/drainSeconds"}},
		"IPv4 written as IPv6":        {"proxy.proxyProtocolFrom={::ffff:10.0.0.0/104}", []string{"/proxy/proxyProtocolFrom/0"}},
		"a cluster's mistyped field":  {"clusters.hades.ingress.address=192.168.1.10", []string{"/clusters/hades/ingress", "address"}},
		"a cluster's mistyped secret": {"clusters.hades.kubeconfigsecret=hades", []string{"/clusters/hades", "kubeconfigsecret"}},
		"a cluster's protocol":        {"clusters.hades.ingress.proxyProtocol=v2", []string{"/clusters/hades/ingress/proxyProtocol", "'V2'"}},
		"a cluster that is no name":   {"clusters.Hades.ingress.httpPort=80", []string{"Hades"}},
		"a budget without spare":      {"podDisruptionBudget.enabled=true", []string{"replicas of at least 2"}},
		"a monitor of loopback":       {"serviceMonitor.enabled=true", []string{"adminListen that Prometheus can reach"}},
		"a network that is no CIDR":   {"proxy.proxyProtocolFrom={10.0.0.1}", []string{"/proxy/proxyProtocolFrom/0"}},
		"a pull policy in lower case": {"image.pullPolicy=always", []string{"/image/pullPolicy", "'Always'"}},
		"a label that is no string":   {"nodeSelector.edge=true", []string{"/nodeSelector/edge", "string"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := helmTemplate(t, test.value)
			if err == nil {
				t.Fatal("the value is accepted")
			}
			for _, part := range test.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the message lacks %q:\n%v", part, err)
				}
			}
		})
	}
}
