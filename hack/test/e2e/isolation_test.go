package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
	"github.com/jovalle/usher/hack/testenv"
)

// The hosts of the table in docs/security.md. A request comes with the name of the first
// one in its ClientHello.
const (
	itself       = "itself.isolation.techn.is"
	privateRoute = "route.isolation.techn.is"
	privateOld   = "ingress.isolation.techn.is"
	sibling      = "sibling.isolation.techn.is"
	narrower     = "narrower.isolation.techn.is"
	otherCluster = "elsewhere.isolation.techn.is"
)

// A client that connects with the name of a published host reaches no other host of the
// same Traefik, once the published routes are isolated: with real Traefiks, by the
// commands that usher cluster isolate prints.
func TestIsolation(t *testing.T) {
	publishForIsolation(t)
	wantStatuses(t, "as Traefik comes", map[string]int{itself: 200, privateRoute: 200, privateOld: 200, sibling: 200, narrower: 200, otherCluster: 404})

	isolate(t, env.Hades, "isolated-")
	wantStatuses(t, "isolated", map[string]int{itself: 200, privateRoute: 421, privateOld: 421, sibling: 200, narrower: 421, otherCluster: 421})
	answered(t, itself, "hades")
	answered(t, narrower, "hades") // by its own name it is reached
	answered(t, otherCluster, "illmatic")

	kubectl(t, env.Hades.Cluster, "--namespace", "kube-system", "delete", "ingressroute", "usher-catch-all")
	wantStatuses(t, "without the catch-all", map[string]int{itself: 200, privateRoute: 421, privateOld: 421, sibling: 200, narrower: 421, otherCluster: 404})

	// usher publishes no route without the options.
	kubectl(t, env.Hades.Cluster, "patch", "ingressroute", "isolated-itself", "--type=json", `--patch=[{"op": "remove", "path": "/spec/tls"}]`)
	unanswered(t, itself)
	if out := kubectl(t, env.Edge, "get", "exposedhost", itself, "-o", "yaml"); !strings.Contains(out, "NotIsolated") {
		t.Errorf("the ExposedHost is\n%s", out)
	}
}

func publishForIsolation(t *testing.T) {
	t.Helper()
	for host, annotation := range map[string]string{
		itself: `usher.techn.is/expose: "true"`, sibling: `usher.techn.is/expose: "true"`, privateRoute: "",
		narrower: `usher.techn.is/expose: "true", usher.techn.is/allow-from: 127.0.0.0/8`,
	} {
		name, _, _ := strings.Cut(host, ".")
		testkit.Must(t, env.Hades.Publish(t.Context(), "isolated-"+name, host, annotation))
	}
	testkit.Must(t, env.Illmatic.Publish(t.Context(), "isolated-elsewhere", otherCluster, `usher.techn.is/expose: "true"`))
	app, err := env.Hades.StartApp(t.Context(), "default", "isolated-ingress")
	testkit.Must(t, err)
	testkit.Must(t, env.Hades.Apply(t.Context(), fmt.Sprintf(`{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: isolated-ingress, namespace: default},
		spec: {ingressClassName: traefik, rules: [{host: %s, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: %s, port: {number: %d}}}}]}}]}}`, privateOld, app.Service, app.Port)))
	testkit.Must(t, env.Hades.Traefik.AwaitHost(t.Context(), privateOld))
	answered(t, itself, "hades")
	answered(t, otherCluster, "illmatic")
}

// wantStatuses waits until requests for hosts, on connections with the name of itself, get
// these statuses, over HTTP/1.1 and HTTP/2.
func wantStatuses(t *testing.T, when string, want map[string]int) {
	t.Helper()
	for _, protocol := range []string{"http/1.1", "h2"} {
		for host, status := range want {
			wantStatus(t, when, protocol, itself, host, status)
		}
	}
}

// wantStatus waits until a request for a host, on a connection with the name of sni, gets
// a status.
func wantStatus(t *testing.T, when, protocol, sni, host string, status int) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("%s: %s over %s should get %d", when, host, protocol, status), func() error {
		got, err := statusOf(t.Context(), protocol, sni, host)
		if err == nil && got != status {
			err = fmt.Errorf("it gets %d", got)
		}
		return err
	})
}

// statusOf asks usher with one name in the ClientHello and another in the request.
func statusOf(ctx context.Context, protocol, sni, host string) (int, error) {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(protocol == "http/1.1")
	protocols.SetHTTP2(protocol == "h2")
	client := &http.Client{Timeout: testkit.Timeout, Transport: &http.Transport{
		Protocols:         protocols,
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, ServerName: sni},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", env.HTTPS.String())
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+sni+"/", nil)
	if err != nil {
		return 0, err
	}
	request.Host = host
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	if (response.ProtoMajor == 2) != (protocol == "h2") {
		return 0, fmt.Errorf("answered over %s", response.Proto)
	}
	return response.StatusCode, nil
}

// isolate isolates a member until the test ends. Of the commands that usher prints it
// runs those for objects whose name has a prefix: other tests share the member.
func isolate(t *testing.T, m *testenv.Member, prefix string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, "cluster", "isolate", m.Name(), "--yes",
		"--kubeconfig", m.KubeconfigFile(), "--edge-kubeconfig", env.Edge.KubeconfigFile())
	said, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	path, err := servers.Locate(servers.Kubectl)
	testkit.Must(t, err)
	edits := regexp.MustCompile(`(?m)^  (kubectl --context `+m.Name()+` --namespace default (?:patch|annotate).* `+prefix+`.*)$`).FindAllSubmatch(said, -1)
	if len(edits) == 0 {
		t.Fatalf("no command is printed for %s:\n%s", prefix, said)
	}
	for _, edit := range edits {
		shell := exec.CommandContext(t.Context(), "bash", "-c", string(edit[1]))
		shell.Env = append(os.Environ(), "KUBECONFIG="+m.KubeconfigFile(), "PATH="+filepath.Dir(path)+":"+os.Getenv("PATH"))
		if out, err := shell.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", edit[1], err, out)
		}
	}
	setIsolation(t, m, `{"tlsOptions": {"namespace": "kube-system", "name": "exposed"}}`)
	t.Cleanup(func() {
		setIsolation(t, m, "null")
		_, _ = m.Kubectl(context.Background(), "--namespace", "kube-system", "delete", "ingressroute", "usher-catch-all", "--ignore-not-found")
	})
}

func setIsolation(t *testing.T, m *testenv.Member, value string) {
	t.Helper()
	_, err := env.Edge.Kubectl(context.Background(), "patch", "membercluster", m.Name(), "--type=merge", `--patch={"spec": {"isolation": `+value+`}}`)
	testkit.Must(t, err)
}
