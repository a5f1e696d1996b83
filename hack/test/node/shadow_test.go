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
	"github.com/jovalle/usher/hack/testbed/node"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// hostPortTraefik is a Traefik with a port of the node as a hostPort, as ServiceLB of a K3s has it. A
// hostPort is a rule in the kernel and no socket.
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
      ports: [{containerPort: 443, hostPort: %d}]
      volumeMounts: [{name: bed, mountPath: /bed, readOnly: true}]
      readinessProbe: {tcpSocket: {port: 443}, periodSeconds: 1}
  volumes: [{name: bed, hostPath: {path: %q}}]
`

// If another pod has a hostPort on usher's port, usher starts without an error and listens, but
// clients reach the other pod. usher is not ready and reports why, and so does helm. usher becomes
// ready when the other pod is deleted.
func TestHostPortBesideTheHostsNetwork(t *testing.T) {
	before := begin(t)
	remove := startHostPortTraefik(t, 443)

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
	if got, err := certificateAt(hostPort(t), "private.techn.is"); got != "TRAEFIK DEFAULT CERT" {
		t.Errorf("a stranger is shown the certificate %q: %v", got, err)
	}
	if _, said, err := execute(t, usher(), "probe", hostPort(t)); err == nil || !strings.Contains(said, `shows the certificate "TRAEFIK DEFAULT CERT"`) {
		t.Errorf("usher probe says %q: %v", said, err)
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

// With the hostPort on another port, as after docs/install.md, "A K3s that keeps its Traefik", usher is
// ready beside Traefik. A published host reaches Traefik by that port of the node, and others are
// refused; helm test sees that.
func TestTraefikOnOtherPortsOfTheNode(t *testing.T) {
	begin(t)
	startHostPortTraefik(t, 8443)
	before := inventory(t)
	notes := helm(t, "install")
	t.Cleanup(func() { uninstall(t, before) })
	if strings.Contains(notes, "WARNING") {
		t.Errorf("helm warns of a pod that has another port:\n%s", notes)
	}
	apply(t, fmt.Sprintf(`{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: published.techn.is},
		spec: {host: published.techn.is, backends: [{address: %s, httpsPort: 8443}]}}`, node.Address))
	testkit.Eventually(t, "a published host should reach Traefik", func() error {
		got, err := certificateAt(hostPort(t), "published.techn.is")
		if err == nil && got != "TRAEFIK DEFAULT CERT" {
			err = fmt.Errorf("it is shown the certificate %q", got)
		}
		return err
	})
	if got, err := certificateAt(hostPort(t), "private.techn.is"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("a stranger is shown the certificate %q: %v", got, err)
	}
	tool(t, servers.Helm, "test", "usher", "--namespace", namespace, "--timeout=1m")
}

// startHostPortTraefik starts a Traefik that has a port of the node, and returns what removes it.
func startHostPortTraefik(t *testing.T, port int) (remove func()) {
	t.Helper()
	traefik, err := servers.Locate(servers.Traefik)
	testkit.Must(t, err)
	version, err := chartVersion()
	testkit.Must(t, err)
	remove = func() { kubectl(t, "delete", "pod", "svclb-traefik", "--namespace=default", "--ignore-not-found") }
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(try(t, servers.Kubectl, "logs", "svclb-traefik", "--namespace=default"))
		}
		remove()
	})
	apply(t, fmt.Sprintf(hostPortTraefik, image, version, filepath.Base(traefik), port, filepath.Dir(traefik)))
	kubectl(t, "wait", "--for=condition=Ready", "pod/svclb-traefik", "--namespace=default", "--timeout=1m")
	return remove
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

// certificateAt returns the name in the certificate that a client of a host receives at an address.
func certificateAt(address, host string) (name string, err error) {
	stop := errors.New("seen")
	_, err = tls.Dial("tcp", address, &tls.Config{ServerName: host, InsecureSkipVerify: true, VerifyConnection: func(state tls.ConnectionState) error {
		name = state.PeerCertificates[0].Subject.CommonName
		return stop
	}})
	if errors.Is(err, stop) {
		err = nil
	}
	return name, err
}
