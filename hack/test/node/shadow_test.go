package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// hostPortTraefik is a Traefik with the node's port 443 as a hostPort, as ServiceLB of a default K3s
// has it. A hostPort is a rule in the kernel and no socket.
const hostPortTraefik = `
apiVersion: v1
kind: Pod
metadata: {name: svclb-traefik, namespace: default}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers:
    - name: traefik
      image: %s:%s
      command: [/bed/%s, --entryPoints.websecure.address=:443, --global.checkNewVersion=false]
      securityContext: {runAsUser: 0} # for the port
      ports: [{containerPort: 443, hostPort: 443}]
      volumeMounts: [{name: bed, mountPath: /bed, readOnly: true}]
      readinessProbe: {tcpSocket: {port: 443}, periodSeconds: 1}
  volumes: [{name: bed, hostPath: {path: %q}}]
`

// If another pod has a hostPort on usher's port, usher starts without an error and listens, but
// clients reach the other pod. usher is not ready and reports why, and so does helm. usher becomes
// ready when the other pod is deleted.
func TestHostPortBesideTheHostsNetwork(t *testing.T) {
	before := begin(t)
	traefik, err := servers.Locate(servers.Traefik)
	testkit.Must(t, err)
	version, err := chartVersion()
	testkit.Must(t, err)
	remove := func() { kubectl(t, "delete", "pod", "svclb-traefik", "--namespace=default", "--ignore-not-found") }
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(try(t, servers.Kubectl, "logs", "svclb-traefik", "--namespace=default"))
		}
		remove()
	})
	apply(t, fmt.Sprintf(hostPortTraefik, image, version, filepath.Base(traefik), filepath.Dir(traefik)))
	kubectl(t, "wait", "--for=condition=Ready", "pod/svclb-traefik", "--namespace=default", "--timeout=1m")

	notes := tool(t, servers.Helm, "install", "usher", chart, "--namespace", namespace, "--create-namespace")
	t.Cleanup(func() { uninstall(t, before) })
	if !strings.Contains(notes, "WARNING") || !strings.Contains(notes, "default/svclb-traefik on node edge: port 443") {
		t.Errorf("helm does not tell of the other pod:\n%s", notes)
	}
	const says = `10.99.0.1:443 (certificate "TRAEFIK DEFAULT CERT")`
	testkit.Eventually(t, "usher should not be ready, and say why", func() error {
		status, said, err := getAdmin("/readyz")
		if err == nil && (status != http.StatusServiceUnavailable || !strings.Contains(said, says) || !strings.Contains(said, "--disable=servicelb")) {
			err = fmt.Errorf("it answers %d %s", status, said)
		}
		return err
	})
	if n := listeners(t, 443); n != 1 {
		t.Errorf("%d sockets listen on :443; one should be usher's", n)
	}
	if got := certificateAt(t); got != "TRAEFIK DEFAULT CERT" {
		t.Errorf("a stranger is shown the certificate %q", got)
	}
	if _, metrics, err := getAdmin("/metrics"); err != nil || !strings.Contains(metrics, `usher_shadowed{address="10.99.0.1:443"} 1`) {
		t.Errorf("the metrics do not say so: %v", err)
	}
	testkit.Eventually(t, "Kubernetes should see that it is not ready", func() error {
		ready := kubectl(t, "get", "pods", "--namespace", namespace, `--output=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
		if ready != "False" {
			return fmt.Errorf("Ready is %q", ready)
		}
		return nil
	})
	if log := kubectl(t, "logs", "--namespace", namespace, "--selector=app.kubernetes.io/name=usher", "--tail=-1"); strings.Count(log, `"msg":"Connections reach another program"`) != 1 {
		t.Errorf("the log does not say so once:\n%s", log)
	}

	remove()
	kubectl(t, "rollout", "status", "deployment/usher", "--namespace", namespace, "--timeout=1m")
	if status, said, err := getAdmin("/readyz"); err != nil || status != http.StatusOK {
		t.Errorf("with the other gone usher answers %d %s: %v", status, said, err)
	}
	exposeAndGet(t, hostPort(t))
}

// getAdmin sends a request to usher's admin listener on the node's loopback.
func getAdmin(path string) (status int, said string, err error) {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get("http://127.0.0.1:8080" + path)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// certificateAt returns the name in the certificate that a client receives at the node's port.
func certificateAt(t *testing.T) (name string) {
	t.Helper()
	stop := errors.New("seen")
	_, err := tls.Dial("tcp", hostPort(t), &tls.Config{ServerName: "private.techn.is", InsecureSkipVerify: true, VerifyConnection: func(state tls.ConnectionState) error {
		name = state.PeerCertificates[0].Subject.CommonName
		return stop
	}})
	if !errors.Is(err, stop) {
		t.Errorf("a stranger's connection ends with %v", err)
	}
	return name
}
