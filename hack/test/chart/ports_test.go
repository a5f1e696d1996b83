package chart

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/hack/test/testkit"
)

// Each TLS port of the values is a flag of both halves and a port of the Service, which leads
// to the port of the pod with its name.
func TestTLSPortsAreFlagsAndPortsOfTheService(t *testing.T) {
	values := []string{"mode=split", "network=LoadBalancer", "tlsPorts.mqtts.port=8883", "tlsPorts.on.port=636"} // YAML reads an unquoted on as true
	release := renderChart(t, values...)
	for _, workload := range []string{"usher-controller", "usher-proxy"} {
		args := release.pods[workload].Containers[0].Args
		for _, flag := range []string{"--tls-listen=mqtts=:8883", "--tls-listen=on=:636"} {
			if !slices.Contains(args, flag) {
				t.Errorf("%s has no %s: %q", workload, flag, args)
			}
		}
	}
	declared := map[string]int32{} // name → port
	for _, port := range release.pods["usher-proxy"].Containers[0].Ports {
		declared[port.Name] = port.ContainerPort
	}
	rendered, err := helmTemplate(t, values...)
	testkit.Must(t, err)
	served := map[string]int32{}
	for document := range bytes.SplitSeq(rendered, []byte("\n---\n")) {
		var service corev1.Service
		if yaml.Unmarshal(document, &service) != nil || service.Kind != "Service" {
			continue
		}
		for _, port := range service.Spec.Ports {
			served[port.Name] = declared[port.TargetPort.StrVal]
			if port.Port != served[port.Name] {
				t.Errorf("port %d of the Service leads to port %d", port.Port, served[port.Name])
			}
		}
	}
	if want := "map[http:80 https:443 mqtts:8883 on:636]"; fmt.Sprint(served) != want {
		t.Errorf("the Service has %v, want %s", served, want)
	}
}
