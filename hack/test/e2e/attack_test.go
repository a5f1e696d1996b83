package e2e

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

// TestAttacksOnPlainHTTP sends requests to usher's port 80, in front of a real Traefik:
// for hosts that are not published, for a host that refuses the client, and for paths
// other than ACME challenges of a host that denies plain HTTP.
func TestAttacksOnPlainHTTP(t *testing.T) {
	for app, annotations := range map[string]string{
		"fwd":    `usher.techn.is/expose: "true", usher.techn.is/plain-http: forward`,
		"narrow": `usher.techn.is/expose: "true", usher.techn.is/plain-http: forward, usher.techn.is/allow-from: 192.0.2.0/24`,
		"denied": `usher.techn.is/expose: "true", usher.techn.is/plain-http: deny`,
		"vault":  "",
	} {
		testkit.Must(t, env.Hades.Publish(t.Context(), app, app+".attack.techn.is", annotations))
	}
	const acme = "/.well-known/acme-challenge/token"
	testkit.Eventually(t, "the hosts should be served on plain HTTP", func() error {
		for request, app := range map[string]string{
			get("/", "fwd.attack.techn.is"):     "fwd",
			get(acme, "denied.attack.techn.is"): "denied",
		} {
			if answer := raw(t, env.HTTP, request); !strings.Contains(answer, `"app":"`+app+`"`) {
				return fmt.Errorf("%q is answered %q", request, answer)
			}
		}
		return nil
	})
	if answer := raw(t, env.Hades.Traefik.HTTP, get("/", "vault.attack.techn.is")); !strings.Contains(answer, `"app":"vault"`) {
		t.Fatalf("Traefik itself answers %q: the attacks would prove nothing", answer)
	}
	for _, request := range []string{
		get("/", "vault.attack.techn.is"),
		get(acme, "vault.attack.techn.is"),
		get("/", "narrow.attack.techn.is"),
		get("x:http://vault.attack.techn.is/secret", "fwd.attack.techn.is"),
		get("x:http://narrow.attack.techn.is/", "fwd.attack.techn.is"),
		get("x:http://vault.attack.techn.is"+acme, "denied.attack.techn.is"),
		get("http:vault.attack.techn.is/", "fwd.attack.techn.is"),
		get("http://vault.attack.techn.is/", "fwd.attack.techn.is"),
		get("http://fwd.attack.techn.is@vault.attack.techn.is/", "fwd.attack.techn.is"),
		get("http://vault.attack.techn.is\\@fwd.attack.techn.is/", "fwd.attack.techn.is"),
		get("/", "fwd.attack.techn.is:80,vault.attack.techn.is"),
		get("/", "fwd.attack.techn.is\r\nHost: vault.attack.techn.is"),
		get("/", "fwd.attack.techn.is\r\n vault.attack.techn.is"),
		get("/", "[vault.attack.techn.is]:x"),
		get("x:/admin/delete?id=1&x=://h"+acme, "denied.attack.techn.is"),
		get(acme+"/../../../admin/delete", "denied.attack.techn.is"),
		get(acme+"%2f..%2f..%2f..%2fadmin", "denied.attack.techn.is"),
		"POST " + acme + " HTTP/1.1\r\nHost: denied.attack.techn.is\r\nContent-Length: 1\r\n\r\nx",
		"CONNECT vault.attack.techn.is:80 HTTP/1.1\r\nHost: fwd.attack.techn.is\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: denied.attack.techn.is\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get("/", "vault.attack.techn.is"),
	} {
		if answer := raw(t, env.HTTP, request); strings.Contains(answer, `"app":`) {
			t.Errorf("%q is answered %q", request, answer)
		}
	}
	// A Traefik that trusts the edge would trust forwarded headers of the client.
	answer := raw(t, env.HTTP, get("/", "fwd.attack.techn.is\r\nX-Forwarded-For: 9.9.9.9\r\nX_Forwarded_For: 9.9.9.9\r\nX-Forwarded-Host: vault.attack.techn.is\r\nForwarded: for=9.9.9.9"))
	if strings.Contains(answer, "9.9.9.9") || strings.Contains(answer, "vault") || !strings.Contains(answer, `"app":"fwd"`) {
		t.Errorf("forged headers are answered %q", answer)
	}
}

// get returns a request for a target, with a Host header and the text that follows it.
func get(target, host string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
}

// raw sends bytes and returns the whole response.
func raw(t *testing.T, addr netip.AddrPort, request string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr.String(), testkit.Timeout)
	testkit.Must(t, err)
	defer conn.Close()
	testkit.Must(t, conn.SetDeadline(time.Now().Add(testkit.Timeout)))
	_, err = io.WriteString(conn, request)
	testkit.Must(t, err)
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// TestAttacksBelowAWildcard requests, on both ports, hosts that a published wildcard
// covers: an app that is not published, and one that is refused since its allowFrom
// annotation is invalid.
func TestAttacksBelowAWildcard(t *testing.T) {
	const forward = `usher.techn.is/expose: "true", usher.techn.is/plain-http: forward`
	testkit.Must(t, env.Hades.Publish(t.Context(), "secret", "secret.cave.techn.is"))
	testkit.Must(t, env.Hades.Publish(t.Context(), "safe", "safe.cave.techn.is", forward, "usher.techn.is/allow-from: 192.168.0.0/33"))
	app, err := env.Hades.StartApp(t.Context(), "default", "open")
	testkit.Must(t, err)
	testkit.Must(t, env.Hades.Route(t.Context(), app, "open.cave.techn.is", forward))
	testkit.Must(t, env.Hades.Apply(t.Context(), wildcardOf("cave", app, forward)))
	answered(t, "open.cave.techn.is", "hades")
	testkit.Eventually(t, "a name that has no app of its own should be served", func() error {
		if answer := raw(t, env.HTTP, get("/", "any.cave.techn.is")); !strings.Contains(answer, `"app":"open"`) {
			return fmt.Errorf("it is answered %q", answer)
		}
		return nil
	})
	for _, host := range []string{"secret.cave.techn.is", "safe.cave.techn.is", "SAFE.cave.techn.is", "safe.cave.techn.is."} {
		if answer := raw(t, env.Hades.Traefik.HTTP, get("/", host)); !strings.Contains(answer, `"app":"`) {
			t.Fatalf("Traefik itself answers %q: the attacks would prove nothing", answer)
		}
		if answer := raw(t, env.HTTP, get("/", host)); !strings.HasPrefix(answer, "HTTP/1.1 404") || strings.Contains(answer, `"app":`) {
			t.Errorf("on plain HTTP %s is answered %q", host, answer)
		}
		if answer := raw(t, env.HTTP, get("/.well-known/acme-challenge/token", host)); strings.Contains(answer, `"app":`) {
			t.Errorf("a challenge of %s is answered %q", host, answer)
		}
		if answer, err := getHTTPS(t.Context(), host); err == nil {
			t.Errorf("by TLS %s is answered %+v", host, answer)
		}
	}
	for _, name := range []string{"cave", "safe", "open"} {
		kubectl(t, env.Hades.Cluster, "delete", "ingressroute", name)
	}
}

// wildcardOf returns an IngressRoute that routes a wildcard under a domain of techn.is
// to an app.
func wildcardOf(domain string, app *testbed.App, annotations string) string {
	return fmt.Sprintf(`
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {name: %[1]s, namespace: %[6]q, annotations: {%[3]s}}
spec:
  entryPoints: [websecure, web]
  routes:
  - {match: "Host(%[4]s*.%[1]s.techn.is%[4]s)", kind: Rule, syntax: v3, services: [{name: %[2]s, port: %[5]d}]}
`, domain, app.Service, annotations, "`", app.Port, app.Namespace)
}
