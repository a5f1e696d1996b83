package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testenv"
)

// A real browser, with its own large ClientHello (ML-KEM key share, GREASE, ECH
// GREASE), reaches the exposed host, and no other.
func TestChromium(t *testing.T) {
	chromium := findChromium(t)
	testkit.Must(t, env.Hades.Publish(t.Context(), "browsed", "browsed.techn.is", `usher.techn.is/expose: "true"`))
	testkit.Must(t, env.Hades.Publish(t.Context(), "unbrowsed", "unbrowsed.techn.is"))
	answered(t, "browsed.techn.is", "hades")
	if page := browse(t, chromium, "browsed.techn.is", anyCertificate); !strings.Contains(page, `"app":"browsed"`) {
		t.Errorf("chromium shows:\n%s", page)
	}
	if page := browse(t, chromium, "unbrowsed.techn.is", anyCertificate); strings.Contains(page, `"app"`) {
		t.Errorf("chromium shows:\n%s", page)
	}
}

// A browser uses one HTTP/2 connection for two hosts of one address and one certificate.
// With a page in one cluster and its script in another, Traefik answers 404 for the
// script. If the cluster of the page is isolated it answers 421, and the browser opens a
// connection of its own for the script.
func TestChromiumWithOneCertificateForTwoClusters(t *testing.T) {
	chromium := findChromium(t)
	wildcard := newWildcard(t, "coalesced.techn.is")
	const page, script = "page.coalesced.techn.is", "script.coalesced.techn.is"
	serve(t, env.Illmatic, wildcard, "coalesced-script", script, "text/javascript", `document.body.append("illmatic runs the script")`)
	serve(t, env.Hades, wildcard, "coalesced-page", page, "text/html",
		fmt.Sprintf(`<body>hades shows the page. <script src="https://%s:%d/" onerror="document.body.append('the script fails')"></script></body>`, script, env.HTTPS.Port()))
	believing := "--ignore-certificate-errors-spki-list=" + wildcard.pin

	if shown := browse(t, chromium, page, believing); !strings.Contains(shown, "the script fails") {
		t.Errorf("without isolation chromium shows:\n%s", shown)
	}
	isolate(t, env.Hades, "coalesced-")
	isolate(t, env.Illmatic, "coalesced-")
	wantStatus(t, "isolated", "h2", page, page, http.StatusOK)
	wantStatus(t, "isolated", "h2", page, script, http.StatusMisdirectedRequest)
	wantStatus(t, "isolated", "h2", script, script, http.StatusOK)
	if shown := browse(t, chromium, page, believing); !strings.Contains(shown, "hades shows the page") || !strings.Contains(shown, "illmatic runs the script") {
		t.Errorf("with isolation chromium shows:\n%s", shown)
	}
}

// serve publishes a host that answers with one document, under a certificate.
func serve(t *testing.T, m *testenv.Member, certificate *wildcard, name, host, contentType, document string) {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, document)
	}))
	t.Cleanup(app.Close)
	testkit.Must(t, m.Apply(t.Context(), fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: coalesced, namespace: default}
type: kubernetes.io/tls
stringData: {tls.crt: %[1]q, tls.key: %[2]q}
---
apiVersion: v1
kind: Service
metadata: {name: %[3]s, namespace: default}
spec: {type: ExternalName, externalName: localhost, ports: [{name: http, port: %[4]d}]}
---
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: {name: %[3]s, namespace: default, annotations: {usher.techn.is/expose: "true"}}
spec:
  entryPoints: [websecure]
  routes: [{match: "Host(`+"`%[5]s`"+`)", kind: Rule, services: [{name: %[3]s, port: %[4]d}]}]
  tls: {secretName: coalesced}
`, certificate.certificate, certificate.key, name, app.Listener.Addr().(*net.TCPAddr).Port, host)))
	testkit.Must(t, m.Traefik.AwaitHost(t.Context(), host))
	wantStatus(t, "published", "h2", host, host, http.StatusOK)
}

// A wildcard is a self-signed certificate for all names under a domain.
type wildcard struct {
	certificate, key string // PEM
	pin              string // base64 of the SHA-256 of the public key, as Chromium takes it
}

func newWildcard(t *testing.T, domain string) *wildcard {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.Must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: domain}, DNSNames: []string{"*." + domain},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	testkit.Must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	testkit.Must(t, err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	testkit.Must(t, err)
	sum := sha256.Sum256(public)
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return &wildcard{encode("CERTIFICATE", certificate), encode("PRIVATE KEY", private), base64.StdEncoding.EncodeToString(sum[:])}
}

func findChromium(t *testing.T) string {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium on this machine (Debian package chromium)")
	}
	return chromium
}

// anyCertificate has Chromium believe any certificate; it then uses no connection for two hosts.
const anyCertificate = "--ignore-certificate-errors"

// browse returns the page that Chromium shows for a host through usher.
func browse(t *testing.T, chromium, host, certificates string) string {
	t.Helper()
	//nolint:usetesting // Chromium's child processes may still write, and then the cleanup of TempDir would fail
	profile, err := os.MkdirTemp("", "usher-e2e-browser-")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(profile) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	page, err := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+profile, certificates,
		"--host-resolver-rules=MAP * "+env.HTTPS.Addr().String(), "--dump-dom",
		fmt.Sprintf("https://%s:%d/", host, env.HTTPS.Port())).Output()
	if err != nil && ctx.Err() != nil {
		t.Fatalf("chromium: %v", ctx.Err())
	}
	return string(page)
}
