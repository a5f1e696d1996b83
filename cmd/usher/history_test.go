package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/history"
	"github.com/jovalle/usher/proxy/knocks"
)

// publish writes the manifest of a host.
func publish(t *testing.T, dir, host string, port int) {
	t.Helper()
	text := fmt.Sprintf("apiVersion: usher.techn.is/v1alpha1\nkind: ExposedHost\nmetadata: {name: %[1]s}\nspec:\n  host: %[1]s\n  backends: [{address: 192.0.2.1, httpsPort: %d}]\n", host, port)
	testkit.Must(t, os.WriteFile(filepath.Join(dir, host+".yaml"), []byte(text), 0o600))
}

// asked returns the answer of usher history.
func asked(t *testing.T, args ...string) (history.Answer, said) {
	t.Helper()
	answered := say(t, nil, append([]string{"history", "-o", "json"}, args...)...)
	var a history.Answer
	_ = json.Unmarshal([]byte(answered.out), &a) // it may have failed
	return a, answered
}

// A host is published, usher is killed, the host is removed while it is away, and another
// one appears: the history has all of it.
func TestHistoryOfTheProgram(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	publish(t, dir, "a.techn.is", 443)
	u := program(t, dir, "--state-dir", state).started(t)
	url := "http://" + u.Admin[0].String()
	u.await(t, "What is public has changed", `"event":"exposed"`, `"host":"a.techn.is"`, `"by":"ExposedHost a.techn.is"`)
	testkit.Eventually(t, "the admin listener should answer from the history", func() error {
		if a, answered := asked(t, "a.techn.is", "--admin", url); len(a.Periods) != 1 || a.Periods[0].To != nil || answered.code != 0 {
			return fmt.Errorf("%+v", answered)
		}
		return nil
	})
	publish(t, dir, "a.techn.is", 8443)
	u.await(t, "What is public has changed", `"event":"changed"`)
	u.signal(t, syscall.SIGKILL)
	_ = u.cmd.Wait()

	testkit.Must(t, os.Remove(filepath.Join(dir, "a.techn.is.yaml")))
	publish(t, dir, "b.techn.is", 443)
	u = program(t, dir, "--state-dir", state).started(t)
	u.await(t, "What is public has changed", `"event":"withdrawn"`, `"host":"a.techn.is"`, `"away":true`)
	u.await(t, "What is public has changed", `"event":"exposed"`, `"host":"b.techn.is"`)
	u.signal(t, syscall.SIGTERM)
	u.ends(t, 0)

	a, answered := asked(t, "a.techn.is", "--state-dir", state)
	if len(a.Periods) != 2 || a.Periods[1].To == nil || !a.Periods[1].About || a.Periods[1].Backends[0] != "192.0.2.1:8443" {
		t.Errorf("%+v", answered)
	}
	if answered := say(t, nil, "history", "--state-dir", state, "--since", "1d"); answered.code != 0 || !testkit.ContainsAll(answered.out,
		[]string{"a.techn.is", "b.techn.is", "ExposedHost b.techn.is", "now", "about", "everyone", "The history is complete since"}) {
		t.Errorf("%+v", answered)
	}
	never := say(t, nil, "history", "c.techn.is", "--state-dir", state)
	if never.code != exitFailure || !strings.Contains(never.err, "c.techn.is was not public, as far as is known since") {
		t.Errorf("%+v", never)
	}
	if now := say(t, nil, "history", "A.techn.is", "--at", time.Now().Format(time.RFC3339Nano), "--state-dir", state); now.code != exitFailure || !strings.Contains(now.err, "a.techn.is was not public at") {
		t.Errorf("%+v", now)
	}
}

func TestKnocksOfTheProgram(t *testing.T) {
	dir := t.TempDir()
	publish(t, dir, "a.techn.is", 443)
	u := program(t, dir, "--history-size=0").started(t)
	for range 2 {
		greet(t, u.HTTPS[0].String(), "vault.techn.is")
	}
	conn, err := net.Dial("tcp", u.HTTP[0].String())
	testkit.Must(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("GET / HTTP/1.1\r\nHost: plain.techn.is\r\n\r\n"))
	testkit.Must(t, err)
	url := "http://" + u.Admin[0].String()
	var all []knocks.Knock
	testkit.Eventually(t, "both names should be listed", func() error {
		answered := say(t, nil, "knocks", "-o", "json", "--admin", url)
		if err := json.Unmarshal([]byte(answered.out), &all); err != nil || len(all) != 2 {
			return fmt.Errorf("%+v, %w", answered, err)
		}
		return nil
	})
	at := slices.IndexFunc(all, func(k knocks.Knock) bool { return k.Host == "vault.techn.is" })
	if at < 0 || all[at].Count != 2 || all[at].Reason != "unknown_host" || all[at].Networks[0].String() != "127.0.0.0/24" {
		t.Errorf("%+v", all)
	}
	if table := say(t, nil, "knocks", "--admin", url); !testkit.ContainsAll(table.out, []string{"HOST", "SERVED BY", "vault.techn.is", "plain.techn.is", "127.0.0.0/24"}) {
		t.Errorf("%+v", table)
	}
	other := program(t, dir, "--history-size=0").started(t)
	greet(t, other.HTTPS[0].String(), "vault.techn.is")
	testkit.Eventually(t, "the knocks of two processes should be added up", func() error {
		answered := say(t, nil, "knocks", "-o", "json", "--admin", url, "--admin", "http://"+other.Admin[0].String())
		err := json.Unmarshal([]byte(answered.out), &all)
		if at := slices.IndexFunc(all, func(k knocks.Knock) bool { return k.Host == "vault.techn.is" && k.Count == 3 }); at < 0 {
			return fmt.Errorf("%+v, %w", answered, err)
		}
		return nil
	})
	if half := say(t, nil, "knocks", "--admin", url, "--admin", "http://127.0.0.1:1"); half.code != 0 ||
		!testkit.ContainsAll(half.out+half.err, []string{"vault.techn.is", "Warning: the answer is incomplete", "127.0.0.1:1"}) {
		t.Errorf("one of two answers: %+v", half)
	}
	if off := say(t, nil, "history", "--admin", url); off.code != exitFailure || !strings.Contains(off.err, "/history") {
		t.Errorf("without a history: %+v", off)
	}
}

func TestMistakesOfHistory(t *testing.T) {
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"history", "--since", "yesterday"}, `--since: "yesterday" is no time: write 30d`},
		{[]string{"history", "--at", "noon"}, `--at: "noon" is no time`},
		{[]string{"history", "--admin", "localhost:8080"}, `--admin: "localhost:8080" is no URL`},
		{[]string{"history", "--admin", "http://127.0.0.1:8080", "--state-dir", "/"}, `--state-dir: the history is either read there or asked for: remove --admin`},
		{[]string{"knocks", "--admin", "http://127.0.0.1:8080", "--edge-context", "edge"}, `--admin: usher is asked either there or in the edge cluster`},
		{[]string{"knocks", "-n", "Usher"}, `--namespace: "Usher" is not a valid name`},
		{[]string{"knocks", "--timeout", "0s"}, `--timeout: must be longer than 0`},
		{[]string{"knocks", "--edge-kubeconfig", "/nowhere"}, `--edge-kubeconfig: there is no file /nowhere`},
		{[]string{"history", "--state-dir", "/nowhere"}, "--state-dir: there is no directory /nowhere"},
		{[]string{"history", "a b"}, "a b"},
		{[]string{"history", "a.is", "b.is"}, "b.is"},
		{[]string{"knocks", "a.is"}, "a.is"},
		{[]string{"knocks", "-o", "wide"}, `--output: "wide" is none of`},
	} {
		if answered := say(t, nil, tt.args...); answered.code != exitUsage || !strings.Contains(answered.err, tt.says) {
			t.Errorf("usher %s: %+v", tt.args, answered)
		}
	}
	if empty := say(t, nil, "history", "--state-dir", t.TempDir()); empty.code != exitFailure || !strings.Contains(empty.err, "there is no history in this directory") {
		t.Errorf("%+v", empty)
	}
}

// The lines of the access log have the same first keys as all others.
func TestAccessLogOfTheProgram(t *testing.T) {
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	defer backend.Close()
	go func() {
		for {
			conn, err := backend.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	dir := t.TempDir()
	port := backend.Addr().(*net.TCPAddr).Port
	text := fmt.Sprintf("apiVersion: usher.techn.is/v1alpha1\nkind: ExposedHost\nmetadata: {name: a.techn.is}\nspec:\n  host: a.techn.is\n  backends: [{address: 127.0.0.1, httpsPort: %d}]\n", port)
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(text), 0o600))
	u := program(t, dir, "--access-log").started(t)
	greet(t, u.HTTPS[0].String(), "a.techn.is")
	line, other := u.await(t, `"msg":"Connection closed"`), u.await(t, `"msg":"Serving"`)
	if got, want := keys(t, line)[:4], keys(t, other)[:4]; !slices.Equal(got, want) {
		t.Errorf("the line has %s, and others %s: %s", got, want, line)
	}
}

// keys returns the keys of a line of JSON in their order.
func keys(t *testing.T, line string) []string {
	t.Helper()
	var all []string
	decoder := json.NewDecoder(strings.NewReader(line))
	for at := 0; ; at++ {
		token, err := decoder.Token()
		if err != nil {
			return all
		}
		if key, ok := token.(string); ok && at%2 == 1 {
			all = append(all, key)
		}
	}
}

// greet opens a TLS connection to a host, which fails.
func greet(t *testing.T, address, host string) {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{ServerName: host})
	if err == nil {
		_ = conn.Close()
		t.Errorf("%s answers", host)
	}
}
