package traefik

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

// oracle queries the real Traefik.
type oracle struct {
	client *http.Client   // of the HTTP routers; keeps its connections, each to one host
	tcp    netip.AddrPort // of the TCP routers
}

func newOracle(traefik *testbed.Traefik) *oracle {
	client := testbed.ClientTo(traefik.HTTPS.String())
	transport := client.Transport.(*http.Transport)
	transport.DisableKeepAlives = false
	transport.MaxIdleConnsPerHost = workers
	return &oracle{client: client, tcp: traefik.HTTP}
}

// serves reports whether the object serves a request to the host.
func (o *oracle) serves(ctx context.Context, s *subject, host string) (bool, error) {
	ask := o.sendHTTP
	if s.kind == source.KindIngressRouteTCP {
		ask = o.connectTLS
	}
	for fulfilled := range 1 << s.conditions {
		if served, err := ask(ctx, s, host, fulfilled); served || err != nil {
			return served, err
		}
	}
	return false, nil
}

// sendHTTP sends a request that fulfils the conditions of a bit set.
func (o *oracle) sendHTTP(ctx context.Context, s *subject, host string, fulfilled int) (bool, error) {
	path, query := "/"+s.name+"/", ""
	header := http.Header{}
	for n := 1; n <= s.conditions; n++ {
		if fulfilled&(1<<(n-1)) == 0 {
			continue
		}
		path += fmt.Sprintf("k%d/", n)
		query += fmt.Sprintf("k%d=on&", n)
		header.Set(fmt.Sprintf("K%d", n), "on")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+path+"?"+strings.TrimSuffix(query, "&"), nil)
	if err != nil {
		return false, err
	}
	request.Header = header
	return answered(o.client.Do(request))
}

func answered(response *http.Response, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
		return true, nil
	case http.StatusNotFound:
		return false, nil
	}
	return false, fmt.Errorf("Traefik answers %s", response.Status)
}

// noApplicationProtocol is the alert of RFC 7301, section 3.2. If no TCP router matches
// a connection, Traefik's HTTPS server sends it, since it supports none of the offered
// protocols.
const noApplicationProtocol = tls.AlertError(120)

// connectTLS makes a connection that offers the protocols of a bit set.
func (o *oracle) connectTLS(ctx context.Context, s *subject, host string, fulfilled int) (bool, error) {
	protocols := []string{s.name}
	for n := 1; n <= s.conditions; n++ {
		if fulfilled&(1<<(n-1)) != 0 {
			protocols = append(protocols, fmt.Sprintf("k%d", n))
		}
	}
	conn, err := net.Dial("tcp", o.tcp.String())
	if err != nil {
		return false, err
	}
	defer conn.Close()
	config := &tls.Config{
		ServerName: host, NextProtos: protocols, InsecureSkipVerify: true,
		CurvePreferences: []tls.CurveID{tls.X25519}, // the cheapest: it is done thousands of times
	}
	err = tls.Client(conn, config).HandshakeContext(ctx)
	var remote *net.OpError // of a TLS alert: its own type is not exported
	if errors.As(err, &remote) && remote.Err.Error() == noApplicationProtocol.Error() {
		return false, nil
	}
	return err == nil, err
}

// queryAll returns which hosts of the population Traefik serves for each object.
func queryAll(t *testing.T, o *oracle, subjects []*subject) []map[string]bool {
	t.Helper()
	served := make([]map[string]bool, len(subjects))
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(workers)
	for i, s := range subjects {
		served[i] = map[string]bool{}
		group.Go(func() error {
			for _, host := range population {
				yes, err := o.serves(ctx, s, host)
				if err != nil {
					return fmt.Errorf("%s\n asked for %s: %w", s, host, err)
				}
				if yes {
					served[i][host] = true
				}
			}
			return nil
		})
	}
	testkit.Must(t, group.Wait())
	return served
}

// startTLSApp starts a TLS server that accepts every ALPN protocol without selecting
// one, and its Service.
func startTLSApp(t *testing.T, cluster *testbed.Cluster) *testbed.App {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: server.TLS.Certificates}, nil
	}}
	server.StartTLS()
	t.Cleanup(server.Close)
	app := &testbed.App{Namespace: "default", Service: "tls", Port: int32(server.Listener.Addr().(*net.TCPAddr).Port)}
	testkit.Must(t, cluster.Apply(t.Context(), fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: %s}
spec: {type: ExternalName, externalName: localhost, ports: [{port: %d}]}
`, app.Service, app.Namespace, app.Port)))
	return app
}
