package proxy_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy"
	"github.com/jovalle/usher/proxy/limit"
	"github.com/jovalle/usher/proxy/routing"
)

// edge is a running Server on loopback.
type edge struct {
	*proxy.Server
	https, http netip.AddrPort
	stop        context.CancelFunc
	done        chan error
}

// start serves routes until the test ends. All descriptors that are opened from here on
// must be closed then. Options may change the Server before it runs.
func start(t *testing.T, routes []routing.Route, options ...func(*proxy.Server)) *edge {
	t.Helper()
	testkit.CheckDescriptors(t)
	var live routing.Live
	live.Store(routing.NewTable(routes))
	s := &proxy.Server{
		HTTPSListen: []string{"127.0.0.1:0"},
		HTTPListen:  []string{"127.0.0.1:0"},
		Table:       &live,
		Log:         logr.Discard(),
		Timeouts:    limit.Timeouts{Drain: 100 * time.Millisecond},
	}
	for _, option := range options {
		option(s)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	e := &edge{Server: s, stop: stop, done: make(chan error, 1)}
	if addrs := s.HTTPSAddrs(); len(addrs) > 0 {
		e.https = addrs[0]
	}
	if addrs := s.HTTPAddrs(); len(addrs) > 0 {
		e.http = addrs[0]
	}
	go func() { e.done <- s.Serve(ctx) }()
	t.Cleanup(func() { e.end(t) })
	e.awaitMetric(t, "usher_loops_accepting", nil, 1)
	return e
}

// end stops the server and waits for it.
func (e *edge) end(t *testing.T) {
	t.Helper()
	e.stop()
	select {
	case err := <-e.done:
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
		e.done <- nil // for the next call
	case <-time.After(testkit.Timeout):
		t.Fatal("Serve does not return")
	}
}

// metric returns the sum of a metric over the given label values.
func (e *edge) metric(t *testing.T, name string, labels map[string]string) float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(e.Collector())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			match := true
			for _, pair := range m.GetLabel() {
				if want, ok := labels[pair.GetName()]; ok && want != pair.GetValue() {
					match = false
				}
			}
			if match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// awaitMetric waits until a metric has a value.
func (e *edge) awaitMetric(t *testing.T, name string, labels map[string]string, want float64) {
	t.Helper()
	testkit.WaitFor(t, fmt.Sprintf("%s%v to be %v", name, labels, want), func() bool { return e.metric(t, name, labels) == want })
}

// cluster is a TLS backend that greets each connection with its own name and the server
// name of the ClientHello.
type cluster struct {
	name string
	addr netip.AddrPort
}

// startCluster starts a cluster that echoes after the greeting.
func startCluster(t *testing.T, name string) cluster {
	t.Helper()
	return startClusterThat(t, name, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
}

// startClusterThat starts a cluster that does something after the greeting.
func startClusterThat(t *testing.T, name string, then func(net.Conn)) cluster {
	t.Helper()
	certificate := selfSigned(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go greet(conn.(*tls.Conn), name, then)
		}
	}()
	return cluster{name, listener.Addr().(*net.TCPAddr).AddrPort()}
}

func greet(conn *tls.Conn, name string, then func(net.Conn)) {
	defer conn.Close()
	if conn.Handshake() != nil {
		return
	}
	fmt.Fprintf(conn, "%s %s\n", name, conn.ConnectionState().ServerName)
	then(conn)
}

func (c cluster) backend() routing.Backend {
	return routing.Backend{Cluster: c.name, Addresses: []string{c.addr.Addr().String()}, HTTPSPort: c.addr.Port()}
}

func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "test"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// dial connects to addr and sets a deadline.
func dial(t *testing.T, addr netip.AddrPort) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr.String(), testkit.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(testkit.Timeout))
	return conn.(*net.TCPConn)
}

// visit makes a TLS connection for host and returns the cluster's greeting.
func visit(t *testing.T, addr netip.AddrPort, host string) (*tls.Conn, string, error) {
	t.Helper()
	conn := tls.Client(dial(t, addr), &tls.Config{ServerName: host, InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		return nil, "", err
	}
	line, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
	return conn, line, err
}

// get sends one plain HTTP request and does not follow redirects.
func get(t *testing.T, addr netip.AddrPort, host, path string) *http.Response {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://"+addr.String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	client := http.Client{
		Timeout:       testkit.Timeout,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}
