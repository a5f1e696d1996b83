package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// A real browser, with its own large ClientHello (ML-KEM key share, GREASE, ECH
// GREASE), reaches the exposed host, and no other.
func TestChromium(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium on this machine (Debian package chromium)")
	}
	testkit.Must(t, env.Hades.Publish(t.Context(), "browsed", "browsed.techn.is", `usher.techn.is/expose: "true"`))
	testkit.Must(t, env.Hades.Publish(t.Context(), "unbrowsed", "unbrowsed.techn.is"))
	answered(t, "browsed.techn.is", "hades")
	if page := browse(t, chromium, "browsed.techn.is"); !strings.Contains(page, `"app":"browsed"`) {
		t.Errorf("chromium shows:\n%s", page)
	}
	if page := browse(t, chromium, "unbrowsed.techn.is"); strings.Contains(page, `"app"`) {
		t.Errorf("chromium shows:\n%s", page)
	}
}

// browse returns the page that Chromium shows for a host through usher.
func browse(t *testing.T, chromium, host string) string {
	t.Helper()
	//nolint:usetesting // Chromium's child processes may still write, and then the cleanup of TempDir would fail
	profile, err := os.MkdirTemp("", "usher-e2e-browser-")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(profile) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	page, err := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+profile, "--ignore-certificate-errors",
		"--host-resolver-rules=MAP * "+env.HTTPS.Addr().String(), "--dump-dom",
		fmt.Sprintf("https://%s:%d/", host, env.HTTPS.Port())).Output()
	if err != nil && ctx.Err() != nil {
		t.Fatalf("chromium: %v", ctx.Err())
	}
	return string(page)
}
