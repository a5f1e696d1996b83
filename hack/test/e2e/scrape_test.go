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
	// selector is a metric of usher's in an expression, and its matchers.
	selector = regexp.MustCompile(`(usher_[a-z_]+)(?:\{([^}]*)\})?`)
	// matcher is one of those.
	matcher = regexp.MustCompile(`(\w+)(=~?)"([^"]*)"`)
)

// What the alerts and the dashboard ask for is there when a real usher is scraped, with the labels
// that they name and values that they match.
func TestAlertsAndDashboardAskForWhatIsScraped(t *testing.T) {
	testkit.Must(t, env.Hades.Publish(t.Context(), "scraped", "scraped.techn.is", `usher.techn.is/expose: "true"`))
	answered(t, "scraped.techn.is", "hades")
	testkit.Must(t, env.Illmatic.Publish(t.Context(), "scraped", "scraped.techn.is", `usher.techn.is/expose: "true"`)) // a rival
	testkit.Must(t, env.Hades.Publish(t.Context(), "mistyped", "mistyped.techn.is", `usher.techn.is/expose: "true"`, `usher.techn.is/plain-http: "sometimes"`))
	testkit.Must(t, env.Edge.Apply(t.Context(), `{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: nowhere.techn.is}, spec: {host: nowhere.techn.is}}`))
	testkit.Must(t, env.Edge.Apply(t.Context(), `{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: dead.techn.is},
		spec: {host: dead.techn.is, backends: [{address: 127.0.0.1, httpsPort: 1}]}}`))
	testkit.Eventually(t, "a backend that is dead should be tried", func() error {
		if _, err := ask(t.Context(), "dead.techn.is"); err == nil || !strings.Contains(err.Error(), "internal error") {
			return fmt.Errorf("its client gets %w", err)
		}
		return nil
	})
	plain(t, "scraped.techn.is", "/")
	asked := map[string]string{} // selector → file
	for _, file := range []string{"../../../charts/usher/files/alerts.yaml", "../../../charts/usher/files/dashboard.json"} {
		text, err := os.ReadFile(file)
		testkit.Must(t, err)
		for _, s := range selector.FindAllString(strings.ReplaceAll(string(text), `\"`, `"`), -1) {
			asked[s] = file
		}
	}
	if len(asked) < 10 {
		t.Errorf("only %v are asked for: the pattern is wrong", asked)
	}
	for s, file := range asked {
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

// elsewhere are series that this usher has not: that of --manifests, which cmd/usher's
// tests ask for, and that of the self-check, which does not look at loopback and is
// asked for on a node.
var elsewhere = []string{"usher_manifest_files_refused", "usher_shadowed"}

// matches reports whether a line of a scrape is a series that a selector selects. The labels job
// and instance are Prometheus' own.
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
