package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// kubectl finds the program as its plugin, which has the same commands, and help that shows
// how to call it.
func TestPluginOfKubectl(t *testing.T) {
	kubectl, err := servers.Locate(servers.Kubectl)
	testkit.Must(t, err)
	self, err := os.Executable()
	testkit.Must(t, err)
	dir := t.TempDir()
	testkit.Must(t, os.Symlink(self, filepath.Join(dir, "kubectl-usher")))
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), kubectl, args...)
		cmd.Env = programEnv("PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("kubectl %s: %v: %s", args, err, out)
		}
		return string(out)
	}
	if help := run("usher", "history", "--help"); !testkit.ContainsAll(help, []string{"Usage:\n  kubectl usher history [HOST] [flags]"}) {
		t.Errorf("the help is:\n%s", help)
	}
	if said := run("usher", "version"); !strings.HasPrefix(said, "usher "+version) {
		t.Errorf("the version is %q", said)
	}
	if listed := run("plugin", "list"); !testkit.ContainsAll(listed, []string{filepath.Join(dir, "kubectl-usher")}) {
		t.Errorf("the plugins are:\n%s", listed)
	}
}
