package node

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/hack/testbed/node"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// documented matches a command of the docs on an indented line, or a block, such as that of a file with values.
var documented = regexp.MustCompile("(?m)^ {4,}((?:helm|kubectl|usher|curl|openssl) .*)$|^```yaml\n(?s:.*?)^```$")

// elsewhere are commands that would disturb the others: prefix → the test that runs them.
var elsewhere = map[string]string{
	"helm install usher charts/usher --namespace usher-system --create-namespace --values values.yaml": "TestModes, TestAllOptions",
	"kubectl create secret generic hades-kubeconfig":                                                   "TestAllOptions",
	"kubectl apply -k config":                    "TestKustomization",
	"kubectl apply -f traefik-ports.yaml":        "none: the node is no K3s. TestTraefikOnOtherPortsOfTheNode has what it leads to",
	"usher cluster add edge":                     "none: the node has no Traefik of its own",
	"curl -sfL https://get.k3s.io":               "none: the node has its Kubernetes",
	"usher check":                                "cmd/usher",
	"usher history vault.techn.is":               "TestHistoryOfTheProgram of cmd/usher: the host was never public here",
	"usher why":                                  "TestWhyOfTheProgram of cmd/usher: the host was never public here",
	"kubectl annotate ingressroutetcp mosquitto": "TestMQTTOverTLS of hack/test/e2e",
	`kubectl patch membercluster hades --type merge --patch '{"spec":{"ingress":{"httpsPort"`: "none: it is for a tunnel",
	"kubectl --kubeconfig hades.kubeconfig config":                                            "none: it writes a file for a tunnel",
	"usher cluster add hades --kubeconfig hades.kubeconfig":                                   "TestStandaloneEdge of hack/test/e2e adds a member to an edge without Kubernetes",
	"openssl s_client -connect 192.168.1.2:8883":                                              "TestMQTTOverTLS of hack/test/e2e",
	"kubectl patch ingressroute ledger":                                                       "none: what it does to Traefik is not usher's",
}

// The commands of the docs work, in the order in which the docs have them.
func TestDocumentedCommands(t *testing.T) {
	runDocuments(t, "install", "troubleshooting", "security", "migration-haproxy", "operations")
}

func TestTutorial(t *testing.T) { runDocuments(t, "tutorial") }

// runDocuments runs all commands of files of docs, on a node without usher.
func runDocuments(t *testing.T, files ...string) {
	t.Helper()
	definitions, err := servers.Locate(servers.PrometheusCRDs)
	if skipped == nil {
		testkit.Must(t, err)
		kubectl(t, "apply", "--server-side", "-f", definitions)
		t.Cleanup(func() { kubectl(t, "delete", "-f", definitions) })
	}
	before := begin(t)
	t.Cleanup(func() { removeRest(t, before) })
	hades := members["hades"]
	testkit.Must(t, hades.Apply(t.Context(), fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: traefik, namespace: kube-system, labels: {app.kubernetes.io/name: traefik}}
spec: {type: LoadBalancer, ports: [{name: websecure, port: %d}, {name: web, port: %d}]}
`, hades.Traefik.HTTPS.Port(), hades.Traefik.HTTP.Port())))
	_, err = hades.Kubectl(t.Context(), "patch", "service", "traefik", "--namespace=kube-system", "--subresource=status", "--type=merge",
		"--patch", fmt.Sprintf(`{"status": {"loadBalancer": {"ingress": [{"ip": %q}]}}}`, hades.Traefik.HTTPS.Addr()))
	testkit.Must(t, err)
	t.Cleanup(func() {
		_, _ = hades.Kubectl(context.Background(), "delete", "service", "traefik", "--namespace=kube-system")
	})
	testkit.Must(t, hades.Publish(t.Context(), "ledger", "ledger.techn.is"))

	shell := newShell(t)
	for _, file := range files {
		text, err := os.ReadFile("../../../docs/" + file + ".md")
		testkit.Must(t, err)
		for _, match := range documented.FindAllStringSubmatch(string(text), -1) {
			switch next, ofValues := shell.values.Read(match[0]); {
			case ofValues:
				shell.next = next
			case match[1] == "": // another block
			case isElsewhere(match[1]):
				shell.next = shell.values
			default:
				shell.run(t, file, match[1])
			}
		}
	}
}

func isElsewhere(command string) bool {
	for beginning := range elsewhere {
		if strings.HasPrefix(command, beginning) {
			return true
		}
	}
	return false
}

// A shell runs commands like a person with the programs, a copy of the repository, and a kubeconfig
// for both clusters.
type shell struct {
	dir    string
	env    []string
	values testkit.Values // its values.yaml
	next   testkit.Values // its values.yaml from the next command on that is run
}

func newShell(t *testing.T) *shell {
	t.Helper()
	s := &shell{dir: t.TempDir()}
	bin := filepath.Join(s.dir, "bin")
	testkit.Must(t, os.Mkdir(bin, 0o700))
	links := map[string]string{"bin/usher": usher()}
	for _, name := range []string{servers.Helm, servers.Kubectl} {
		path, err := servers.Locate(name)
		testkit.Must(t, err)
		links["bin/"+name] = path
	}
	for _, folder := range []string{"charts", "config"} {
		path, err := filepath.Abs("../../../" + folder)
		testkit.Must(t, err)
		links[folder] = path
	}
	for name, path := range links {
		testkit.Must(t, os.Symlink(path, filepath.Join(s.dir, name)))
	}
	s.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+s.dir, "KUBECONFIG="+s.kubeconfig(t))
	return s
}

// kubeconfig writes a kubeconfig with the contexts edge, which is the current one, and hades.
func (s *shell) kubeconfig(t *testing.T) string {
	t.Helper()
	edge, err := clientcmd.LoadFromFile(os.Getenv(kubeconfigVariable))
	testkit.Must(t, err)
	hades, err := clientcmd.LoadFromFile(members["hades"].KubeconfigFile())
	testkit.Must(t, err)
	edge.Contexts["edge"] = edge.Contexts[edge.CurrentContext]
	edge.CurrentContext = "edge"
	edge.Contexts["hades"], edge.Clusters["hades"], edge.AuthInfos["hades"] = hades.Contexts["hades"], hades.Clusters["hades"], hades.AuthInfos["hades"]
	path := filepath.Join(s.dir, "kubeconfig")
	testkit.Must(t, clientcmd.WriteToFile(*edge, path))
	return path
}

// run runs a documented command with the names and addresses of this test, in the cluster that the
// docs name. The command accepts Traefik's self-signed certificate.
func (s *shell) run(t *testing.T, file, command string) {
	t.Helper()
	s.prepare(t, file, command)
	s.values = s.next
	values := strings.ReplaceAll(string(s.values), "192.168.1.2", node.Address.String())
	testkit.Must(t, os.WriteFile(filepath.Join(s.dir, "values.yaml"), []byte(values), 0o600))
	here := strings.NewReplacer(
		"whoami.techn.is", host("hades"),
		"192.168.1.2", node.Address.String(),
		"192.168.1.8/29", netip.PrefixFrom(node.Address, 29).Masked().String(),
		"192.168.1.10:443", members["hades"].Traefik.HTTPS.String(),
		"exposedhost NAME", "exposedhost "+host("hades"),
		"membercluster NAME", "membercluster hades",
		"kubectl annotate ingressroute", "kubectl --context hades annotate --overwrite ingressroute",
		"curl ", "curl --insecure --silent --show-error --fail-with-body ",
		"--edge-context edge --patch", "--edge-context edge --patch --yes",
		"helm install", "helm install --wait",
		"helm upgrade", "helm upgrade --wait",
	).Replace(command)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", here)
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.CombinedOutput()
	if strings.Contains(command, "auth can-i get secrets") && strings.TrimSpace(string(out)) == "no" {
		err = nil // the output is the result
	}
	if strings.Contains(command, "Host: ledger") {
		err = misdirected(err, string(out))
	}
	if err != nil {
		t.Errorf("docs/%s.md: %s: %v\n%s", file, here, err, out)
	}
	s.follow(t, command)
}

// misdirected wants what a client of an isolated member gets for a private host.
func misdirected(err error, out string) error {
	if strings.Contains(out, "421") && !strings.Contains(out, `"app"`) {
		return nil
	}
	return fmt.Errorf("a private host of an isolated member answers: %w", err)
}

// prepare creates what a command needs of commands that a person would have run before.
func (s *shell) prepare(t *testing.T, file, command string) {
	t.Helper()
	switch {
	case strings.HasPrefix(command, "openssl"), strings.HasPrefix(command, "curl --resolve"):
		annotate(t, "hades") // a command of the docs has removed it
		answered(t, hostPort(t), "hades")
	case strings.HasPrefix(command, "usher cluster remove"):
		s.run(t, file, "usher cluster add hades --context hades --edge-context edge") // the docs remove it again
	case strings.Contains(command, "usher_addresses_failing"):
		apply(t, `{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: dead.techn.is},
			spec: {host: dead.techn.is, backends: [{address: 127.0.0.1, httpsPort: 1}]}}`)
		testkit.Eventually(t, "a backend that is dead should be counted", func() error {
			if _, err := testbed.GetAnswer(t.Context(), testbed.ClientTo(hostPort(t)), "https://dead.techn.is/"); err == nil || !strings.Contains(err.Error(), "internal error") {
				return fmt.Errorf("its client gets %w", err)
			}
			return nil
		})
	case command == "kubectl apply -f secrets.yaml": // in a cluster that has lost all objects
		tool(t, servers.Helm, "uninstall", "usher", "--namespace", namespace, "--wait")
		kubectl(t, "delete", "-f", chart+"/crds")
		kubectl(t, "delete", "namespace", namespace)
		tool(t, servers.Helm, "install", "usher", chart, "--namespace", namespace, "--create-namespace", "--wait", "--set=replicas=0")
	}
}

// follow checks that a command has done what the docs say, and reverts what would disturb later commands.
func (s *shell) follow(t *testing.T, command string) {
	t.Helper()
	patch := func(ingress string) {
		kubectl(t, "patch", "membercluster", "hades", "--type=merge", `--patch={"spec":{"ingress":`+ingress+`}}`)
	}
	switch {
	case strings.Contains(command, `"proxyProtocol":"V2"`):
		patch(`{"proxyProtocol":"None"}`) // Traefik trusts no client here
	case strings.Contains(command, `"httpsPort":8444`):
		patch(fmt.Sprintf(`{"httpsPort":%d}`, members["hades"].Traefik.HTTPS.Port()))
	case strings.HasSuffix(command, "expose-"):
		unanswered(t, hostPort(t), "hades")
	case strings.HasSuffix(command, "--set replicas=1"): // after a restore
		answered(t, hostPort(t), "hades")
	}
}
