package e2e

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestStrangersOnPlainHTTP asks usher's port 80, in front of a real Traefik, for
// hosts that nobody published, for one that does not let the client in, and for
// more than the challenges of one that denies plain HTTP.
func TestStrangersOnPlainHTTP(t *testing.T) {
	for app, annotations := range map[string]string{
		"fwd":    `usher.techn.is/expose: "true", usher.techn.is/plain-http: forward`,
		"narrow": `usher.techn.is/expose: "true", usher.techn.is/plain-http: forward, usher.techn.is/allow-from: 192.0.2.0/24`,
		"denied": `usher.techn.is/expose: "true", usher.techn.is/plain-http: deny`,
		"vault":  "",
	} {
		must(t, on.Hades.Publish(t.Context(), app, app+".attack.techn.is", annotations))
	}
	const acme = "/.well-known/acme-challenge/token"
	eventually(t, "the hosts should be served on plain HTTP", func() error {
		for request, app := range map[string]string{
			get("/", "fwd.attack.techn.is"):     "fwd",
			get(acme, "denied.attack.techn.is"): "denied",
		} {
			if answer := raw(t, on.HTTP, request); !strings.Contains(answer, `"app":"`+app+`"`) {
				return fmt.Errorf("%q is answered %q", request, answer)
			}
		}
		return nil
	})
	if answer := raw(t, on.Hades.Traefik.HTTP, get("/", "vault.attack.techn.is")); !strings.Contains(answer, `"app":"vault"`) {
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
		if answer := raw(t, on.HTTP, request); strings.Contains(answer, `"app":`) {
			t.Errorf("%q is answered %q", request, answer)
		}
	}
	// A Traefik that trusts the edge would believe what a client says of itself.
	answer := raw(t, on.HTTP, get("/", "fwd.attack.techn.is\r\nX-Forwarded-For: 9.9.9.9\r\nX_Forwarded_For: 9.9.9.9\r\nX-Forwarded-Host: vault.attack.techn.is\r\nForwarded: for=9.9.9.9"))
	if strings.Contains(answer, "9.9.9.9") || strings.Contains(answer, "vault") || !strings.Contains(answer, `"app":"fwd"`) {
		t.Errorf("forged headers are answered %q", answer)
	}
}

// get is a request of a target, with a Host header and whatever follows it.
func get(target, host string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
}

// raw sends bytes and returns all that comes back.
func raw(t *testing.T, addr netip.AddrPort, request string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr.String(), patience)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, request)
	must(t, err)
	answer, _ := io.ReadAll(conn)
	return string(answer)
}
