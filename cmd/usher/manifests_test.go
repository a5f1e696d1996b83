package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// envManifests makes the test binary run usher with these arguments, one per line.
const envManifests = "USHER_TEST_MANIFESTS_ARGS"

// TestUsherItself runs usher in a process that another test started.
func TestUsherItself(t *testing.T) {
	args := os.Getenv(envManifests)
	if args == "" {
		t.Skip("other tests start it as a process")
	}
	os.Args = append([]string{"usher"}, strings.Split(args, "\n")...)
	main()
	os.Exit(0)
}

// itself returns the command that runs usher as a process.
func itself(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestUsherItself$")
	cmd.Env = append(os.Environ(), envManifests+"="+strings.Join(args, "\n"))
	return cmd
}

// fromFiles is an usher process that serves a directory of manifests.
type fromFiles struct {
	cmd   *exec.Cmd
	Admin []string
}

// serveManifests starts usher and waits until it has started.
func serveManifests(t *testing.T, args ...string) *fromFiles {
	t.Helper()
	u := &fromFiles{cmd: itself(t, append([]string{"run", "--controllers=false",
		"--https-listen=127.0.0.1:0", "--http-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"}, args...)...)}
	log, err := u.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.kill)
	var logged bytes.Buffer
	for lines := bufio.NewScanner(io.TeeReader(log, &logged)); lines.Scan(); {
		if strings.Contains(lines.Text(), `"msg":"Started"`) {
			if err := json.Unmarshal(lines.Bytes(), u); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, log) }()
			return u
		}
	}
	t.Fatalf("usher ended: %s", logged.String())
	return nil
}

// kill ends usher with SIGKILL.
func (u *fromFiles) kill() {
	_ = u.cmd.Process.Kill()
	_ = u.cmd.Wait()
}

// waitForPage polls a page of the admin listener until it has all of the parts.
func (u *fromFiles) waitForPage(t *testing.T, page string, parts ...string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	testkit.Eventually(t, fmt.Sprintf("%s should answer with %q", page, parts), func() error {
		response, err := client.Get("http://" + u.Admin[0] + page)
		testkit.Must(t, err)
		data, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		testkit.Must(t, err)
		body := fmt.Sprintf("%d %s", response.StatusCode, data)
		if !testkit.ContainsAll(body, parts) {
			return fmt.Errorf("the answer is\n%s", body)
		}
		return nil
	})
}

// putManifest writes a file into a directory.
func putManifest(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const (
	hadesText = "apiVersion: usher.techn.is/v1alpha1\nkind: MemberCluster\nmetadata: {name: hades}\nspec:\n  ingress: {addresses: [192.0.2.10]}\n"
	hostText  = "apiVersion: usher.techn.is/v1alpha1\nkind: ExposedHost\nmetadata: {name: a.techn.is}\nspec:\n  host: a.techn.is\n  backends: [{cluster: hades}]\n"
	wrongText = "apiVersion: usher.techn.is/v1alpha1\nkind: ExposedHost\nmetadata: {name: b.techn.is}\nspec:\n  host: b.techn.is\n  backend: [{cluster: hades}]\n"
)

func TestABrokenManifestIsNotReadyAndAffectsNoOther(t *testing.T) {
	dir := t.TempDir()
	putManifest(t, dir, "a.yaml", hadesText+"---\n"+hostText)
	putManifest(t, dir, "b.yaml", hostText+"---\n"+wrongText)
	u := serveManifests(t, "--manifests", dir)
	u.waitForPage(t, "/readyz", "503 ", "b.yaml:13: spec.backend: Forbidden: unknown field")
	u.waitForPage(t, "/metrics", "\nusher_routes 1\n", "usher_manifest_files_refused{serves=\"nothing\"} 1\n")

	putManifest(t, dir, "b.yaml", strings.NewReplacer("backend:", "backends:").Replace(wrongText))
	u.waitForPage(t, "/readyz", "200 ok")
	u.waitForPage(t, "/metrics", "\nusher_routes 2\n", "usher_manifest_files_refused{serves=\"nothing\"} 0\n")
}

// The last good state of a file survives SIGKILL and a restart, even if the file is
// broken by then.
func TestTheLastGoodStateOfAManifestSurvivesAKill(t *testing.T) {
	dir, state := t.TempDir(), filepath.Join(t.TempDir(), "state")
	putManifest(t, dir, "a.yaml", hadesText+"---\n"+hostText)
	flags := []string{"--manifests", dir, "--state-dir", state}
	u := serveManifests(t, flags...)
	u.waitForPage(t, "/readyz", "200 ok")
	kept := filepath.Join(state, "manifests", "a.yaml.last-good")
	testkit.WaitFor(t, kept, func() bool {
		_, err := os.Stat(kept)
		return err == nil
	})
	u.kill()

	putManifest(t, dir, "a.yaml", hadesText+"---\n"+wrongText)
	for range 2 {
		u = serveManifests(t, flags...)
		u.waitForPage(t, "/readyz", "200 ok")
		u.waitForPage(t, "/metrics", "\nusher_routes 1\n", "usher_manifest_files_refused{serves=\"last_good\"} 1\n")
		u.kill()
	}
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	serveManifests(t, flags...).waitForPage(t, "/metrics", "\nusher_routes 0\n")
}

// runCheck runs usher check as a process.
func runCheck(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := itself(t, append([]string{"check"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if exit, failed := errors.AsType[*exec.ExitError](err); failed {
		return exit.ExitCode(), out.String(), errOut.String()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, out.String(), errOut.String()
}

func TestCheckReportsEachProblemWithItsLine(t *testing.T) {
	dir := t.TempDir()
	putManifest(t, dir, "a.yaml", hadesText+"---\n"+hostText)
	putManifest(t, dir, "c.json", "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": []}")
	if code, out, err := runCheck(t, dir); code != 0 || out != dir+": 2 files good: 1 MemberCluster, 1 ExposedHost, 1 host served\n" || err != "" {
		t.Errorf("of good files: %d %q %q", code, out, err)
	}

	putManifest(t, dir, "b.yaml", strings.ReplaceAll(wrongText, "\n", "\r\n")+"---\r\n"+strings.Replace(hostText, "hades", "styx", 1))
	putManifest(t, dir, "d.yaml", strings.ReplaceAll(hostText, "a.techn.is", "d.techn.is")+"---\n"+strings.ReplaceAll(strings.Replace(hostText, "hades", "styx", 1), "a.techn.is", "e.techn.is"))
	code, out, err := runCheck(t, dir)
	want := []string{
		"b.yaml:6: spec.backend: Forbidden: unknown field",
		"b.yaml:10: metadata.name: ExposedHost a.techn.is is in a.yaml:9 too",
		"b.yaml:13: spec.backends[0].cluster: Invalid value: \"styx\": there is no MemberCluster styx",
		"d.yaml:13: spec.backends[0].cluster: Invalid value: \"styx\"",
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 1 || len(lines) != len(want) || err != fmt.Sprintf("usher: 4 problems in 2 of 4 files of %s\n", dir) {
		t.Fatalf("of bad files: %d %q %q", code, out, err)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], filepath.Join(dir, want[i])) {
			t.Errorf("line %d is %q, want %q", i+1, lines[i], want[i])
		}
	}
	if code, _, err := runCheck(t, filepath.Join(dir, "missing")); code != 1 || !strings.Contains(err, "missing") {
		t.Errorf("of no directory: %d %q", code, err)
	}
}

func TestInvalidCheckCommandLines(t *testing.T) {
	testInvalidLines(t, []wrongLine{
		{"check", "DIR is missing"},
		{"check a b", `unexpected argument "b"`},
		{"check --state-dir x a", "unknown flag --state-dir of usher check"},
	})
	if code, _, err := runCheck(t); code != exitUsage || !strings.Contains(err, "DIR is missing") {
		t.Errorf("without an argument: %d %q", code, err)
	}
}

// A directory that usher check accepts is ready when usher run starts with it, and no other is.
func TestCheckAgreesWithRun(t *testing.T) {
	for name, text := range map[string]string{
		"good":                       hadesText + "---\n" + hostText,
		"not YAML":                   hadesText + "---\n{",
		"an unknown cluster":         hostText,
		"a cluster without address":  strings.Replace(hadesText, "{addresses: [192.0.2.10]}", "{}", 1) + "---\n" + hostText,
		"a host that IDNA refuses":   hadesText + "---\n" + strings.ReplaceAll(hostText, "a.techn.is", "xn--zz.techn.is"),
		"an object twice":            hadesText + "---\n" + hadesText,
		"a host that is not decided": hadesText + "---\n" + hostText + "status: {conditions: [{type: Accepted, status: 'False', reason: R, message: m, lastTransitionTime: '2026-01-02T03:04:05Z'}]}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			putManifest(t, dir, "a.yaml", text)
			readiness := map[int]string{0: "200 ok", 1: "503 "}
			code, _, _ := runCheck(t, dir)
			serveManifests(t, "--manifests", dir).waitForPage(t, "/readyz", readiness[code])
		})
	}
}
