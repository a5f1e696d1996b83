package lifecycle_test

import (
	"os"
	"strings"
	"testing"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/controllers/lifecycle"
	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/hack/test/testkit"
)

// A manager that fails is replaced, and the proxy is not interrupted. The manager fails
// since the leader cannot renew its Lease.
func TestManagerIsReplaced(t *testing.T) {
	c, backend := edge(t), startBackend(t)
	expose(t, c, "stays.techn.is", backend)
	expose(t, c, "goes.techn.is", backend)
	p := fromEdge(t, func(o *lifecycle.EdgeOptions) { o.LeaderElect = true }).start(t).awaitReady(t)
	p.awaitServed(t, "stays.techn.is")
	p.awaitServed(t, "goes.techn.is")
	open, err := p.visit(t, "stays.techn.is")
	testkit.Must(t, err)

	endOutage := outage(t, c)
	p.log.Await(t, "The controllers failed and are restarted; the proxy continues to serve")
	if err := p.Ready(); err != nil {
		t.Errorf("without a manager: %v", err)
	}
	testkit.Must(t, p.serves(t, "stays.techn.is"))
	testkit.Must(t, echoes(open))

	endOutage()
	expose(t, c, "comes.techn.is", backend)
	withdraw(t, c, "goes.techn.is")
	p.awaitServed(t, "comes.techn.is") // the controllers accept it, and the route reconciler serves it
	p.awaitRefused(t, "goes.techn.is")
	testkit.Must(t, echoes(open))
	if n := p.started.Load(); n != 1 {
		t.Errorf("the process started %d times", n)
	}
	testkit.Must(t, open.Close())
	p.end(t)
}

// Without a filled table the proxy would refuse every client, so it does not listen before.
func TestNothingIsServedBeforeTheTableIsFilled(t *testing.T) {
	c := edge(t)
	endOutage := outage(t, c)
	p := fromEdge(t, nil).start(t)
	p.log.Await(t, "The controllers failed and are restarted; the proxy continues to serve")
	if err := p.Ready(); err == nil || err.Error() != "the routing table has not been filled yet" {
		t.Errorf("without an API server: %v", err)
	}
	if addrs := p.proxy.HTTPSAddrs(); len(addrs) != 0 || p.started.Load() != 0 {
		t.Errorf("the proxy listens on %v", addrs)
	}
	endOutage()
	p.awaitReady(t) // there is no ExposedHost: the table is filled, and empty
	if len(p.proxy.HTTPSAddrs()) != 1 || p.started.Load() != 1 {
		t.Errorf("it is ready, started %d times and listens on %v", p.started.Load(), p.proxy.HTTPSAddrs())
	}
}

// Controllers without a proxy are ready when they have read the edge cluster, even if
// they are not the leader.
func TestControllersAlone(t *testing.T) {
	c, backend := edge(t), startBackend(t)
	endOutage := outage(t, c)
	alone := func() *process {
		p := fromEdge(t, func(o *lifecycle.EdgeOptions) { o.Table, o.LeaderElect = nil, true })
		p.Proxy = nil
		return p.start(t)
	}
	p := alone()
	testkit.WaitFor(t, "the process to start", func() bool { return p.started.Load() == 1 })
	if err := p.Ready(); err == nil || err.Error() != "the edge cluster has not been read yet" {
		t.Errorf("without an API server: %v", err)
	}
	endOutage()
	p.awaitReady(t)
	standby := alone().awaitReady(t)
	expose(t, c, "alone.techn.is", backend)
	_, err := c.Kubectl(t.Context(), "wait", "--for=condition=Accepted", "--timeout=90s", "exposedhost/alone.techn.is")
	testkit.Must(t, err)
	standby.end(t)
	p.end(t)
}

// A replica that is not the leader serves and is ready. When the leader has ended, it
// becomes the leader.
func TestReplicas(t *testing.T) {
	c, backend := edge(t), startBackend(t)
	elected := func(o *lifecycle.EdgeOptions) { o.LeaderElect = true }
	leader := fromEdge(t, elected).start(t).awaitReady(t)
	expose(t, c, "first.techn.is", backend)
	leader.awaitServed(t, "first.techn.is")
	second := fromEdge(t, elected).start(t).awaitReady(t)
	second.awaitServed(t, "first.techn.is")
	leader.end(t)
	expose(t, c, "later.techn.is", backend)
	second.awaitServed(t, "later.techn.is")
}

// The routes of the last run are served after a start without an API server, until
// there is one again.
func TestSnapshot(t *testing.T) {
	c, backend, dir := edge(t), startBackend(t), t.TempDir()
	kept := func(o *lifecycle.EdgeOptions) {
		var err error
		o.Snapshot, err = manifest.NewSnapshot(dir, o.Log)
		testkit.Must(t, err)
	}
	expose(t, c, "kept.techn.is", backend)
	p := fromEdge(t, kept).start(t).awaitReady(t)
	p.awaitServed(t, "kept.techn.is")
	p.end(t) // which writes pending changes

	endOutage := outage(t, c)
	p = fromEdge(t, kept).start(t).awaitReady(t)
	testkit.Must(t, p.serves(t, "kept.techn.is"))
	p.log.Await(t, "Serving from the snapshot until the edge cluster has been read")
	p.log.Await(t, "The controllers failed and are restarted; the proxy continues to serve")
	testkit.Must(t, p.serves(t, "kept.techn.is"))

	endOutage()
	withdraw(t, c, "kept.techn.is")
	p.awaitRefused(t, "kept.techn.is")
	p.end(t)
	snapshot, err := manifest.NewSnapshot(dir, logr.Discard())
	testkit.Must(t, err)
	if all, ok := snapshot.Load(); !ok || len(all.Hosts) != 0 {
		t.Errorf("the snapshot has %v, %v", all.Hosts, ok)
	}
}

// If the snapshot cannot be written, the process continues, and Run returns the error
// when it ends.
func TestSnapshotThatCannotBeWritten(t *testing.T) {
	c, backend, dir := edge(t), startBackend(t), t.TempDir()
	p := fromEdge(t, func(o *lifecycle.EdgeOptions) {
		var err error
		o.Snapshot, err = manifest.NewSnapshot(dir, o.Log)
		testkit.Must(t, err)
	})
	testkit.Must(t, os.RemoveAll(dir))
	p.start(t).awaitReady(t)
	expose(t, c, "unkept.techn.is", backend)
	p.awaitServed(t, "unkept.techn.is")
	p.log.Await(t, "Could not write the snapshot")
	testkit.Must(t, p.serves(t, "unkept.techn.is"))
	p.cancel()
	if err := p.awaitEnd(t); err == nil || !strings.Contains(err.Error(), "write the snapshot") {
		t.Errorf("Run: %v", err)
	}
}
