package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/controllers/explain"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/history"
)

// why returns the explanation that usher why prints.
func why(t *testing.T, args ...string) (explain.Explanation, said) {
	t.Helper()
	answered := say(t, nil, append([]string{"why", "-o", "json"}, args...)...)
	var is explain.Explanation
	_ = json.Unmarshal([]byte(answered.out), &is) // it may have failed
	return is, answered
}

// publishAt writes the manifest of a host with a backend on this machine.
func publishAt(t *testing.T, dir, host string, port int) {
	t.Helper()
	text := fmt.Sprintf("apiVersion: usher.techn.is/v1alpha1\nkind: ExposedHost\nmetadata: {name: %[1]s}\nspec:\n  host: %[1]s\n  backends: [{address: 127.0.0.1, httpsPort: %d}]\n", host, port)
	testkit.Must(t, os.WriteFile(filepath.Join(dir, host+".yaml"), []byte(text), 0o600))
}

// The program explains hosts of manifests: one that is exposed, one whose backend does not
// accept, usher itself as a backend, and unknown ones. It says when usher is away.
func TestWhyOfTheProgram(t *testing.T) {
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	defer backend.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	testkit.Must(t, closed.Close())
	dir := t.TempDir()
	publishAt(t, dir, "a.techn.is", backend.Addr().(*net.TCPAddr).Port)
	publishAt(t, dir, "down.techn.is", closed.Addr().(*net.TCPAddr).Port)
	u := program(t, dir, "--state-dir", t.TempDir()).started(t)
	url := "http://" + u.Admin[0].String()
	publishAt(t, dir, "self.techn.is", int(u.HTTPS[0].Port()))
	greet(t, u.HTTPS[0].String(), "unknown.techn.is")

	testkit.Eventually(t, "a.techn.is should be exposed", func() error {
		if is, answered := why(t, "A.techn.is", "--admin", url); answered.code != 0 || is.Verdict != explain.Exposed || is.Host != "a.techn.is" || is.Command != "" {
			return fmt.Errorf("%+v", answered)
		}
		return nil
	})
	for host, says := range map[string]string{
		"down.techn.is":    "none of its backends accepts a connection",
		"self.techn.is":    "leads back to usher itself",
		"unknown.techn.is": "no file of --manifests names it",
	} {
		testkit.Eventually(t, host+" should not be exposed", func() error {
			if is, answered := why(t, host, "--admin", url); answered.code != exitFailure || is.Verdict != explain.NotExposed || !strings.Contains(is.Summary, says) || is.Command != "usher check DIR" || answered.err != "" {
				return fmt.Errorf("%+v", answered)
			}
			return nil
		})
	}
	text := say(t, nil, "why", "unknown.techn.is", "--admin", url)
	if text.code != exitFailure || !testkit.ContainsAll(text.out, []string{"✗ Route", "refused this name 1 time", "to clients in 127.0.0.0/24", "✗ unknown.techn.is is not exposed", "\n    usher check DIR\n"}) || strings.Contains(text.out, "\x1b") {
		t.Errorf("%+v", text)
	}
	if yaml := say(t, nil, "why", "a.techn.is", "-o", "yaml", "--admin", url); yaml.code != 0 || !strings.Contains(yaml.out, "verdict: exposed") {
		t.Errorf("%+v", yaml)
	}
	if is, answered := why(t, "a.techn.is", "--admin", "http://127.0.0.1:1"); answered.code != exitUsage || is.Verdict != explain.CannotTell || !strings.Contains(answered.err, "127.0.0.1:1") {
		t.Errorf("usher is away: %+v", answered)
	}
	if half, answered := why(t, "a.techn.is", "--admin", url, "--admin", "http://127.0.0.1:1"); answered.code != 0 || half.Verdict != explain.Exposed || !strings.Contains(answered.err, "Warning: the answer is incomplete") {
		t.Errorf("one of two answers: %+v", answered)
	}
	testkit.Eventually(t, "the history should know it", func() error {
		now := say(t, nil, "why", "a.techn.is", "--at", time.Now().Format(time.RFC3339), "--admin", url)
		if now.code != 0 || !testkit.ContainsAll(now.out, []string{"a.techn.is was exposed from", "until now", "by the word of ExposedHost a.techn.is", "for everyone", "0 connections reached it"}) {
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	if never := say(t, nil, "why", "unknown.techn.is", "--at", time.Now().Format(time.RFC3339), "-o", "json", "--admin", url); never.code != exitFailure || !strings.Contains(never.out, `"verdict": "not-exposed"`) {
		t.Errorf("%+v", never)
	}
	if before := say(t, nil, "why", "a.techn.is", "--at", "2001-01-01", "--admin", url); before.code != exitUsage || !strings.Contains(before.out, "the history is complete since") {
		t.Errorf("%+v", before)
	}
}

// Without a kubeconfig and without usher on this machine, nothing can be told.
func TestWhyWithoutAnything(t *testing.T) {
	if is, answered := why(t, "a.techn.is", "--admin", "http://127.0.0.1:1", "--timeout", "5s"); answered.code != exitUsage || is.Verdict != explain.CannotTell {
		t.Errorf("%+v", answered)
	}
}

func TestMistakesOfWhy(t *testing.T) {
	t.Parallel()
	testMistakes(t, nil, []mistake{
		{"why", exitUsage, []string{"HOST is missing: give the host to explain, as in usher why HOST"}},
		{"why a.is b.is", exitUsage, []string{`unexpected argument "b.is" of usher why`}},
		{"why 192.0.2.1", exitUsage, []string{"192.0.2.1"}},
		{"why a.is --at noon", exitUsage, []string{`--at: "noon" is no time`}},
		{"why a.is -o wide", exitUsage, []string{`--output: "wide" is none of json, yaml`}},
		{"why a.is --admin localhost:8080", exitUsage, []string{`--admin: "localhost:8080" is no URL`}},
		{"why a.is --admin http://127.0.0.1:1 --edge-context edge", exitUsage, []string{"--admin: usher is asked either there or in the edge cluster"}},
		{"whi a.is", exitUsage, []string{"Did you mean usher why?"}},
	})
	if evil := say(t, nil, "why", "\x1b[31m"+strings.Repeat("x", 5000)+".is"); evil.code != exitUsage || strings.Contains(evil.err, "\x1b") {
		t.Errorf("a hostile name: %+v", evil)
	}
}

// Colours are for terminals alone; the texts are the same.
func TestExplanationIsPrinted(t *testing.T) {
	is := explain.Of("a.is", explain.Facts{Control: &explain.Control{Leads: true, Objects: []explain.Object{{Names: "a.is", Group: "networking.k8s.io"}}}, Proxy: &explain.Proxy{}})
	var plain, painted bytes.Buffer
	testkit.Must(t, printExplanation(&plain, &is, false))
	testkit.Must(t, printExplanation(&painted, &is, true))
	if strings.Contains(plain.String(), "\x1b") || !strings.Contains(painted.String(), "\x1b[31m✗\x1b[0m") {
		t.Errorf("%q\n%q", plain.String(), painted.String())
	}
	if colours(&plain) {
		t.Error("a buffer is no terminal")
	}
}

// A name under a wildcard that was public may have been reachable.
func TestThePastUnderAWildcard(t *testing.T) {
	now := time.Now()
	a := history.Answer{From: now.Add(-time.Hour), Periods: []history.Period{{Host: "*.is", From: now.Add(-time.Minute), Connections: 3}}}
	if is := pastOf("a.is", now, &a, now); is.Verdict != explain.CannotTell || !strings.Contains(is.Summary, "*.is was exposed") {
		t.Errorf("%+v", is)
	}
	if is := pastOf("a.is", now.Add(time.Hour), &a, now); is.Verdict != explain.CannotTell {
		t.Errorf("the future: %+v", is)
	}
}
