package controllers_test

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

// gate is a proxy in front of a member's API server that injects faults. The API server
// itself keeps running, so that a test can make changes that usher cannot see.
type gate struct {
	server  *httptest.Server
	failing atomic.Bool // lists and watches are answered 500
	resets  atomic.Bool // new connections are reset
	aged    atomic.Bool // all objects are said to be made in 2001

	schema atomic.Pointer[http.HandlerFunc] // answers requests for OpenAPI documents; nil: the API server does

	mu     sync.Mutex
	frozen chan struct{} // closed when bytes flow
	held   string        // what the paths end with whose requests wait; empty: none do
	let    chan struct{} // closed when they go on
}

// openGate starts a gate in front of a cluster.
func openGate(t *testing.T, cluster *testbed.Cluster) *gate {
	t.Helper()
	// The credentials are the client's own: the gate only trusts the cluster's certificate.
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(cluster.Config()))
	testkit.Must(t, err)
	g := &gate{frozen: make(chan struct{})}
	close(g.frozen)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "https", Host: cluster.Address().String()})
			r.Out.Header.Del("Accept-Encoding") // what comes can be read, and aged
		},
		Transport:     transport,
		FlushInterval: -1, // a watch's events pass one by one
		ModifyResponse: func(r *http.Response) error {
			if g.aged.Load() {
				r.Body = &agedBody{ReadCloser: r.Body}
			}
			return nil
		},
	}
	g.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.failing.Load() && r.URL.Path != "/version" {
			http.Error(w, "etcdserver: leader changed", http.StatusInternalServerError)
			return
		}
		if schema := g.schema.Load(); schema != nil && strings.HasPrefix(r.URL.Path, "/openapi/") {
			(*schema)(w, r)
			return
		}
		g.wait(r)
		proxy.ServeHTTP(w, r)
	}))
	g.server.Listener = &freezingListener{g.server.Listener, g}
	g.server.EnableHTTP2 = true
	g.server.StartTLS()
	t.Cleanup(func() { g.thaw(); g.server.CloseClientConnections(); g.server.Close() })
	return g
}

// kubeconfig changes a kubeconfig of the cluster so that it connects through the gate.
func (g *gate) kubeconfig(t *testing.T, kubeconfig []byte) []byte {
	t.Helper()
	config, err := clientcmd.Load(kubeconfig)
	testkit.Must(t, err)
	for _, cluster := range config.Clusters {
		cluster.Server = g.server.URL
		cluster.CertificateAuthorityData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.server.Certificate().Raw})
	}
	through, err := clientcmd.Write(*config)
	testkit.Must(t, err)
	return through
}

// cut closes all connections. New ones pass.
func (g *gate) cut() { g.server.CloseClientConnections() }

// fail starts or stops to answer lists and watches with 500. Version requests still pass.
func (g *gate) fail(failing bool) {
	g.failing.Store(failing)
	if failing {
		g.cut()
	}
}

// reset starts or stops to reset all connections.
func (g *gate) reset(resets bool) {
	g.resets.Store(resets)
	g.cut()
}

// hold lets requests wait whose path ends so, until release is called; all others are
// answered.
func (g *gate) hold(path string) (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held, g.let = path, make(chan struct{})
	return sync.OnceFunc(func() { close(g.let) })
}

// wait returns when a request may go on.
func (g *gate) wait(r *http.Request) {
	g.mu.Lock()
	held, let := g.held, g.let
	g.mu.Unlock()
	if held == "" || !strings.HasSuffix(r.URL.Path, held) {
		return
	}
	select {
	case <-let:
	case <-r.Context().Done():
	}
}

// freeze stops all bytes. Connections stay open, but nothing is sent or received.
func (g *gate) freeze() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frozen = make(chan struct{})
}

// thaw lets bytes pass again.
func (g *gate) thaw() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.frozen:
	default:
		close(g.frozen)
	}
}

// pass returns when bytes may pass.
func (g *gate) pass() {
	g.mu.Lock()
	frozen := g.frozen
	g.mu.Unlock()
	<-frozen
}

// agedBody is a body of JSON in which all objects were made in 2001.
type agedBody struct {
	io.ReadCloser
	matched int // bytes of creation
	year    int // bytes of the year that are still to come
}

const (
	creation     = `"creationTimestamp":"`
	creationYear = "2001"
)

func (b *agedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	for i := range p[:n] {
		if b.year > 0 {
			p[i] = creationYear[len(creationYear)-b.year]
			b.year--
			continue
		}
		if p[i] != creation[b.matched] {
			b.matched = 0
		}
		if p[i] == creation[b.matched] {
			b.matched++
		}
		if b.matched == len(creation) {
			b.matched, b.year = 0, len(creationYear)
		}
	}
	return n, err
}

// freezingListener accepts connections whose bytes a gate can stop.
type freezingListener struct {
	net.Listener
	gate *gate
}

func (l *freezingListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if !l.gate.resets.Load() {
			return &freezingConn{conn, l.gate}, nil
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

type freezingConn struct {
	net.Conn
	gate *gate
}

func (c *freezingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.gate.pass()
	return n, err
}

func (c *freezingConn) Write(p []byte) (int, error) {
	c.gate.pass()
	return c.Conn.Write(p)
}
