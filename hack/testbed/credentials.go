package testbed

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// credentials are the certificate and keys of an API server, and the tokens of its clients.
type credentials struct {
	certificate []byte // PEM; the cluster's clients trust it
	adminToken  string

	certFile, keyFile     string // the server's certificate and its key
	tokensFile            string // tokens that the server accepts
	serviceAccountKeyFile string // signs and verifies ServiceAccounts' tokens
}

// makeCredentials writes new credentials into a new folder. Each cluster has its own, so that it
// does not accept tokens of another cluster.
func makeCredentials(dir string, address netip.Addr) (credentials, error) {
	certificate, key, err := cert.GenerateSelfSignedCertKey("localhost", []net.IP{address.AsSlice()}, nil)
	if err != nil {
		return credentials{}, err
	}
	serviceAccountKey, err := keyutil.MakeEllipticPrivateKeyPEM()
	if err != nil {
		return credentials{}, err
	}
	c := credentials{
		certificate:           certificate,
		adminToken:            rand.Text(),
		certFile:              filepath.Join(dir, "tls.crt"),
		keyFile:               filepath.Join(dir, "tls.key"),
		tokensFile:            filepath.Join(dir, "tokens.csv"),
		serviceAccountKeyFile: filepath.Join(dir, "serviceaccount.key"),
	}
	return c, writeFiles(dir, map[string][]byte{
		c.certFile:              certificate,
		c.keyFile:               key,
		c.tokensFile:            fmt.Appendf(nil, "%s,admin,admin,system:masters\n", c.adminToken),
		c.serviceAccountKeyFile: serviceAccountKey,
	})
}

// writeFiles creates a folder with files that only the owner can read.
func writeFiles(dir string, files map[string][]byte) error { // path → content
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for path, content := range files {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (c credentials) adminConfig(address netip.AddrPort) *rest.Config {
	return &rest.Config{
		Host:            "https://" + address.String(),
		BearerToken:     c.adminToken,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.certificate},
		QPS:             -1, // no rate limit: a test may create a thousand objects
	}
}
