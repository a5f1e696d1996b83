package manifest_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
)

// A host whose own file is broken is refused by name, since the wildcard of another file
// must not serve it. The refusal ends when the file is good again or deleted.
func TestHostsOfARefusedFileAreRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "wild.yaml", "apiVersion: usher.techn.is/v1alpha1\nkind: ExposedHost\nmetadata: {name: wildcard.techn.is}\nspec: {host: '*.techn.is', backends: [{address: 10.0.0.1}]}\n")
	broken := strings.Replace(exposedHost("vault.techn.is"), "backends:", "allowFrom: [192.168.0.0/33], backends:", 1)
	write(t, dir, "vault.yaml", exposedHost("beside.techn.is")+"---\n"+broken)
	w := watch(t, dir)
	refused := func(hosts ...string) {
		t.Helper()
		w.await(func() bool { return slices.Equal(w.refused, hosts) }, "refusals of "+strings.Join(hosts, ", "))
	}
	w.awaitServed("*.techn.is")
	refused("beside.techn.is", "vault.techn.is")

	write(t, dir, "vault.yaml", file("vault.techn.is"))
	w.awaitServed("*.techn.is", "vault.techn.is")
	refused()

	// A file with a last good state is served from it.
	write(t, dir, "vault.yaml", broken+"---\n"+exposedHost("new.techn.is"))
	refused("new.techn.is")
	w.awaitServed("*.techn.is", "vault.techn.is")
	testkit.Must(t, os.Remove(filepath.Join(dir, "vault.yaml")))
	w.awaitServed("*.techn.is")
	refused()
}
