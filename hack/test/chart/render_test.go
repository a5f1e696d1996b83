package chart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/hack/test/testkit"
)

const (
	args      = "spec.template.spec.containers.0.args"
	spread    = "spec.template.spec.topologySpreadConstraints"
	zoneSplit = "topologySpreadConstraints[0].maxSkew=1,%[1]stopologySpreadConstraints[0].topologyKey=zone,%[1]stopologySpreadConstraints[0].whenUnsatisfiable=DoNotSchedule"
)

// Each value is rendered where it belongs, and not in the other half.
func TestValuesAreRendered(t *testing.T) {
	type expectation struct{ object, field, has string } // has: a part of the field as JSON; empty if the field is not there
	for _, test := range []struct {
		name, values string
		want         []expectation
	}{
		{"the defaults", "", []expectation{
			{"Deployment/usher", args, `"--log-level=info","--https-listen=:443","--http-listen=:80"`},
			{"Deployment/usher", "spec.template.spec.containers.0.env", ""},
			{"Deployment/usher", spread, ""},
		}},
		{"DNS records", "mode=split,dns.target={203.0.113.7,2001:db8::7},dns.internalTarget={edge.home.arpa},dns.ttl=60,dns.resolver=9.9.9.9:53,dns.properties.a/b=c d", []expectation{
			{"Deployment/usher-controller", args, `"--dns-target=203.0.113.7,2001:db8::7","--dns-internal-target=edge.home.arpa","--dns-ttl=60","--dns-property=a/b=c d","--dns-resolver=9.9.9.9:53"`},
			{"DaemonSet/usher-proxy", args, `"--log-level=info"`},
			{"Role/usher-controller", "rules", `"externaldns.k8s.io"`},
		}},
		{"who may read the admin listener", "mode=split,adminAuth=kubernetes,adminHosts={edge.home.arpa,edge.example.org}", []expectation{
			{"Deployment/usher-controller", args, `"--admin-auth=kubernetes","--admin-host=edge.home.arpa,edge.example.org"`},
			{"DaemonSet/usher-proxy", args, `"--admin-auth=kubernetes","--admin-host=edge.home.arpa,edge.example.org"`},
			{"ClusterRoleBinding/usher-access-review", "subjects", `"name":"usher-proxy"`},
			{"ClusterRole/usher-viewer", "rules", `"/hosts/*"`},
		}},
		{"a log level", "mode=split,logLevel=debug", []expectation{
			{"Deployment/usher-controller", args, `"--log-level=debug"`},
			{"DaemonSet/usher-proxy", args, `"--log-level=debug"`},
		}},
		{"a log level of the controllers", "mode=split,controller.logLevel=debug", []expectation{
			{"Deployment/usher-controller", args, `"--log-level=debug"`},
			{"DaemonSet/usher-proxy", args, `"--log-level=info"`},
		}},
		{"flags of each half", "mode=split,controller.extraArgs={--max-member-hosts=5},proxy.extraArgs={--idle-timeout=2h}", []expectation{
			{"Deployment/usher-controller", args, `,"--log-level=info","--max-member-hosts=5"]`},
			{"DaemonSet/usher-proxy", args, `"--state-dir=/var/lib/usher","--idle-timeout=2h"]`},
		}},
		{"flags of both halves in one", "controller.extraArgs={--max-member-hosts=5},proxy.extraArgs={--idle-timeout=2h}", []expectation{
			{"Deployment/usher", args, `"--idle-timeout=2h","--max-member-hosts=5"]`},
		}},
		{"the place of the controllers", "mode=split,controller.nodeSelector.zone=a,controller.tolerations[0].key=b,controller.affinity.podAffinity.c=d,controller.resources.limits.memory=1Gi," + fmt.Sprintf("controller."+zoneSplit, "controller."), []expectation{
			{"Deployment/usher-controller", "spec.template.spec.nodeSelector", `{"zone":"a"}`},
			{"Deployment/usher-controller", "spec.template.spec.tolerations", `[{"key":"b"}]`},
			{"Deployment/usher-controller", "spec.template.spec.affinity", `"c":"d"`},
			{"Deployment/usher-controller", "spec.template.spec.containers.0.resources", `{"limits":{"memory":"1Gi"}}`},
			{"Deployment/usher-controller", spread, `"app.kubernetes.io/component":"controllers"`},
			{"DaemonSet/usher-proxy", "spec.template.spec.nodeSelector", ""},
			{"DaemonSet/usher-proxy", "spec.template.spec.tolerations", ""},
			{"DaemonSet/usher-proxy", "spec.template.spec.affinity", ""},
			{"DaemonSet/usher-proxy", "spec.template.spec.containers.0.resources", `"64Mi"`},
			{"DaemonSet/usher-proxy", spread, ""},
		}},
		{"the place of the pods that forward", "mode=split,nodeSelector.zone=a,resources.limits.memory=1Gi", []expectation{
			{"DaemonSet/usher-proxy", "spec.template.spec.nodeSelector", `{"zone":"a"}`},
			{"Deployment/usher-controller", "spec.template.spec.nodeSelector", ""},
			{"Deployment/usher-controller", "spec.template.spec.containers.0.resources", `"1Gi"`},
		}},
		{"a spread", fmt.Sprintf(zoneSplit, ""), []expectation{{"Deployment/usher", spread, `"app.kubernetes.io/component":"both"`}}},
		{"a spread that counts other pods", fmt.Sprintf(zoneSplit, "") + ",topologySpreadConstraints[0].labelSelector.matchLabels.app=x", []expectation{{"Deployment/usher", spread, `"app":"x"`}}},
		{"addresses of the node", "proxy.listenAddresses={192.168.1.2,fd00::2}", []expectation{
			{"Deployment/usher", args, `"--https-listen=192.168.1.2:443,[fd00::2]:443","--http-listen=192.168.1.2:80,[fd00::2]:80"`},
			{"Pod/usher-test", "spec.containers.0.args", `["probe","[192.168.1.2]:443","[fd00::2]:443"]`},
		}},
		{"the hostIP of host ports", "network=HostPort,proxy.listenAddresses={192.168.1.2}", []expectation{
			{"Deployment/usher", args, `"--https-listen=:443"`},
			{"Deployment/usher", "spec.template.spec.containers.0.ports.1", `"hostIP":"192.168.1.2","hostPort":80`},
			{"Deployment/usher", "spec.template.spec.containers.0.ports.2", `"hostIP":"192.168.1.2","hostPort":443`},
		}},
		{"a folder of the node for the state", "mode=split,proxy.state.hostPath=/var/lib/usher", []expectation{
			{"DaemonSet/usher-proxy", "spec.template.spec.volumes", `[{"hostPath":{"path":"/var/lib/usher","type":"Directory"},"name":"state"}]`},
			{"Deployment/usher-controller", "spec.template.spec.volumes", ""},
		}},
		{"a claim for the state", "proxy.state.claim=usher", []expectation{
			{"Deployment/usher", "spec.template.spec.volumes", `[{"name":"state","persistentVolumeClaim":{"claimName":"usher"}}]`},
		}},
		{"both access logs", "mode=split,proxy.accessLog=true,proxy.accessLogRefused=true", []expectation{
			{"DaemonSet/usher-proxy", args, `"--access-log","--access-log-refused"`},
			{"Deployment/usher-controller", args, `"--log-level=info"]`},
		}},
		{"labels", "mode=split,commonLabels.team=home,commonLabels.tier=edge,podLabels.tier=pod,serviceMonitor.enabled=true,network=LoadBalancer,serviceMonitor.labels.team=prometheus,clusters.hades.kubeconfigSecret=hades", []expectation{
			{"Deployment/usher-controller", "metadata.labels.tier", `"edge"`},
			{"Deployment/usher-controller", "spec.template.metadata.labels", `"team":"home","tier":"pod"`},
			{"DaemonSet/usher-proxy", "spec.template.metadata.labels", `"team":"home","tier":"pod"`},
			{"DaemonSet/usher-proxy", "spec.selector.matchLabels.team", ""},
			{"Service/usher-proxy", "metadata.labels", `"team":"home"`},
			{"Service/usher-proxy", "spec.selector.team", ""},
			{"ServiceMonitor/usher", "metadata.labels", `"team":"prometheus","tier":"edge"`},
			{"ClusterRole/usher-controller", "metadata.labels", `"team":"home"`},
			{"MemberCluster/hades", "metadata.labels", `"team":"home"`},
		}},
		{"a Traefik without Kubernetes", "clusters.nas.traefik.url=https://traefik.home.arpa,clusters.nas.traefik.publicEntryPoint=public,clusters.nas.ingress.addresses[0]=192.0.2.40", []expectation{
			{"MemberCluster/nas", "spec.traefik", `{"publicEntryPoint":"public","url":"https://traefik.home.arpa"}`},
			{"MemberCluster/nas", "spec.kubeconfig", ""},
		}},
		{"the environment", "mode=split,extraEnv[0].name=GOMEMLIMIT,extraEnv[0].value=1GiB", []expectation{
			{"Deployment/usher-controller", "spec.template.spec.containers.0.env", `[{"name":"GOMEMLIMIT","value":"1GiB"}]`},
			{"DaemonSet/usher-proxy", "spec.template.spec.containers.0.env", `[{"name":"GOMEMLIMIT","value":"1GiB"}]`},
		}},
		{"clients of the load balancer", "network=LoadBalancer,service.loadBalancerSourceRanges={10.0.0.0/8,fd00::/8}", []expectation{
			{"Service/usher", "spec.loadBalancerSourceRanges", `["10.0.0.0/8","fd00::/8"]`},
		}},
		{"helm test beside a pod", "mode=split", []expectation{
			{"Pod/usher-test", "spec.containers.0.args", `["probe","[$(NODE)]:443"]`},
			{"Pod/usher-test", "spec.affinity.podAffinity", `"app.kubernetes.io/component":"proxy"`},
			{"Pod/usher-test", "metadata.labels", `"app.kubernetes.io/name":"usher-test"`}, // no Service selects it
		}},
		{"helm test by the Service", "mode=split,network=LoadBalancer", []expectation{
			{"Pod/usher-test", "spec.containers.0.args", `["probe","usher-proxy.usher-system.svc:443"]`},
			{"Pod/usher-test", "spec.affinity", ""},
		}},
		{"no helm test where its pod may be refused", "proxy.proxyProtocolFrom={10.0.0.0/8}", []expectation{{"Pod/usher-test", "", ""}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			rendered, err := helmTemplate(t, test.values)
			testkit.Must(t, err)
			objects := map[string]map[string]any{} // KIND/NAME → object
			for document := range bytes.SplitSeq(rendered, []byte("\n---\n")) {
				var object unstructured.Unstructured
				testkit.Must(t, yaml.Unmarshal(document, &object.Object))
				objects[object.GetKind()+"/"+object.GetName()] = object.Object
			}
			for _, want := range test.want {
				got, err := json.Marshal(at(objects[want.object], want.field))
				testkit.Must(t, err)
				if want.has == "" && string(got) != "null" || !bytes.Contains(got, []byte(want.has)) {
					t.Errorf("%s: %s is %s, want %q", want.object, want.field, got, want.has)
				}
			}
		})
	}
}

// at returns a field of an object by its path, or nil. A number is an index.
func at(object map[string]any, path string) any {
	if object == nil {
		return nil
	}
	var value any = object
	for step := range strings.SplitSeq(path, ".") {
		switch parent := value.(type) {
		case map[string]any:
			value = parent[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(parent) {
				return nil
			}
			value = parent[i]
		default:
			return nil
		}
	}
	return value
}
