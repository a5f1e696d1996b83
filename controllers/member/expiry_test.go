package member

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// endingAt makes a self-signed certificate and its key, in PEM.
func endingAt(t *testing.T, end time.Time) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.Must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	testkit.Must(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	testkit.Must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

func jwt(payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(payload)) + ".c2ln"
}

// kubeconfig returns a kubeconfig; empty fields are left out.
func kubeconfig(authority, certificate, key []byte, token string) []byte {
	field := func(name string, value []byte) string {
		if len(value) == 0 {
			return ""
		}
		return fmt.Sprintf(", %s: %s", name, base64.StdEncoding.EncodeToString(value))
	}
	user := field("client-certificate-data", certificate) + field("client-key-data", key)
	if token != "" {
		user += ", token: " + token
	}
	return fmt.Appendf(nil, "{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}],\n"+
		" clusters: [{name: a, cluster: {server: 'https://192.0.2.1'%s}}], users: [{name: a, user: {%s}}]}\n", field("certificate-authority-data", authority), strings.TrimPrefix(user, ", "))
}

func TestExpiryOfAKubeconfig(t *testing.T) {
	early, late := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)
	first, firstKey := endingAt(t, early)
	second, secondKey := endingAt(t, late)
	both := bytes.Join([][]byte{second, first}, nil)
	exp := func(at time.Time) string { return jwt(fmt.Sprintf(`{"exp":%d,"iat":1}`, at.Unix())) }
	opaque := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("not DER")})
	for _, test := range []struct {
		name       string
		kubeconfig []byte
		field      string
		at         time.Time
	}{
		{"a token without an end", kubeconfig(nil, nil, nil, jwt(`{"iss":"kubernetes/serviceaccount"}`)), "", time.Time{}},
		{"an opaque token", kubeconfig(nil, nil, nil, "secret"), "", time.Time{}},
		{"an opaque token with two dots", kubeconfig(nil, nil, nil, "a.!.c"), "", time.Time{}},
		{"a token with an end that is no time", kubeconfig(nil, nil, nil, jwt(`{"exp":1e300}`)), "", time.Time{}},
		{"a token with an end that is no number", kubeconfig(nil, nil, nil, jwt(`{"exp":"soon"}`)), "", time.Time{}},
		{"a token", kubeconfig(second, nil, nil, exp(early)), "token", early},
		{"a client certificate", kubeconfig(second, first, firstKey, ""), "client-certificate-data", early},
		{"a chain of a client", kubeconfig(nil, both, secondKey, ""), "client-certificate-data", early},
		{"a CA", kubeconfig(first, second, secondKey, exp(late)), "certificate-authority-data", early},
		{"two CAs, of which one is enough", kubeconfig(both, nil, nil, "secret"), "certificate-authority-data", late},
		{"a CA beside an unreadable one", kubeconfig(append(opaque, first...), nil, nil, "secret"), "certificate-authority-data", early},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, err := ParseKubeconfig(test.kubeconfig, "", false)
			testkit.Must(t, err)
			if config.Expiry.Field != test.field || !config.Expiry.At.Equal(test.at) {
				t.Errorf("ends by %+v", config.Expiry)
			}
		})
	}
}

// What cannot be used is refused, and the error quotes none of it.
func TestMalformedCertificates(t *testing.T) {
	certificate, key := endingAt(t, time.Now())
	_, otherKey := endingAt(t, time.Now())
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("hush-hush")})
	for _, test := range []struct {
		name, field string
		kubeconfig  []byte
	}{
		{"a CA that is no PEM", "certificate-authority-data", kubeconfig([]byte("hush-hush"), nil, nil, "hush-hush")},
		{"a CA that is no certificate", "certificate-authority-data", kubeconfig(broken, nil, nil, "hush-hush")},
		{"a key for a CA", "certificate-authority-data", kubeconfig(key, nil, nil, "hush-hush")},
		{"a client certificate that is no PEM", "client-certificate-data", kubeconfig(nil, []byte("hush-hush"), key, "")},
		{"a client certificate that is none", "client-certificate-data", kubeconfig(nil, broken, key, "")},
		{"a chain with one that is none", "client-certificate-data", kubeconfig(nil, append(bytes.Clone(certificate), broken...), key, "")},
		{"the key of another", "client-certificate-data", kubeconfig(nil, certificate, otherKey, "")},
		{"a key that is none", "client-certificate-data", kubeconfig(nil, certificate, []byte("hush-hush"), "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseKubeconfig(test.kubeconfig, "", false)
			if err == nil || !strings.Contains(err.Error(), test.field+": ") {
				t.Fatalf("%v; want an error that names %s", err, test.field)
			}
			if said := err.Error(); strings.Contains(said, "hush") || strings.Contains(said, base64.StdEncoding.EncodeToString([]byte("hush-hush"))) || strings.Contains(said, "PRIVATE KEY-----") {
				t.Errorf("the error quotes the Secret: %s", said)
			}
		})
	}
}
