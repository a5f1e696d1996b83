package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// The commands of docs/moving.md, run as they are written, with requests all the while: none
// is refused. Only the host, the object and the addresses are this test's.
func TestAnAppMovesWithoutADroppedRequest(t *testing.T) {
	const host = "whoami.moving.techn.is"
	doc := newDocument(t, "../../../docs/moving.md", host)
	testkit.Must(t, env.Hades.Publish(t.Context(), "moving", host, `usher.techn.is/expose: "true"`))
	testkit.Must(t, env.Illmatic.Publish(t.Context(), "moving", host))
	t.Cleanup(func() {
		_, _ = env.Hades.Kubectl(context.Background(), "delete", "ingressroute", "moving")
		_, _ = env.Illmatic.Kubectl(context.Background(), "delete", "ingressroute", "moving")
	})
	answered(t, host, "hades")
	firstError := keepConnecting(t, env.Usher, host)

	steps := doc.commands(t, "## From hades to illmatic")
	const task = 5 // commands; those after them are another way to do it
	if len(steps) < task {
		t.Fatalf("the document has %d commands", len(steps))
	}
	for _, command := range steps[:task] {
		doc.run(t, command)
		if strings.HasPrefix(command, "usher move") {
			answered(t, host, "illmatic")
		}
	}
	answered(t, host, "illmatic")

	doc.run(t, "kubectl --context hades annotate ingressroute moving usher.techn.is/expose=true")
	for _, command := range doc.commands(t, "## Through the upgrade of a cluster") {
		if strings.Contains(command, "--undo") { // the step before it is the upgrade
			upgradeHades(t)
		}
		doc.run(t, command)
	}
	if err := firstError(); err != "" {
		t.Errorf("a request failed: %s", err)
	}
}

// upgradeHades waits until no connection to hades is open, stops all of hades, and starts it
// again.
func upgradeHades(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, "no connection to hades should be open", func() error {
		metrics, err := env.Get(t.Context(), "/metrics")
		if err == nil && !strings.Contains(metrics, `usher_cluster_connections_open{cluster="hades"} 0`) {
			err = errors.New("there are some")
		}
		return err
	})
	env.Hades.Traefik.Stop()
	env.Hades.Stop()
	testkit.Must(t, env.Hades.Start(context.Background()))
	testkit.Must(t, env.Hades.Traefik.Start(context.Background()))
	testkit.Must(t, env.Hades.Traefik.AwaitHost(t.Context(), "whoami.moving.techn.is"))
}

// document has commands to run.
type document struct {
	text string
	env  []string
}

// newDocument reads a document. Its commands find the clusters as contexts.
func newDocument(t *testing.T, file, host string) *document {
	t.Helper()
	text, err := os.ReadFile(file)
	testkit.Must(t, err)
	bin := t.TempDir()
	kubectl, err := servers.Locate(servers.Kubectl)
	testkit.Must(t, err)
	testkit.Must(t, os.Symlink(kubectl, filepath.Join(bin, "kubectl")))
	testkit.Must(t, os.Symlink(program, filepath.Join(bin, "usher")))
	curl, err := exec.LookPath("curl")
	testkit.Must(t, err)
	// Traefik signs its own certificate.
	testkit.Must(t, os.WriteFile(filepath.Join(bin, "curl"), fmt.Appendf(nil, "#!/bin/sh\nexec %s --silent --show-error --fail --insecure \"$@\"\n", curl), 0o700))
	replaced := strings.NewReplacer("whoami.techn.is", host, "ingressroute whoami", "ingressroute moving",
		"192.168.1.20:443", env.Illmatic.Traefik.HTTPS.String(), "usher cluster drain hades\n", "usher cluster drain hades --admin http://"+env.API.String()+"\n").Replace(string(text))
	kubeconfigs := []string{env.Edge.KubeconfigFile(), env.Hades.KubeconfigFile(), env.Illmatic.KubeconfigFile()}
	return &document{text: replaced, env: append(os.Environ(),
		"PATH="+bin+":"+os.Getenv("PATH"), "KUBECONFIG="+strings.Join(kubeconfigs, ":"), "KUBERC=off", "HOME="+t.TempDir())}
}

// commands returns the indented lines under a heading.
func (d *document) commands(t *testing.T, heading string) (commands []string) {
	t.Helper()
	_, section, found := strings.Cut(d.text, heading+"\n")
	if !found {
		t.Fatalf("the document has no %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "    ") {
			if command := strings.TrimSpace(line); command != "" {
				commands = append(commands, command)
			}
		}
	}
	return commands
}

// run runs a command, which must succeed.
func (d *document) run(t *testing.T, command string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Timeout)
	defer cancel()
	shell := exec.CommandContext(ctx, "sh", "-c", command)
	shell.Env = d.env
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	t.Logf("$ %s\n%s", command, out)
}
