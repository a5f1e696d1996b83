package e2e

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
)

var (
	// selector matches a metric of usher in an expression, and its label matchers.
	selector = regexp.MustCompile(`(usher_[a-z_]+)(?:\{([^}]*)\})?`)
	// matcher matches one label matcher.
	matcher = regexp.MustCompile(`(\w+)(=~?)"([^"]*)"`)
)

// A scrape of a real usher has all series that the alerts and the dashboard query, with their labels
// and matching values.
func TestSeriesOfAlertsAndDashboardAreScraped(t *testing.T) {
	testkit.Must(t, env.Hades.Publish(t.Context(), "scraped", "scraped.techn.is", `usher.techn.is/expose: "true"`))
	answered(t, "scraped.techn.is", "hades")
	testkit.Must(t, env.Illmatic.Publish(t.Context(), "scraped", "scraped.techn.is", `usher.techn.is/expose: "true"`)) // a second claim
	testkit.Must(t, env.Hades.Publish(t.Context(), "mistyped", "mistyped.techn.is", `usher.techn.is/expose: "true"`, `usher.techn.is/plain-http: "sometimes"`))
	testkit.Must(t, env.Edge.Apply(t.Context(), `{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: nowhere.techn.is}, spec: {host: nowhere.techn.is}}`))
	testkit.Must(t, env.Edge.Apply(t.Context(), `{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: dead.techn.is},
		spec: {host: dead.techn.is, backends: [{address: 127.0.0.1, httpsPort: 1}]}}`))
	testkit.Must(t, env.Edge.Apply(t.Context(), `{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: mail.techn.is},
		spec: {host: mail.techn.is, ports: [https, smtps], backends: [{address: 127.0.0.1, httpsPort: 1, ports: [{name: smtps, port: 465}]}]}}`)) // nobody listens on smtps
	testkit.Eventually(t, "a backend that is dead should be tried", func() error {
		if _, err := getHTTPS(t.Context(), "dead.techn.is"); err == nil || !strings.Contains(err.Error(), "internal error") {
			return fmt.Errorf("its client gets %w", err)
		}
		return nil
	})
	plain(t, "scraped.techn.is", "/")
	selected := map[string]string{} // selector → file
	// The texts are JSON in part, and the dashboard's variables select all.
	unquoted := strings.NewReplacer(`\"`, `"`, "$cluster", ".*", "$instance", ".*")
	for _, file := range []string{"../../../charts/usher/files/alerts.yaml", "../../../charts/usher/files/dashboard.json"} {
		text, err := os.ReadFile(file)
		testkit.Must(t, err)
		for _, s := range selector.FindAllString(unquoted.Replace(string(text)), -1) {
			selected[s] = file
		}
	}
	if len(selected) < 10 {
		t.Errorf("only %v are selected for: the pattern is wrong", selected)
	}
	for s, file := range selected {
		if slices.Contains(elsewhere, selector.FindStringSubmatch(s)[1]) {
			continue
		}
		testkit.Eventually(t, file+" asks for "+s, func() error {
			metrics, err := env.Get(t.Context(), "/metrics")
			testkit.Must(t, err)
			for line := range strings.Lines(metrics) {
				if matches(line, s) {
					return nil
				}
			}
			return fmt.Errorf("no such series at http://%s/metrics", env.API)
		})
	}
}

// elsewhere are series that this usher does not have: that of --manifests, which the
// tests of cmd/usher check, and that of the self-check, which ignores loopback and is
// checked on a node.
var elsewhere = []string{"usher_manifest_files_refused", "usher_shadowed"}

// matches reports whether a line of a scrape is a series that a selector selects. Prometheus itself
// adds the labels job and instance.
func matches(line, of string) bool {
	wanted := selector.FindStringSubmatch(of)
	rest, ok := strings.CutPrefix(line, wanted[1])
	if !ok || !strings.ContainsAny(rest[:1], "{ ") {
		return false
	}
	labels := map[string]string{} // name → value
	for _, label := range matcher.FindAllStringSubmatch(rest, -1) {
		labels[label[1]] = label[3]
	}
	for _, m := range matcher.FindAllStringSubmatch(wanted[2], -1) {
		if m[1] == "job" || m[1] == "instance" {
			continue
		}
		value, ok := labels[m[1]]
		equal := value == m[3]
		if m[2] == "=~" {
			equal = regexp.MustCompile("^(?:" + m[3] + ")$").MatchString(value)
		}
		if !ok || !equal {
			return false
		}
	}
	return true
}
