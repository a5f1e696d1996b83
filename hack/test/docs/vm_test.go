package docs

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// block returns the code block of docs/install.md that follows a text.
func block(t *testing.T, after string) string {
	t.Helper()
	_, rest, found := strings.Cut(read(t, docs+"install.md")[docs+"install.md"], after)
	blocks := regexp.MustCompile("(?s)```\\w+\n(.*?)```").FindStringSubmatch(rest)
	if !found || blocks == nil {
		t.Fatalf("docs/install.md has no block after %q", after)
	}
	return blocks[1]
}

// unitFile returns a file that the Debian package and the archives have for systemd.
func unitFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../release/debian", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// systemd checks the unit for an edge without Kubernetes.
func TestUnitIsValid(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd here")
	}
	unit := filepath.Join(t.TempDir(), "usher.service")
	text := strings.NewReplacer("/usr/bin/usher", usher, "=usher\n", "=root\n").Replace(unitFile(t, "usher.service")) // the user of the package may be missing
	if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// For unknown settings it only prints a warning.
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", unit).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// The flags of the unit serve the manifests that the docs show.
func TestPlainVMServesItsManifests(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hosts.yaml"), []byte(block(t, "`/etc/usher/manifests/hosts.yaml`")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), usher, "check", dir).CombinedOutput(); err != nil {
		t.Errorf("usher check: %v\n%s", err, out)
	}
	flags := regexp.MustCompile(`(?m)^#?USHER_OPTIONS="(.*--manifests.*)"$`).FindStringSubmatch(unitFile(t, "usher.default"))
	if flags == nil {
		t.Fatal("the unit has no flags for manifests")
	}
	args := strings.NewReplacer("/etc/usher/manifests", dir, "/var/lib/usher", t.TempDir()).Replace("run " + flags[1])
	log := start(t, append(strings.Fields(args), "--admin-listen=127.0.0.1:0", "--https-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0")...)
	admin, err := adminAddress(log)
	if err != nil {
		t.Fatal(err)
	}
	for path, answer := range map[string]string{"/readyz": "ok", "/metrics": "\nusher_routes 1\n"} {
		if body := fetch(t, "http://"+admin+path); !strings.Contains(body, answer) {
			t.Errorf("%s answers %q", path, body)
		}
	}
}

// adminAddress returns the address of the admin listener from usher's log.
func adminAddress(log io.Reader) (string, error) {
	var said bytes.Buffer
	for lines := bufio.NewScanner(io.TeeReader(log, &said)); lines.Scan(); {
		if found := regexp.MustCompile(`"msg":"Started".*"admin":\["([^"]+)"`).FindStringSubmatch(lines.Text()); found != nil {
			go func() { _, _ = io.Copy(io.Discard, log) }()
			return found[1], nil
		}
	}
	return "", errors.New("usher ended: " + said.String())
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
