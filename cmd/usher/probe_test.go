package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// runProbe runs usher probe in this process.
func runProbe(t *testing.T, addresses ...string) (said string, err error) {
	t.Helper()
	var out bytes.Buffer
	root := rootCommand()
	root.SetArgs(append([]string{"probe"}, addresses...))
	root.SetOut(&out)
	err = root.ExecuteContext(t.Context())
	return out.String(), err
}

// Only an usher passes. What else answers, and what does not, is named with its address.
func TestProbeTellsUsherFromOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// A wildcard matches one label, and the name has two more: it stays refused.
	putManifest(t, dir, "hosts.yaml", `
apiVersion: usher.techn.is/v1alpha1
kind: ExposedHost
metadata: {name: wildcard}
spec: {host: "*.usher.invalid", backends: [{address: 127.0.0.1, httpsPort: 1}]}
`)
	usher := program(t, dir).started(t).HTTPS[0].String()
	if said, err := runProbe(t, usher); err != nil || said != usher+": refuses a host that is not published, as usher does\n" {
		t.Errorf("usher: %q, %v", said, err)
	}

	other := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	for address, says := range map[string]string{
		other.Listener.Addr().String(): "shows the certificate",
		plain.Listener.Addr().String(): "first record does not look like a TLS handshake",
		closed.Addr().String():         "connection refused",
	} {
		said, err := runProbe(t, usher, address)
		if err == nil || !strings.HasPrefix(err.Error(), address+": ") || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", address, err, says)
		}
		if !strings.HasPrefix(said, usher+": ") {
			t.Errorf("usher beside %s: %q", address, said)
		}
	}
}

func TestInvalidProbeCommandLines(t *testing.T) {
	t.Parallel()
	testInvalidLines(t, []wrongLine{
		{"probe", "HOST:PORT is missing"},
		{"probe 192.168.1.2", `"192.168.1.2" is no address: write HOST:PORT`},
		{"probe :443", `":443" is no address`},
		{"probe 2001:db8::2:443", `"2001:db8::2:443" is no address`},
	})
}
