package lifecycle_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/jovalle/usher/controllers/lifecycle"
	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

// exposeTo publishes a host for some clients until the test ends.
func exposeTo(t *testing.T, c *testbed.Cluster, host string, backend netip.AddrPort, clients string) {
	t.Helper()
	text := strings.Replace(exposedHost(host, backend), "backends:", "allowFrom: ["+clients+"], backends:", 1)
	testkit.Must(t, c.Apply(t.Context(), text))
	t.Cleanup(func() { withdraw(t, c, host) })
}

const loopback = "{apiVersion: usher.techn.is/v1alpha1, kind: NetworkList, metadata: {name: loopback}, spec: {networks: [127.0.0.0/8]}}"

// Without the definition of NetworkLists, as after an upgrade of usher alone, usher starts
// and serves the hosts that name none. When it is installed, and the list is there, the
// other hosts are served.
func TestWithoutTheDefinitionOfNetworkLists(t *testing.T) {
	c, backend := edge(t), startBackend(t)
	_, err := c.Kubectl(t.Context(), "delete", "crd", "networklists.usher.techn.is", "--wait")
	testkit.Must(t, err)
	expose(t, c, "without.techn.is", backend)
	exposeTo(t, c, "listed.techn.is", backend, "'@loopback'")
	p := fromEdge(t, nil).start(t).awaitReady(t)
	p.awaitServed(t, "without.techn.is")
	p.log.Await(t, "Cannot read NetworkLists: hosts that name one are refused")
	message := func(want string) {
		t.Helper()
		testkit.Eventually(t, "the message of the host", func() error {
			out, err := c.Kubectl(t.Context(), "get", "exposedhost", "listed.techn.is", "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].message}")
			if err != nil || !strings.Contains(out, want) {
				return fmt.Errorf("is %q, %w", out, err)
			}
			return nil
		})
	}
	message("names NetworkList loopback, and the edge cluster has no kind NetworkList; install")
	p.awaitRefused(t, "listed.techn.is")

	testkit.Must(t, c.ApplyFiles(t.Context(), "../../config/crd/*.yaml"))
	message("names NetworkList loopback, which does not exist at the edge")
	testkit.Must(t, c.Apply(t.Context(), loopback))
	p.awaitServed(t, "listed.techn.is")
	_, err = c.Kubectl(t.Context(), "delete", "networklist", "loopback")
	testkit.Must(t, err)
	p.awaitRefused(t, "listed.techn.is")
	testkit.Must(t, p.serves(t, "without.techn.is"))
	p.end(t)
}

// The snapshot has the lists: without an API server, their clients are served.
func TestSnapshotHasNetworkLists(t *testing.T) {
	c, backend, dir := edge(t), startBackend(t), t.TempDir()
	kept := func(o *lifecycle.EdgeOptions) {
		var err error
		o.Snapshot, err = manifest.NewSnapshot(dir, o.Log)
		testkit.Must(t, err)
	}
	testkit.Must(t, c.Apply(t.Context(), loopback))
	exposeTo(t, c, "in.techn.is", backend, "'@loopback'")
	exposeTo(t, c, "out.techn.is", backend, "'@loopback&10.0.0.0/8'")
	p := fromEdge(t, kept).start(t).awaitReady(t)
	p.awaitServed(t, "in.techn.is")
	p.awaitRefused(t, "out.techn.is")
	open, err := p.visit(t, "in.techn.is")
	testkit.Must(t, err)
	testkit.Must(t, open.Close())
	p.end(t)

	endOutage := outage(t, c)
	p = fromEdge(t, kept).start(t).awaitReady(t)
	testkit.Must(t, p.serves(t, "in.techn.is"))
	if p.serves(t, "out.techn.is") == nil {
		t.Error("a client outside of the lists is served")
	}
	open, err = p.visit(t, "in.techn.is")
	testkit.Must(t, err)
	endOutage()
	_, err = c.Kubectl(t.Context(), "delete", "networklist", "loopback")
	testkit.Must(t, err)
	p.awaitRefused(t, "in.techn.is")
	testkit.Must(t, echoes(open)) // an open connection stays
	testkit.Must(t, open.Close())
	p.end(t)
}
