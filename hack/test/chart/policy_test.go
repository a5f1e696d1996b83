package chart

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/hack/test/testkit"
)

// Each pod is selected by one NetworkPolicy, which allows exactly the ports that the pod declares.
// This test compares objects, since the node of hack/test/node does not enforce NetworkPolicies.
func TestNetworkPoliciesAllowThePortsOfPods(t *testing.T) {
	rendered, err := helmTemplate(t, "mode=split", "network=LoadBalancer", "networkPolicy.enabled=true", "tlsPorts.mqtts.port=8883")
	testkit.Must(t, err)
	const component = "app.kubernetes.io/component"
	declared, allowed := map[string][]int32{}, map[string][]int32{} // component → ports
	for document := range bytes.SplitSeq(rendered, []byte("\n---\n")) {
		var workload appsv1.DaemonSet // a Deployment has the pod template in the same field
		testkit.Must(t, yaml.Unmarshal(document, &workload))
		switch workload.Kind {
		case "NetworkPolicy":
			var policy networkingv1.NetworkPolicy
			testkit.Must(t, yaml.UnmarshalStrict(document, &policy))
			name := policy.Spec.PodSelector.MatchLabels[component]
			for _, rule := range policy.Spec.Ingress {
				for _, port := range rule.Ports {
					allowed[name] = append(allowed[name], port.Port.IntVal)
				}
			}
		case "Deployment", "DaemonSet":
			name := workload.Spec.Template.Labels[component]
			for _, port := range workload.Spec.Template.Spec.Containers[0].Ports {
				declared[name] = append(declared[name], port.ContainerPort)
			}
		}
	}
	for _, ports := range []map[string][]int32{declared, allowed} {
		for name := range ports {
			slices.Sort(ports[name])
		}
	}
	if len(allowed) != 2 || !maps.EqualFunc(declared, allowed, slices.Equal) {
		t.Errorf("the pods declare %v, and the policies allow %v", declared, allowed)
	}
}
