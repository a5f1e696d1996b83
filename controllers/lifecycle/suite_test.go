package lifecycle_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/jovalle/usher/controllers/lifecycle"
	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/proxy"
	"github.com/jovalle/usher/proxy/limit"
	"github.com/jovalle/usher/proxy/routing"
)

const namespace = "usher-system"

// bed has the edge cluster. Tests stop it and start it again, one after another.
var bed *testbed.Bed

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(testbed.Main(m, &bed, testbed.Options{Clusters: []string{"edge"}}))
}

// edge prepares the edge cluster.
func edge(t *testing.T) *testbed.Cluster {
	t.Helper()
	c := bed.Cluster("edge")
	testkit.Must(t, c.ApplyFiles(t.Context(), "../../config/crd/*.yaml"))
	testkit.Must(t, c.Apply(t.Context(), "{apiVersion: v1, kind: Namespace, metadata: {name: "+namespace+"}}"))
	return c
}

// outage stops a cluster's API server until the returned function is called, or
// the test ends.
func outage(t *testing.T, c *testbed.Cluster) (end func()) {
	t.Helper()
	c.Stop()
	end = sync.OnceFunc(func() { testkit.Must(t, c.Start(context.Background())) })
	t.Cleanup(end)
	return end
}

// exposedHost returns the ExposedHost of a person, with a backend on this machine.
func exposedHost(host string, backend netip.AddrPort) string {
	return fmt.Sprintf("---\napiVersion: usher.techn.is/v1alpha1\nkind: ExposedHost\nmetadata: {name: %[1]s}\nspec: {host: %[1]s, backends: [{address: %[2]s, httpsPort: %[3]d}]}\n",
		host, backend.Addr(), backend.Port())
}

// expose publishes a host in the edge cluster until the test ends.
func expose(t *testing.T, c *testbed.Cluster, host string, backend netip.AddrPort) {
	t.Helper()
	testkit.Must(t, c.Apply(t.Context(), exposedHost(host, backend)))
	t.Cleanup(func() { withdraw(t, c, host) })
}

// withdraw deletes a host in the edge cluster.
func withdraw(t *testing.T, c *testbed.Cluster, host string) {
	t.Helper()
	_, err := c.Kubectl(context.Background(), "delete", "exposedhost", host, "--ignore-not-found")
	testkit.Must(t, err)
}

// A process is a Process under test, with a real proxy on loopback addresses.
type process struct {
	*lifecycle.Process
	proxy  *proxy.Server
	log    testkit.Log
	cancel context.CancelFunc
	ended  chan error

	started, stopping atomic.Int64 // number of calls
}

// newProcess returns a process whose feed fills its proxy's table.
func newProcess(feed func(table *routing.Live, log logr.Logger) lifecycle.Feed) *process {
	p := &process{proxy: &proxy.Server{
		HTTPSListen: []string{"127.0.0.1:0"},
		Table:       &routing.Live{},
		Log:         logr.Discard(),
		Timeouts:    limit.Timeouts{Drain: testkit.Timeout},
	}}
	p.Process = &lifecycle.Process{
		Feed:     feed(p.proxy.Table, funcr.New(p.log.Add, funcr.Options{})),
		Proxy:    p.proxy,
		Started:  func() { p.started.Add(1) },
		Stopping: func() { p.stopping.Add(1) },
	}
	return p
}

// fromEdge returns a process with an EdgeFeed and the controllers.
func fromEdge(t *testing.T, change func(*lifecycle.EdgeOptions)) *process {
	t.Helper()
	return newProcess(func(table *routing.Live, log logr.Logger) lifecycle.Feed {
		config := bed.Cluster("edge").Config()
		config.QPS = -1
		options := lifecycle.EdgeOptions{Config: config, Namespace: namespace, Controllers: true, Table: table, Log: log}
		if change != nil {
			change(&options)
		}
		return lifecycle.NewEdgeFeed(options)
	})
}

// fromFiles returns a process with a FileFeed.
func fromFiles(t *testing.T, dir string) *process {
	t.Helper()
	return newProcess(func(table *routing.Live, log logr.Logger) lifecycle.Feed {
		watcher, err := manifest.NewWatcher(dir, "", log)
		testkit.Must(t, err)
		return lifecycle.NewFileFeed(watcher, table, log)
	})
}

// start runs the process until the test ends, or until end is called.
func (p *process) start(t *testing.T) *process {
	t.Helper()
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	p.ended = make(chan error, 1)
	go func() { p.ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		p.cancel()
		_ = p.awaitEnd(t)
		if t.Failed() {
			t.Logf("the process logged %q", p.log.With())
		}
	})
	return p
}

// awaitEnd waits until the process has ended, and returns the error of Run.
func (p *process) awaitEnd(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		p.ended <- err // for the next call
		return err
	case <-time.After(testkit.Timeout):
		t.Fatalf("Run does not return; it logged %q", p.log.With())
		return nil
	}
}

// end stops the process. Run must return nil.
func (p *process) end(t *testing.T) {
	t.Helper()
	p.cancel()
	if err := p.awaitEnd(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// awaitReady waits until the process is ready.
func (p *process) awaitReady(t *testing.T) *process {
	t.Helper()
	testkit.Eventually(t, "the process should be ready", p.Ready)
	return p
}

// visit connects to a host's backend through the proxy.
func (p *process) visit(t *testing.T, host string) (*tls.Conn, error) {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{ServerName: host, InsecureSkipVerify: true}}
	ctx, cancel := context.WithTimeout(context.Background(), testkit.Timeout)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", p.proxy.HTTPSAddrs()[0].String())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*tls.Conn), nil
}

// awaitServed waits until a host's backend answers through the proxy.
func (p *process) awaitServed(t *testing.T, host string) {
	t.Helper()
	testkit.Eventually(t, host+" should be served", func() error { return p.serves(t, host) })
}

func (p *process) serves(t *testing.T, host string) error {
	t.Helper()
	conn, err := p.visit(t, host)
	if err != nil {
		return err
	}
	defer conn.Close()
	return echoes(conn)
}

// awaitRefused waits until the proxy no longer serves a host.
func (p *process) awaitRefused(t *testing.T, host string) {
	t.Helper()
	testkit.Eventually(t, host+" should be refused", func() error {
		if p.serves(t, host) == nil {
			return fmt.Errorf("%s is served", host)
		}
		return nil
	})
}

// startBackend starts a TLS server that echoes, until the test ends.
func startBackend(t *testing.T) netip.AddrPort {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.Must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	testkit.Must(t, err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}})
	testkit.Must(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

// echoes returns nil if a byte comes back.
func echoes(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(testkit.Timeout)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}
