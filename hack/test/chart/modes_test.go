package chart

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

// In each mode the pods become ready, and the pod with the proxy serves an annotated host.
func TestEachModeServes(t *testing.T) {
	edge := bed.Cluster("edge")
	traefik, err := edge.StartTraefik(t.Context())
	testkit.Must(t, err)
	app, err := edge.StartApp(t.Context(), "default", "whoami")
	testkit.Must(t, err)
	for _, mode := range []struct {
		name     string
		release  func(t *testing.T) release
		decides  string
		forwards string
		client   func(address string) *http.Client
	}{
		{"one Deployment on the host's network", chart("edgeIsMember=true"), "usher", "usher", testbed.ClientTo},
		{"one Deployment on host ports", chart("edgeIsMember=true", "network=HostPort"), "usher", "usher", testbed.ClientTo},
		{"two replicas behind a load balancer that speaks PROXY",
			chart("edgeIsMember=true", "network=LoadBalancer", "replicas=2", "proxy.proxyProtocolFrom={127.0.0.0/8}"), "usher", "usher", proxyProtocolClientTo},
		{"a Deployment and a DaemonSet", chart("edgeIsMember=true", "mode=split"), "usher-controller", "usher-proxy", testbed.ClientTo},
		{"config/", renderConfig, "usher", "usher", testbed.ClientTo},
	} {
		t.Run(mode.name, func(t *testing.T) {
			r := mode.release(t)
			applyObjects(t, r)
			testkit.Must(t, edge.Apply(t.Context(), fmt.Sprintf(`
apiVersion: usher.techn.is/v1alpha1
kind: MemberCluster
metadata: {name: edge}
spec: {ingress: {addresses: [%s], httpsPort: %d}}
`, traefik.HTTPS.Addr(), traefik.HTTPS.Port())))
			t.Cleanup(func() { cleanUp(t) })
			host := "whoami.techn.is"
			testkit.Must(t, edge.Apply(t.Context(), fmt.Sprintf(`
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {name: whoami, namespace: default, annotations: {usher.techn.is/expose: "true"}}
spec: {routes: [{match: "Host(`+"`%s`"+`)", kind: Rule, services: [{name: %s, port: %d}]}]}
`, host, app.Service, app.Port)))
			forwards := r.start(t, mode.forwards)
			if mode.decides != mode.forwards {
				ready(t, r.start(t, mode.decides))
			}
			ready(t, forwards)
			client := mode.client(forwards.addresses(t).HTTPS[0].String())
			testkit.Eventually(t, host+" should be answered", func() error {
				_, err := testbed.GetAnswer(t.Context(), client, "https://"+host+"/")
				return err
			})
		})
	}
}

func chart(values ...string) func(t *testing.T) release {
	return func(t *testing.T) release {
		t.Helper()
		return renderChart(t, values...)
	}
}

// ready waits until /readyz of a pod answers with 200.
func ready(t *testing.T, p *pod) {
	t.Helper()
	admin := p.addresses(t).Admin[0]
	testkit.Eventually(t, "the pod should be ready", func() error {
		response, err := http.Get(fmt.Sprintf("http://%s/readyz", admin))
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("it is not ready: %s", response.Status)
		}
		return nil
	})
}

// cleanUp deletes the published hosts of a test before the next one.
func cleanUp(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"delete", "ingressroutes.traefik.io", "whoami", "--namespace=default"},
		{"delete", "exposedhosts,memberclusters", "--all"},
		{"delete", "lease", "--all", "--namespace", namespace},
	} {
		_, err := bed.Cluster("edge").Kubectl(context.WithoutCancel(t.Context()), args...)
		testkit.Must(t, err)
	}
}

// proxyProtocolClientTo returns a client that sends PROXY headers, as a load balancer does.
func proxyProtocolClientTo(address string) *http.Client {
	return testbed.ProxyProtocolClientTo(address, netip.MustParseAddr("192.0.2.7"))
}
