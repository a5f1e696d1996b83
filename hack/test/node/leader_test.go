package node

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// There are two replicas: one is the leader and both serve. When the leader is killed, the other
// replica or the restarted one becomes the leader, and the other one serves at all times.
func TestLeaderIsKilled(t *testing.T) {
	install(t, "network=LoadBalancer", "replicas=2")
	enroll(t, "hades", "illmatic")
	annotate(t, "hades")
	pods := podAddresses(t)
	if len(pods) != 2 {
		t.Fatalf("%d pods run", len(pods))
	}
	holder := leaseHolder(t)
	first, _, _ := strings.Cut(holder, "_")
	if _, ok := pods[first]; !ok {
		t.Fatalf("%q leads, of %v", holder, pods)
	}
	exposeBusyHost(t, slices.Collect(maps.Values(pods))...)
	survivor := ""
	for name, address := range pods {
		answered(t, address, "hades")
		if name != first {
			survivor = address
		}
	}

	traffic := startTraffic(t, survivor, 20, profile{every: 10 * time.Millisecond})
	began := time.Now()
	killContainer(t, first)
	annotate(t, "illmatic") // no replica decides about it until the Lease has a new holder
	testkit.Eventually(t, "another process should lead", func() error {
		if leaseHolder(t) == holder {
			return fmt.Errorf("%s does", holder)
		}
		return nil
	})
	led := time.Since(began)
	answered(t, survivor, "illmatic")
	t.Logf("%s led after %v, and had published a host after %v", leaseHolder(t), led.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	failures := traffic.end()
	t.Logf("%d new connections to it meanwhile; failures: %q", traffic.connected.Load(), failures)
	if len(failures) > 0 {
		t.Errorf("while the leader was dead the other replica failed: %q", failures)
	}
	for _, address := range pods { // the kubelet restarts the container
		answered(t, address, "illmatic")
	}
}

// podAddresses returns the addresses of usher's pods: pod → address and port.
func podAddresses(t *testing.T) map[string]string {
	t.Helper()
	addresses := map[string]string{}
	for line := range strings.Lines(kubectl(t, "get", "pods", "--namespace", namespace, `--output=jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{"\n"}{end}`)) {
		if fields := strings.Fields(line); len(fields) == 2 {
			addresses[fields[0]] = fields[1] + ":443"
		}
	}
	return addresses
}

// leaseHolder returns the identity in the Lease: the name of the pod and a random suffix
// of its process. Since the kubelet restarts a killed container at once, the same pod may
// become the leader again.
func leaseHolder(t *testing.T) string {
	t.Helper()
	return kubectl(t, "get", "lease", "usher", "--namespace", namespace, "--output=jsonpath={.spec.holderIdentity}")
}

// killContainer kills the process of a pod with SIGKILL.
func killContainer(t *testing.T, pod string) {
	t.Helper()
	id := kubectl(t, "get", "pod", pod, "--namespace", namespace, "--output=jsonpath={.status.containerStatuses[0].containerID}")
	if !strings.HasPrefix(id, "containerd://") {
		t.Fatalf("the container of %s is called %q", pod, id)
	}
	run(t, "ctr", "--address", os.Getenv(containerdVariable), "--namespace", "k8s.io",
		"tasks", "kill", "--signal", "SIGKILL", strings.TrimPrefix(id, "containerd://"))
}
