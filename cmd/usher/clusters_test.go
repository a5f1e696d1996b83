package main

import (
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

// membersText are members of the edge, with labels and a status.
const membersText = `
apiVersion: usher.techn.is/v1alpha1
kind: MemberCluster
metadata: {name: hades, labels: {site: home}}
spec: {ingress: {addresses: [192.0.2.10]}}
---
apiVersion: usher.techn.is/v1alpha1
kind: MemberCluster
metadata: {name: illmatic}
spec: {ingress: {addresses: [192.0.2.20]}}
`

// A person uses usher cluster with API servers that answer.
func TestClusterCommands(t *testing.T) {
	t.Parallel()
	bed := testbed.New(t, testbed.Options{Clusters: []string{"edge", "hades"}})
	edge, hades := bed.Cluster("edge"), bed.Cluster("hades")
	testkit.Must(t, edge.ApplyFiles(t.Context(), "../../config/crd/*.yaml"))
	testkit.Must(t, edge.Apply(t.Context(), "{apiVersion: v1, kind: Namespace, metadata: {name: usher-system}}"))
	env := []string{"HOME=/nowhere", "KUBECONFIG=" + edge.KubeconfigFile() + ":" + hades.KubeconfigFile()} // the current context is edge

	if got := say(t, env, "cluster", "list"); got.code != 0 || got.out != "" || !strings.Contains(got.err, "There is no member cluster yet: usher cluster add NAME --context CONTEXT") {
		t.Errorf("without a member it says %+v", got)
	}
	if got := say(t, env, "cluster", "remove", "hads", "--context", "hades"); got.code != exitFailure || !strings.Contains(got.err, "which has no members") {
		t.Errorf("without a member, remove says %+v", got)
	}
	testkit.Must(t, edge.Apply(t.Context(), membersText))
	status := `{"status":{"hosts":3,"kubernetesVersion":"v1.37.2","ingress":{"addresses":["192.0.2.10"],"httpsPort":443,"httpPort":80,"summary":"192.0.2.10"},"traefik":{"version":"3.6.1"},` +
		`"conditions":[{"type":"Ready","status":"True","reason":"Ready","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`
	_, err := edge.Kubectl(t.Context(), "patch", "membercluster", "hades", "--subresource=status", "--type=merge", "--patch", status)
	testkit.Must(t, err)

	t.Run("lists", func(t *testing.T) { testLists(t, edge, env) })
	t.Run("mistakes", func(t *testing.T) {
		wrongToken, err := edge.KubeconfigWithToken("wrong")
		testkit.Must(t, err)
		testMistakes(t, env, []mistake{
			{"cluster remove hads --context hades", exitFailure, []string{"hads: there is nothing of this member (context edge).", `Did you mean "hades"?`, "The members are: hades, illmatic"}},
			{"cluster isolate ilmatic --context hades", exitFailure, []string{`Did you mean "illmatic"?`}},
			{"cluster list --edge-context hades", exitFailure, []string{"context hades: list MemberClusters: the cluster lacks the CRDs of usher; install usher first, or choose the context of the edge cluster\n"}},
			{"cluster list -o json --edge-context hades", exitFailure, []string{"the cluster lacks the CRDs of usher"}},
			{"cluster list --edge-kubeconfig " + writeText(t, "config", string(wrongToken)), exitFailure, []string{"the edge cluster (context edge, server https://127.0.0.1:", "does not accept the credentials", "log in again"}},
		})
	})
	t.Run("the edge itself", func(t *testing.T) { testEdgeUnasked(t, edge, hades, env) })
	t.Run("completion", func(t *testing.T) { testCompletion(t, env) })
	hades.Stop()
	testMistakes(t, env, []mistake{{"cluster add pluto --context hades", exitFailure,
		[]string{"the member (context hades, server https://127.0.0.1:", "cannot be reached: connection refused", "choose another context with --context\n"}}})
	testkit.Must(t, edge.Pause())
	defer func() { testkit.Must(t, edge.Resume()) }()
	if got := say(t, env, "__complete", "cluster", "remove", ""); got.code != 0 || !strings.HasPrefix(got.out, ":4\n") {
		t.Errorf("without an answer of the edge, the completion says %+v", got)
	}
}

// usher cluster list prints what kubectl get prints.
func testLists(t *testing.T, edge *testbed.Cluster, env []string) {
	for _, flags := range []string{"", "-o wide", "--no-headers", "--show-labels", "-o json", "-o yaml", "-o name", "-o jsonpath={.items[*].metadata.name}", "-o go-template={{.kind}}"} {
		t.Run(flags, func(t *testing.T) {
			args := strings.Fields(flags)
			want, err := edge.Kubectl(t.Context(), append([]string{"get", "memberclusters"}, args...)...)
			testkit.Must(t, err)
			got := say(t, env, append([]string{"cluster", "list"}, args...)...)
			if withoutAge(got.out) != withoutAge(want) || got.err != "" || got.code != 0 {
				t.Errorf("usher prints\n%s%s; kubectl prints\n%s", got.out, got.err, want)
			}
		})
	}
	var list struct{ Items []any }
	if got := say(t, env, "cluster", "ls", "-o", "json"); json.Unmarshal([]byte(got.out), &list) != nil || len(list.Items) != 2 {
		t.Errorf("the list is %s", got.out)
	}
}

// withoutAge replaces a table's ages, which differ by the time of the command.
func withoutAge(text string) string {
	fields := strings.Fields(text)
	for i, field := range fields {
		if strings.HasSuffix(field, "s") && strings.Trim(field, "0123456789ms") == "" {
			fields[i] = "AGE"
		}
	}
	return strings.Join(fields, " ")
}

// Without --context, and with the edge as the current context, nothing makes the edge its
// own member but the person's answer.
func testEdgeUnasked(t *testing.T, edge, hades *testbed.Cluster, env []string) {
	const question = "Without --context, the member pluto would be the edge cluster itself (context edge, server https://127.0.0.1:"
	refused := []string{"--context: is missing, and the member pluto would be the edge cluster itself (context edge, server https://127.0.0.1:", "name the member's context, of: edge, hades\n"}
	testMistakes(t, env, []mistake{
		{"cluster add pluto", exitUsage, refused},
		{"cluster add pluto --yes", exitUsage, refused},
		{"cluster add pluto --isolate --yes --address 192.0.2.1", exitUsage, refused},
		{"cluster add pluto --dry-run", exitUsage, refused},
		{"cluster add pluto --edge-context edge", exitUsage, refused},
		{"cluster add pluto --kubeconfig " + edge.KubeconfigFile(), exitUsage, []string{"--context: is missing", "of: edge\n"}},
		{"cluster add pluto --edge-kubeconfig " + edge.KubeconfigFile(), exitUsage, refused},
		{"cluster isolate illmatic", exitUsage, []string{"--context: is missing, and the member illmatic would be the edge cluster itself"}},
		// A flag that leads to another cluster says which one the member is.
		{"cluster add pluto --address 192.0.2.1 --dry-run=member --kubeconfig " + hades.KubeconfigFile(), 0, nil},
		{"cluster add pluto --address 192.0.2.1 --dry-run=member --context edge", 0, nil},
	})
	for answer, code := range map[string]int{"n": exitUsage, "": exitUsage, "y": 0} {
		t.Run("answer "+answer, func(t *testing.T) {
			shown, got := onTerminalSay(t, env, answer+"\n", "cluster", "add", "pluto", "--address", "192.0.2.1", "--dry-run=member")
			if got.code != code || !strings.Contains(shown, question) || (code == 0) != strings.Contains(got.out, "kind: ServiceAccount") {
				t.Errorf("exit code %d; want %d. It shows\n%s\nand prints\n%s", got.code, code, shown, got.out)
			}
		})
	}
	written, err := edge.Kubectl(t.Context(), "get", "memberclusters,namespaces", "-o", "name")
	testkit.Must(t, err)
	if strings.Contains(written, "pluto") || strings.Contains(written, "usher-reader") {
		t.Errorf("the edge has %s", written)
	}
}

// onTerminalSay runs usher with a terminal as its stdin and stderr, where a person types
// an answer. It returns what the terminal shows.
func onTerminalSay(t *testing.T, env []string, answer string, args ...string) (shown string, got said) {
	t.Helper()
	person, terminal := openTerminal(t)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(programEnv(), env...)
	var out strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, &out, terminal
	testkit.Must(t, cmd.Start())
	_ = terminal.Close()
	_, err := person.WriteString(answer)
	testkit.Must(t, err)
	text, _ := io.ReadAll(person) // it ends with an error when usher closes the terminal
	_ = cmd.Wait()
	return string(text), said{out: out.String(), code: cmd.ProcessState.ExitCode()}
}

// The shell completes contexts, members and values.
func testCompletion(t *testing.T, env []string) {
	for line, want := range map[string]string{
		"cluster add pluto --context ":        "edge hades",
		"cluster add pluto --edge-context ":   "edge hades",
		"cluster list --edge-context ":        "edge hades",
		"cluster remove ":                     "hades illmatic",
		"cluster isolate ":                    "hades illmatic",
		"cluster remove hades ":               "",
		"cluster remove --edge-context=edge ": "hades illmatic",
		"cluster add pluto --dry-run=":        "member edge all",
		"cluster list -o ":                    "json yaml name wide jsonpath= go-template=",
		"run --log-level ":                    "debug info error",
		"run --log-format ":                   "json text",
		"run --idle-timeout ":                 "",
		"version -o ":                         "json yaml",
	} {
		words := strings.Split(line, " ")
		got := say(t, env, append([]string{"__complete"}, words...)...)
		values, directive, _ := strings.Cut(got.out, ":")
		if strings.Join(strings.Fields(values), " ") != want || strings.TrimSpace(directive) != "4" { // no files
			t.Errorf("%s<TAB> completes %q, directive %s; want %s", line, values, directive, want)
		}
	}
	for line, want := range map[string]string{"run --kubeconfig ": ":0", "run --manifests ": ":16", "check ": ":16", "run --state-dir ": ":16"} { // files, directories
		if got := say(t, env, append([]string{"__complete"}, strings.Split(line, " ")...)...); strings.TrimSpace(got.out) != want {
			t.Errorf("%s<TAB> completes %q; want %s", line, got.out, want)
		}
	}
	broken := []string{"HOME=/nowhere", "KUBECONFIG=/nowhere/config"}
	if got := say(t, broken, "__complete", "cluster", "remove", ""); got.code != 0 || !strings.HasPrefix(got.out, ":4\n") {
		t.Errorf("without a kubeconfig the completion says %+v", got)
	}
}
