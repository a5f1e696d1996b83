package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// The packets by which an MQTT client and a broker begin: CONNECT of MQTT 3.1.1, and CONNACK.
const (
	mqttConnect = "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"
	mqttConnack = "\x20\x02\x00\x00"
)

// startBroker starts an MQTT broker that answers to CONNECT only, and its Service. It returns
// the port of the Service.
func startBroker(t *testing.T, name string) int {
	t.Helper()
	listener := testkit.Listen(t)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				hello := make([]byte, len(mqttConnect))
				if _, err := io.ReadFull(conn, hello); err == nil && string(hello) == mqttConnect {
					_, _ = io.WriteString(conn, mqttConnack+name)
				}
			}()
		}
	}()
	port := listener.Addr().(*net.TCPAddr).Port
	testkit.Must(t, env.Hades.Apply(t.Context(), fmt.Sprintf("{apiVersion: v1, kind: Service, metadata: {name: %s, namespace: default}, spec: {type: ExternalName, externalName: localhost, ports: [{port: %d}]}}", name, port)))
	return port
}

// routeBroker routes a host, which may be a wildcard, to a broker by an IngressRouteTCP on
// the entry point mqtts, where Traefik ends TLS.
func routeBroker(t *testing.T, name, host string, port int, annotations string) {
	t.Helper()
	testkit.Must(t, env.Hades.Apply(t.Context(), fmt.Sprintf(`
apiVersion: traefik.io/v1alpha1
kind: IngressRouteTCP
metadata: {name: %[1]s, namespace: default, annotations: {%[4]s}}
spec:
  entryPoints: [mqtts]
  routes: [{match: "HostSNI(%[5]s%[2]s%[5]s)", syntax: v3, services: [{name: %[1]s, port: %[3]d}]}]
  tls: {}
`, name, host, port, annotations, "`")))
	testkit.Must(t, env.Hades.Traefik.AwaitHost(t.Context(), host))
	t.Cleanup(func() {
		_, _ = env.Hades.Kubectl(context.Background(), "delete", "ingressroutetcp", name)
	})
}

// openssl connects to an address with a server name by openssl s_client, sends text, and
// returns what it prints.
func openssl(t *testing.T, at netip.AddrPort, name, text string) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Timeout)
	defer cancel()
	command := exec.CommandContext(ctx, path, "s_client", "-connect", at.String(), "-servername", name, "-quiet")
	command.Stdin = strings.NewReader(text)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	_ = command.Run() // a refused client returns an error
	return out.String()
}

// connected waits until a broker answers to a client of usher.
func connected(t *testing.T, host, broker string) {
	t.Helper()
	testkit.Eventually(t, "the broker should answer for "+host, func() error {
		if out := openssl(t, env.TLS["mqtts"][0], host, mqttConnect); !strings.Contains(out, mqttConnack+broker) {
			return fmt.Errorf("openssl prints %q", out)
		}
		return nil
	})
}

// mustBeRefused connects to a port of usher and wants the alert of an unknown host.
func mustBeRefused(t *testing.T, at netip.AddrPort, host string) {
	t.Helper()
	if out := openssl(t, at, host, mqttConnect); !strings.Contains(out, "unrecognized name") {
		t.Errorf("%s at %s: openssl prints %q", host, at, out)
	}
}

// MQTT over TLS through usher and a real Traefik: a broker is reached on the port that its
// route requests and on no other, and a host of port 443 is not reached on that of MQTT.
func TestMQTTOverTLS(t *testing.T) {
	const exposed = `usher.techn.is/expose: "true", usher.techn.is/ports: mqtts`
	mqtts := env.TLS["mqtts"][0]
	addPort(t)
	port := startBroker(t, "broker")
	routeBroker(t, "broker", "broker.port.techn.is", port, exposed)
	connected(t, "broker.port.techn.is", "broker")
	if out := kubectl(t, env.Edge, "get", "exposedhost", "broker.port.techn.is", "-o", "wide"); !strings.Contains(out, "PORTS") || !strings.Contains(out, " mqtts ") {
		t.Errorf("kubectl prints\n%s", out)
	}
	mustBeRefused(t, env.HTTPS, "broker.port.techn.is")
	if response := plain(t, "broker.port.techn.is", "/"); response.StatusCode != http.StatusNotFound {
		t.Errorf("plain HTTP is answered with %s", response.Status)
	}

	// A website of the same name is on 443 alone, and does not take the port from the broker.
	testkit.Must(t, env.Hades.Publish(t.Context(), "port-web", "broker.port.techn.is", `usher.techn.is/expose: "true"`))
	answered(t, "broker.port.techn.is", "hades")
	connected(t, "broker.port.techn.is", "broker")

	// Below a wildcard on the port, a host of 443 is refused there; another name is served.
	testkit.Must(t, env.Hades.Publish(t.Context(), "port-exact", "exact.port.techn.is", `usher.techn.is/expose: "true"`))
	answered(t, "exact.port.techn.is", "hades")
	other := startBroker(t, "wild-broker")
	routeBroker(t, "wild-broker", "*.port.techn.is", other, exposed)
	connected(t, "any.port.techn.is", "wild-broker")
	for _, host := range []string{"exact.port.techn.is", "EXACT.port.techn.is", "unknown.techn.is", "port.techn.is", "two.any.port.techn.is"} {
		if out := openssl(t, env.Hades.Traefik.MQTTS, "any.port.techn.is", mqttConnect); !strings.Contains(out, mqttConnack) {
			t.Fatalf("Traefik itself answers %q: the attack would prove nothing", out)
		}
		mustBeRefused(t, mqtts, host)
	}
	mustBeRefused(t, env.HTTPS, "any.port.techn.is")
	page, err := env.Get(t.Context(), "/metrics")
	testkit.Must(t, err)
	for _, line := range []string{`usher_port_routes{listening="true",port="mqtts"} 2`, `usher_port_connections_total{port="mqtts",result="forwarded"}`} {
		if !strings.Contains(page, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	kubectl(t, env.Hades.Cluster, "delete", "ingressroute", "port-web", "port-exact")
}

// A client that is let in on the port of MQTT reaches no website of the same Traefik, although
// the website's route is on that entry point too: the connection goes to the broker.
func TestAttackOnAWebsiteThroughMQTT(t *testing.T) {
	addPort(t)
	port := startBroker(t, "front-broker")
	routeBroker(t, "front-broker", "front.mqtt.techn.is", port, `usher.techn.is/expose: "true", usher.techn.is/ports: mqtts`)
	app, err := env.Hades.StartApp(t.Context(), "default", "mqtt-vault")
	testkit.Must(t, err)
	testkit.Must(t, env.Hades.Apply(t.Context(), fmt.Sprintf(`
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {name: mqtt-vault, namespace: default}
spec:
  entryPoints: [websecure, mqtts]
  routes: [{match: "Host(%[3]svault.mqtt.techn.is%[3]s)", kind: Rule, services: [{name: %[1]s, port: %[2]d}]}]
  tls: {}
`, app.Service, app.Port, "`")))
	testkit.Must(t, env.Hades.Traefik.AwaitHost(t.Context(), "vault.mqtt.techn.is"))
	connected(t, "front.mqtt.techn.is", "front-broker")
	request := get("/", "vault.mqtt.techn.is")
	testkit.Eventually(t, "Traefik itself should answer for the website, or the attack would prove nothing", func() error {
		if answer, err := overTLS(env.Hades.Traefik.MQTTS, "vault.mqtt.techn.is", request); !strings.Contains(answer, `"app":"mqtt-vault"`) {
			return fmt.Errorf("it answers %q, %w", answer, err)
		}
		return nil
	})
	for _, name := range []string{"front.mqtt.techn.is", "vault.mqtt.techn.is", ""} {
		if answer, _ := overTLS(env.TLS["mqtts"][0], name, request); strings.Contains(answer, "HTTP/1.1") {
			t.Errorf("by the name %q the website is reached: %q", name, answer)
		}
	}
	// A website asks for the port with its own route: it is isolated as on port 443, or refused.
	isolate(t, env.Hades, "front-")
	kubectl(t, env.Hades.Cluster, "annotate", "ingressroute", "mqtt-vault", expose, "usher.techn.is/ports=mqtts", "usher.techn.is/plain-http=deny")
	testkit.Eventually(t, "the website should be refused", func() error {
		out, err := env.Edge.Kubectl(t.Context(), "get", "exposedhost", "vault.mqtt.techn.is", "-o", "yaml")
		if err != nil || !strings.Contains(out, "NotIsolated") {
			return fmt.Errorf("the ExposedHost is\n%s", out)
		}
		return nil
	})
	mustBeRefused(t, env.TLS["mqtts"][0], "vault.mqtt.techn.is")
	kubectl(t, env.Hades.Cluster, "delete", "ingressroute", "mqtt-vault")
}

// addPort gives hades the port mqtts until the test ends.
func addPort(t *testing.T) {
	t.Helper()
	set := func(ports string) {
		_, err := env.Edge.Kubectl(context.Background(), "patch", "membercluster", "hades", "--type=merge", `--patch={"spec": {"ingress": {"ports": `+ports+`}}}`)
		testkit.Must(t, err)
	}
	set(fmt.Sprintf(`[{"name": "mqtts", "port": %d, "entryPoint": "mqtts"}]`, env.Hades.Traefik.MQTTS.Port()))
	t.Cleanup(func() { set("null") })
}

// overTLS sends text by TLS with a server name, and returns the answer.
func overTLS(at netip.AddrPort, name, text string) (string, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: testkit.Timeout}, "tcp", at.String(), &tls.Config{InsecureSkipVerify: true, ServerName: name})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(testkit.Timeout))
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	return string(answer), err
}
