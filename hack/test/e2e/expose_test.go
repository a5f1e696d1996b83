package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testenv"
)

func TestExposedHostsReachTheirClusterAndOthersDoNot(t *testing.T) {
	for _, m := range []*testenv.Member{env.Hades, env.Illmatic} {
		testkit.Must(t, m.Publish(t.Context(), "public", "public."+m.Name()+".techn.is"))
		testkit.Must(t, m.Publish(t.Context(), "private", "private."+m.Name()+".techn.is"))
		kubectl(t, m.Cluster, "annotate", "ingressroute", "public", expose)
	}
	for _, m := range []*testenv.Member{env.Hades, env.Illmatic} {
		answered(t, "public."+m.Name()+".techn.is", m.Name())
		unanswered(t, "private."+m.Name()+".techn.is")
	}
	if out := kubectl(t, env.Edge, "get", "exposedhosts"); !strings.Contains(out, "public.hades.techn.is") || strings.Contains(out, "private") {
		t.Errorf("kubectl get exposedhosts says:\n%s", out)
	}
	kubectl(t, env.Hades.Cluster, "annotate", "ingressroute", "public", unexpose)
	unanswered(t, "public.hades.techn.is")
	answered(t, "public.illmatic.techn.is", "illmatic")
}

// TestAccessLog closes a connection. usher was started with --access-log.
func TestAccessLog(t *testing.T) {
	testkit.Must(t, env.Illmatic.Publish(t.Context(), "logged", "logged.techn.is", `usher.techn.is/expose: "true"`))
	answered(t, "logged.techn.is", "illmatic")
	line := regexp.MustCompile(`"msg":"Connection closed","client":"127\.0\.0\.1:\d+","host":"logged\.techn\.is","cluster":"illmatic","up":[1-9]\d+,"down":[1-9]\d+,`)
	testkit.Eventually(t, "the connection should be logged", func() error {
		log, err := os.ReadFile(filepath.Join(env.Bed.LogDir(), "usher.log"))
		if err == nil && !line.Match(log) {
			err = errors.New("it does not")
		}
		return err
	})
}

// TestRefusalsInTheAccessLog parses usher's log lines with the fail2ban expression of
// the documentation.
func TestRefusalsInTheAccessLog(t *testing.T) {
	docs, err := os.ReadFile("../../../docs/operations.md")
	testkit.Must(t, err)
	found := regexp.MustCompile(`(?m)^failregex = (.*)$`).FindSubmatch(docs)
	if found == nil {
		t.Fatal("docs/operations.md has no failregex")
	}
	line := regexp.MustCompile(strings.Replace(string(found[1]), "<ADDR>", `\[?(?P<addr>[0-9a-f.:]+)\]?`, 1))
	if _, err := getHTTPS(t.Context(), "knock.techn.is"); err == nil {
		t.Fatal("a host is answered that nobody published")
	}
	plain(t, "knock.techn.is", "/")
	testkit.Eventually(t, "both refusals should be logged", func() error {
		log, err := os.ReadFile(filepath.Join(env.Bed.LogDir(), "usher.log"))
		if err != nil {
			return err
		}
		seen := 0
		for entry := range strings.Lines(string(log)) {
			if match := line.FindStringSubmatch(entry); match != nil && strings.Contains(entry, "knock.techn.is") && match[1] == "127.0.0.1" {
				seen++
			}
		}
		if seen != 2 {
			return fmt.Errorf("%d lines match", seen)
		}
		return nil
	})
}

func TestPlainHTTP(t *testing.T) {
	testkit.Must(t, env.Hades.Publish(t.Context(), "plain", "plain.techn.is", `usher.techn.is/expose: "true"`))
	answered(t, "plain.techn.is", "hades")
	response := plain(t, "plain.techn.is", "/a%2Fb/c?d=e&f=%20")
	if got := response.Header.Get("Location"); response.StatusCode != http.StatusPermanentRedirect || got != "https://plain.techn.is/a%2Fb/c?d=e&f=%20" {
		t.Errorf("answered %s to %q", response.Status, got)
	}
	for name, host := range map[string]string{"a host that is not exposed": "secret.techn.is", "no host at all": env.HTTP.String()} {
		if response := plain(t, host, "/"); response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: answered %s", name, response.Status)
		}
	}
	// A challenge reaches the member's Traefik, and there the app.
	if response := plain(t, "plain.techn.is", "/.well-known/acme-challenge/token"); response.StatusCode != http.StatusOK {
		t.Errorf("a challenge was answered %s", response.Status)
	}
	if response := plain(t, "plain.techn.is", "/.well-known/acme-challenge/../../secret"); response.StatusCode != http.StatusPermanentRedirect {
		t.Errorf("a path out of the challenges was answered %s", response.Status)
	}
}

// A real client receives the TLS alert of a refusal.
func TestRefusedClientsGetTheAlert(t *testing.T) {
	for name, args := range map[string][]string{
		"an unknown host": {"-servername", "nobody.techn.is"},
		"no SNI":          {"-noservername"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"s_client", "-connect", env.HTTPS.String()}, args...)
			out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
			if err == nil {
				t.Errorf("the handshake succeeded")
			}
			if !strings.Contains(string(out), "unrecognized name") || strings.Contains(string(out), "BEGIN CERTIFICATE") {
				t.Errorf("openssl says:\n%s", out)
			}
		})
	}
}

func TestPersonsExposedHostWithAnAddress(t *testing.T) {
	testkit.Must(t, env.Illmatic.Publish(t.Context(), "nas", "nas.techn.is"))
	unanswered(t, "nas.techn.is")
	testkit.Must(t, env.Edge.Apply(t.Context(), fmt.Sprintf(`{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: nas.techn.is},
		spec: {host: nas.techn.is, backends: [{address: 127.0.0.1, httpsPort: %d}]}}`, env.Illmatic.Traefik.HTTPS.Port())))
	answered(t, "nas.techn.is", "illmatic")
}

// The test measures the time from the annotation to the first routed connection. The
// time is printed, not asserted.
func TestLatencyFromAnnotationToFirstConnection(t *testing.T) {
	const rounds = 20
	testkit.Must(t, env.Hades.Publish(t.Context(), "timed", "timed.techn.is"))
	var on, off []time.Duration
	for range rounds {
		on = append(on, untilAnswered(t, "timed.techn.is"))
		off = append(off, untilRefused(t, "timed.techn.is"))
	}
	slices.Sort(on)
	slices.Sort(off)
	t.Logf("annotation to first routed connection: p50 %v, p95 %v; annotation gone to first refusal: p50 %v, p95 %v (kubectl's own time not counted, %d rounds)",
		on[rounds/2], on[rounds*95/100], off[rounds/2], off[rounds*95/100], rounds)
}

func untilAnswered(t *testing.T, host string) time.Duration {
	t.Helper()
	kubectl(t, env.Hades.Cluster, "annotate", "ingressroute", "timed", expose)
	began := time.Now()
	answered(t, host, "hades")
	return time.Since(began)
}

func untilRefused(t *testing.T, host string) time.Duration {
	t.Helper()
	kubectl(t, env.Hades.Cluster, "annotate", "ingressroute", "timed", unexpose)
	began := time.Now()
	unanswered(t, host)
	return time.Since(began)
}
