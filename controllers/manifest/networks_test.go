package manifest_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/hack/test/testkit"
)

func networkList(name, networks string) string {
	return "apiVersion: usher.techn.is/v1alpha1\nkind: NetworkList\nmetadata: {name: " + name + "}\nspec: {networks: [" + networks + "]}\n"
}

// from returns a host whose clients are those of a list.
func from(host, clients string) string {
	return strings.Replace(exposedHost(host), "backends:", "allowFrom: ["+clients+"], backends:", 1)
}

// awaitAllows waits until photos.techn.is is refused for a reason, or allows a client or
// does not.
func (w *watched) awaitAllows(client, refusal string, want bool) {
	w.Helper()
	w.await(func() bool {
		table, _ := routetable.Build(w.all)
		route := table.Lookup("photos.techn.is")
		return route != nil && route.Refusal == refusal && (refusal != "" || route.Allows(netip.MustParseAddr(client)) == want)
	}, "a route that allows "+client)
}

// A list of one file is that of the hosts of another. Its change and its end change them.
func TestNetworkListsOfFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "family.yaml", networkList("family", "192.168.0.0/16"))
	write(t, dir, "host.yaml", from("photos.techn.is", "'@family', 203.0.113.0/24"))
	w := watch(t, dir)
	w.awaitAllows("192.168.1.1", "", true)
	w.awaitAllows("10.0.0.1", "", false)
	write(t, dir, "family.yaml", networkList("family", "10.0.0.0/8"))
	w.awaitAllows("10.0.0.1", "", true)
	w.awaitAllows("192.168.1.1", "", false)
	w.awaitAllows("203.0.113.1", "", true)

	// A broken file keeps its last good state, a deleted one does not.
	write(t, dir, "family.yaml", networkList("family", "10.0.0.0/33"))
	w.awaitLog("Refused a manifest file; its last good state is still served", "family.yaml:4: spec.networks[0]: ")
	w.awaitAllows("10.0.0.1", "", true)
	testkit.Must(t, os.Remove(filepath.Join(dir, "family.yaml")))
	w.awaitAllows("", "UnknownNetworkList", false)
	w.awaitLog("Refused", "host.yaml:4: spec.allowFrom[0]: ", "there is no NetworkList family")
	write(t, dir, "again.yaml", networkList("family", "10.0.0.0/8"))
	w.awaitAllows("10.0.0.1", "", true)
}

// A new file whose host names an unknown list is refused, and no wildcard serves the host.
func TestAFileWithAnUnknownNetworkList(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "wild.yaml", strings.NewReplacer("{name: a.techn.is}", "{name: wildcard.techn.is}", "host: a.techn.is", "host: '*.techn.is'").Replace(exposedHost("a.techn.is")))
	write(t, dir, "host.yaml", from("photos.techn.is", "'@family'"))
	w := watch(t, dir)
	w.awaitServed("*.techn.is")
	w.await(func() bool { return len(w.refused) == 1 && w.refused[0] == "photos.techn.is" }, "the refusal")
	write(t, dir, "family.yaml", networkList("family", "192.168.0.0/16"))
	w.awaitServed("*.techn.is", "photos.techn.is")
}

func TestCheckReportsUnknownNetworkLists(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", networkList("family", "192.168.0.0/16")+"---\n"+networkList("vpn", "10.0.0.0/8"))
	write(t, dir, "b.yaml", from("b.techn.is", "'@family'"))
	write(t, dir, "c.yaml", from("c.techn.is", "'@family', '@famly'"))
	write(t, dir, "d.yaml", from("d.techn.is", "'@family&@vpn'"))
	report, err := manifest.Check(t.Context(), dir)
	testkit.Must(t, err)
	if report.Networks != 2 || report.Hosts != 1 || report.Routes != 1 || report.Refused != 2 || len(report.Problems) != 2 {
		t.Fatalf("the report is %+v", report)
	}
	for i, want := range []string{
		`c.yaml:4: spec.allowFrom[1]: Not found: "@famly": there is no NetworkList famly, or its file is refused: add it, or correct the name`,
		`d.yaml:4: spec.allowFrom: Invalid value: "@family&@vpn": the NetworkLists and networks that are joined by & have no client in common`,
	} {
		if got := report.Problems[i].String(); !strings.HasPrefix(got, want) {
			t.Errorf("the problem is %s\nwant %s", got, want)
		}
	}
}

// The last good state of a file that has a list is served after a restart.
func TestNetworkListsSurviveARestart(t *testing.T) {
	r := newRestarts(t)
	write(t, r.dir, "family.yaml", networkList("family", "192.168.0.0/16"))
	write(t, r.dir, "host.yaml", from("photos.techn.is", "'@family'"))
	w, stop := r.watch(t)
	w.await(func() bool { _, err := os.Stat(r.stored("family.yaml")); return err == nil }, "the last good text")
	stop()
	write(t, r.dir, "family.yaml", "broken: {")
	w, stop = r.watch(t)
	defer stop()
	w.awaitAllows("192.168.1.1", "", true)
}
