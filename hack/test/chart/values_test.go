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
		"a target that is a URL":      {"dns.target={https://x}", []string{"/dns/target/0"}},
		"a TTL of years":              {"dns.ttl=604801", []string{"/dns/ttl"}},
		"a resolver without a port":   {"dns.resolver=9.9.9.9", []string{"/dns/resolver"}},
		"a property that is no text":  {"dns.properties.a=true", []string{"/dns/properties/a"}},
		"a grace that is negative":    {"handoverGraceSeconds=-1", []string{"/handoverGraceSeconds"}},
		"a relative folder":           {"proxy.state.hostPath=state", []string{"/proxy/state/hostPath"}},
		"two places of the state":     {"proxy.state.hostPath=/x,proxy.state.claim=x", []string{"proxy.state.hostPath and proxy.state.claim are both set"}},
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
		"a log level":                 {"logLevel=warn", []string{"/logLevel", "'debug'"}},
		"a log level of controllers":  {"controller.logLevel=trace", []string{"/controller/logLevel", "'debug'"}},
		"a value of controllers":      {"controller.extraArg={--x}", []string{"/controller", "extraArg"}},
		"a controllers' flag":         {"controller.extraArgs={max-member-hosts=5}", []string{"/controller/extraArgs/0", "^--"}},
		"an access log of a word":     {"proxy.accessLog=yes", []string{"/proxy/accessLog", "boolean"}},
		"an address with a port":      {"proxy.listenAddresses={192.168.1.2:443}", []string{"/proxy/listenAddresses/0"}},
		"an address that is a name":   {"proxy.listenAddresses={edge}", []string{"/proxy/listenAddresses/0"}},
		"an address of all":           {"proxy.listenAddresses={0.0.0.0}", []string{"/proxy/listenAddresses/0"}},
		"a range that is an address":  {"service.loadBalancerSourceRanges={10.0.0.1}", []string{"/service/loadBalancerSourceRanges/0"}},
		"a spread without a key":      {"topologySpreadConstraints[0].maxSkew=1", []string{"/topologySpreadConstraints/0", "topologyKey"}},
		"a variable without a name":   {"extraEnv[0].value=x", []string{"/extraEnv/0", "name"}},
		"a variable with a number":    {"extraEnv[0].name=GOGC,extraEnv[0].value=50", []string{"/extraEnv/0/value", "string"}},
		"a label of a selector":       {`podLabels.app\.kubernetes\.io/component=x`, []string{"podLabels: the label app.kubernetes.io/component is set by the chart"}},
		"a label of Helm":             {`commonLabels.helm\.sh/chart=x`, []string{"commonLabels: the label helm.sh/chart is set by the chart"}},
		"ranges without a Service":    {"service.loadBalancerSourceRanges={10.0.0.0/8}", []string{"service.loadBalancerSourceRanges needs network: LoadBalancer", "every client would be admitted"}},
		"an address of a Service":     {"network=LoadBalancer,proxy.listenAddresses={192.168.1.2}", []string{"proxy.listenAddresses needs an address of the node"}},
		"two addresses of host ports": {"network=HostPort,proxy.listenAddresses={192.168.1.2,192.168.1.3}", []string{"network: HostPort takes one, the hostIP"}},
		"a DaemonSet that is spread":  {"mode=split,topologySpreadConstraints[0].maxSkew=1,topologySpreadConstraints[0].topologyKey=zone,topologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule", []string{"topologySpreadConstraints needs mode: single", "controller.topologySpreadConstraints"}},
		"a place of no controllers":   {"controller.nodeSelector.zone=a", []string{"controller.nodeSelector needs mode: split", "set nodeSelector instead"}},
		"a log of no controllers":     {"controller.logLevel=debug", []string{"controller.logLevel needs mode: split", "set logLevel instead"}},
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
