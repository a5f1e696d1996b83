package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// twoMembers starts usher with the members hades and illmatic, each with an IngressRoute
// whoami of whoami.techn.is, published by hades. It returns the clusters, a
// person's environment, and usher.
func twoMembers(t *testing.T) (bed *testbed.Bed, env []string, usher *running) {
	t.Helper()
	bed = testbed.New(t, testbed.Options{Clusters: []string{"edge", "hades", "illmatic"}})
	edge := bed.Cluster("edge")
	testkit.Must(t, edge.ApplyFiles(t.Context(), "../../config/crd/*.yaml"))
	testkit.Must(t, edge.Apply(t.Context(), "{apiVersion: v1, kind: Namespace, metadata: {name: usher-system}}"))
	files := edge.KubeconfigFile()
	for i, name := range []string{"hades", "illmatic"} {
		member := bed.Cluster(name)
		files += ":" + member.KubeconfigFile()
		testkit.Must(t, member.InstallTraefikCRDs(t.Context()))
		testkit.Must(t, member.Apply(t.Context(), `
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {name: whoami, namespace: default}
spec: {entryPoints: [websecure], routes: [{match: Host(`+"`whoami.techn.is`"+`), kind: Rule, services: [{name: whoami, port: 80}]}]}
`))
		kubeconfig, err := member.Kubeconfig()
		testkit.Must(t, err)
		testkit.Must(t, edge.Apply(t.Context(), fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: %[1]s-kubeconfig, namespace: usher-system}
stringData:
  kubeconfig: %[2]q
---
apiVersion: usher.techn.is/v1alpha1
kind: MemberCluster
metadata: {name: %[1]s}
spec: {kubeconfig: {secretName: %[1]s-kubeconfig}, ingress: {addresses: [192.0.2.%[3]d]}}
`, name, kubeconfig, 10*(i+1))))
	}
	_, err := bed.Cluster("hades").Kubectl(t.Context(), "annotate", "ingressroute", "whoami", "usher.techn.is/expose=true")
	testkit.Must(t, err)
	usher = launch(t, "--kubeconfig", edge.KubeconfigFile(), "--namespace=usher-system").started(t)
	awaitBackends(t, edge, "hades")
	return bed, []string{"HOME=/nowhere", "KUBECONFIG=" + files}, usher
}

// awaitBackends waits until whoami.techn.is is accepted and has these backends.
func awaitBackends(t *testing.T, edge *testbed.Cluster, want string) {
	t.Helper()
	testkit.Eventually(t, "the backends "+want, func() error {
		got, err := edge.Kubectl(t.Context(), "get", "exposedhost", "whoami.techn.is", "-o", `jsonpath={.spec.backends[*].cluster} {.status.conditions[?(@.type=="Accepted")].status}`)
		if err == nil && strings.TrimSpace(got) != want+" True" {
			return fmt.Errorf("are %s", got)
		}
		return err
	})
}

// A person moves a host and drains a cluster, with usher at work.
func TestMoveAndDrain(t *testing.T) {
	t.Parallel()
	bed, env, usher := twoMembers(t)
	edge := bed.Cluster("edge")
	testkit.Must(t, edge.Apply(t.Context(), "{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: nas.techn.is}, spec: {host: nas.techn.is, backends: [{address: 192.0.2.99}]}}"))
	t.Run("mistakes", func(t *testing.T) { testMoveMistakes(t, env) })
	if got := say(t, env, "move", "WHOAMI.techn.is", "--to", "hades"); got.code != 0 || got.out != "whoami.techn.is is held by cluster hades already\n" {
		t.Errorf("to where it is: %+v", got)
	}
	_, err := bed.Cluster("illmatic").Kubectl(t.Context(), "annotate", "ingressroute", "whoami", "usher.techn.is/expose=true")
	testkit.Must(t, err)
	testkit.Eventually(t, "a rival", func() error {
		got, err := edge.Kubectl(t.Context(), "get", "exposedhost", "whoami.techn.is", "-o", "jsonpath={.status.rivals[*].cluster}")
		if err == nil && got != "illmatic" {
			return fmt.Errorf("is %q", got)
		}
		return err
	})
	got := say(t, env, "move", "whoami.techn.is", "--to", "illmatic")
	if got.code != 0 || !testkit.ContainsAll(got.out, []string{"whoami.techn.is went from cluster hades to illmatic", "kubectl --context hades annotate ingressroute -n default whoami usher.techn.is/expose-"}) {
		t.Errorf("the move says %+v", got)
	}
	awaitBackends(t, edge, "illmatic")
	for line, want := range map[string]string{"move ": "nas.techn.is whoami.techn.is", "move whoami.techn.is --to ": "hades illmatic", "cluster drain ": "hades illmatic"} {
		completed := say(t, env, append([]string{"__complete"}, strings.Split(line, " ")...)...)
		if values, _, _ := strings.Cut(completed.out, ":"); strings.Join(strings.Fields(values), " ") != want {
			t.Errorf("%s<TAB> completes %q", line, completed.out)
		}
	}

	got = say(t, env, "cluster", "drain", "illmatic")
	if got.code != 0 || !testkit.ContainsAll(got.out, []string{"hosts that have another backend: 0\n", "and keep this one: 1\n  whoami.techn.is\n", "could not be counted: no pod of usher runs in namespace usher-system"}) {
		t.Errorf("the drain says %+v", got)
	}
	admin := "--admin=http://" + usher.Admin[0].String()
	if got = say(t, env, "cluster", "drain", "illmatic", "--wait", admin); got.code != 0 || !strings.Contains(got.out, "open connections to cluster illmatic: 0\n") {
		t.Errorf("with %s the drain says %+v", admin, got)
	}
	if got = say(t, env, "cluster", "drain", "illmatic", "--wait", "--admin=http://127.0.0.1:1"); got.code != exitFailure || !strings.Contains(got.err, "cannot wait until cluster illmatic is empty: http://127.0.0.1:1:") {
		t.Errorf("without an answer the drain says %+v", got)
	}
	if got = say(t, env, "cluster", "drain", "illmatic", "--undo"); got.code != 0 {
		t.Errorf("the end of the drain says %+v", got)
	}
	if left, err := edge.Kubectl(t.Context(), "get", "membercluster", "illmatic", "-o", `jsonpath={.metadata.annotations.usher\.techn\.is/drain}`); err != nil || left != "" {
		t.Errorf("the annotation is %q, %v", left, err)
	}
}

// A person mistypes a name, or asks for what is not possible.
func testMoveMistakes(t *testing.T, env []string) {
	testMistakes(t, env, []mistake{
		{"move whoam.techn.is --to illmatic", exitFailure, []string{"there is no ExposedHost for whoam.techn.is (context edge).", `Did you mean "whoami.techn.is"?`, "The hosts are: nas.techn.is, whoami.techn.is"}},
		{"move whoami.techn.is --to ilmatic", exitFailure, []string{"--to: there is no MemberCluster ilmatic", `Did you mean "illmatic"?`, "The members are: hades, illmatic"}},
		{"move nas.techn.is --to illmatic", exitFailure, []string{"ExposedHost nas.techn.is was written manually: set its spec.backends"}},
		{"move whoami.techn.is --to illmatic", exitFailure, []string{"the host is not moved: the host does not go to cluster illmatic: cluster illmatic makes no claim on the host: annotate the object"}},
		{"move whoami.techn.is --to hades --edge-context hades", exitFailure, []string{"the cluster lacks the CRDs of usher"}},
		{"cluster drain hads", exitFailure, []string{"there is no MemberCluster hads (context edge).", `Did you mean "hades"?`}},
	})
}

// documented matches the commands of docs/moving.md for the clusters.
var documented = regexp.MustCompile(`(?m)^ {4,}((?:kubectl|usher) .+)$`)

// The commands of docs/moving.md work, in their order.
func TestDocumentedMove(t *testing.T) {
	t.Parallel()
	bed, env, _ := twoMembers(t)
	edge := bed.Cluster("edge")
	text, err := os.ReadFile("../../docs/moving.md")
	testkit.Must(t, err)
	bin := t.TempDir()
	program, err := os.Executable()
	testkit.Must(t, err)
	testkit.Must(t, os.Symlink(program, filepath.Join(bin, "usher")))
	client, err := servers.Locate(servers.Kubectl)
	testkit.Must(t, err)
	testkit.Must(t, os.Symlink(client, filepath.Join(bin, "kubectl")))
	commands := documented.FindAllStringSubmatch(string(text), -1)
	if len(commands) < 10 {
		t.Fatalf("the page has only the commands %q", commands)
	}
	for _, command := range commands {
		if strings.HasPrefix(command[1], "usher move") { // as a person sees before
			testkit.Eventually(t, "a rival", func() error {
				got, err := edge.Kubectl(t.Context(), "get", "exposedhost", "whoami.techn.is", "-o", "jsonpath={.status.rivals[*].cluster}")
				if err == nil && got == "" {
					return fmt.Errorf("there is none")
				}
				return err
			})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, "bash", "-c", command[1])
		cmd.Env = append(programEnv("PATH="+bin+":"+os.Getenv("PATH")), env...)
		cmd.Env = append(cmd.Env, "HOME="+bin) // kubectl writes its cache there
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("docs/moving.md: %s: %v\n%s", command[1], err, out)
		}
		cancel()
	}
	awaitBackends(t, edge, "illmatic hades")
}
