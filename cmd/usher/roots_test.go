package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
)

// On a machine without CAs, as in the image, the public certificate of a member can
// still be verified. A process reads the system's CAs once, so the test starts another.
func TestCAsAreBuiltIn(t *testing.T) {
	const withoutCAs = "USHER_TEST_WITHOUT_CAS"
	if os.Getenv(withoutCAs) == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestCAsAreBuiltIn$")
		nowhere := t.TempDir()
		cmd.Env = append(os.Environ(), withoutCAs+"=true", "SSL_CERT_FILE="+nowhere+"/none", "SSL_CERT_DIR="+nowhere)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	pool, err := x509.SystemCertPool()
	if err != nil || pool.Equal(x509.NewCertPool()) {
		t.Errorf("there is no CA: %v", err)
	}
}
