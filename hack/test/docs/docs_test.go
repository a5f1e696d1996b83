// Package docs compares docs/ with the code: each flag, annotation, metric and alert in
// the docs exists, and each that exists is documented. It has only tests, and nothing
// imports it.
package docs

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const docs = "../../../docs/"

// read returns the texts of the files that match a pattern.
func read(t *testing.T, glob string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(glob)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no file matches %s: %v", glob, err)
	}
	texts := map[string]string{} // path → text
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[path] = string(text)
	}
	return texts
}

// named returns the matches of the pattern's group in texts, without duplicates.
func named(texts map[string]string, pattern string) []string {
	found := map[string]bool{}
	expression := regexp.MustCompile(pattern)
	for _, text := range texts {
		for _, match := range expression.FindAllStringSubmatch(text, -1) {
			found[match[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// within reports each name that is not one of the known names.
func within(t *testing.T, names, known []string, message string) {
	t.Helper()
	if len(names) == 0 {
		t.Error("there are no names: the pattern is wrong")
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			t.Errorf("%s: %s", name, message)
		}
	}
}

func TestFlagsExistAndAreDocumented(t *testing.T) {
	run, all := flagsOf(t, "run"), []string{}
	for _, command := range []string{"run", "cluster add", "cluster drain", "cluster isolate", "cluster list", "cluster remove", "move", "check", "dashboard", "dns", "doctor", "history", "knocks", "standalone backup", "why"} {
		all = append(all, flagsOf(t, command)...)
	}
	within(t, run, named(read(t, docs+"operations.md"), "`(--[a-z-]+)"), "a flag of usher run that docs/operations.md does not name")
	others := []string{"--help", "--version", "--disable", "--reuse-values"} // of every command; of usher; of K3s; of Helm
	within(t, named(read(t, docs+"*.md"), "`(--[a-z-]+)[`= ]"), append(all, others...), "is no flag of usher")
	within(t, named(read(t, docs+"*.md"), `(?:usher run|usher cluster \w+) .*?(--[a-z-]+)`), append(all, "--help"), "is no flag of usher")
}

func TestAnnotationsExistAndAreDocumented(t *testing.T) {
	const name = `(usher\.techn\.is/[a-z0-9-]*[a-z0-9])`
	api := named(read(t, "../../../api/v1alpha1/annotations.go"), `"`+name+`"`)
	within(t, api, named(read(t, docs+"concepts.md"), name), "docs/concepts.md does not name it")
	ours := []string{"usher.techn.is/v1alpha1", "usher.techn.is/edge"} // the API version; a node label
	within(t, named(read(t, docs+"*.md"), name), append(api, ours...), "is no annotation or label")
}

func TestMetricsExistAndAreDocumented(t *testing.T) {
	metrics := metricNames(t)
	within(t, metrics, named(read(t, docs+"operations.md"), `(usher_[a-z_]+)`), "docs/operations.md does not name it")
	for _, glob := range []string{docs + "operations.md", "../../../charts/usher/files/alerts.yaml", "../../../charts/usher/files/dashboard.json"} {
		var used []string
		for _, name := range named(read(t, glob), `(usher_[a-z_]+)`) {
			used = append(used, strings.TrimSuffix(name, "_bucket"))
		}
		within(t, used, metrics, "is no metric, and "+glob+" names it")
	}
}

func TestAlertsExistAndAreDocumented(t *testing.T) {
	alerts := named(read(t, "../../../charts/usher/files/alerts.yaml"), `alert: (\w+)`)
	documented := named(read(t, docs+"operations.md"), "`(Usher[A-Z]\\w+)`")
	within(t, alerts, documented, "docs/operations.md does not name the alert")
	within(t, documented, alerts, "is no alert")
}

// Each alert leads to the table of alerts in the docs.
func TestAlertsHaveARunbook(t *testing.T) {
	const runbook = "runbook_url: https://github.com/jovalle/usher/blob/main/docs/operations.md#alerts\n"
	for path, text := range read(t, "../../../charts/usher/files/alerts.yaml") {
		if alerts, runbooks := strings.Count(text, "- alert: "), strings.Count(text, runbook); alerts == 0 || runbooks != alerts {
			t.Errorf("%s: %d of %d alerts have %s", path, runbooks, alerts, runbook)
		}
	}
	if !slices.Contains(anchors(read(t, docs+"operations.md")), "alerts") {
		t.Error("docs/operations.md has no heading #alerts")
	}
}

// The dashboard defines the variables that its queries use, and uses those that it defines.
func TestVariablesOfTheDashboard(t *testing.T) {
	dashboard := read(t, "../../../charts/usher/files/dashboard.json")
	defined := named(dashboard, `(?m)^        "name": "(\w+)"`)
	used := named(dashboard, `\$\{?([a-z]\w*)`)
	within(t, used, defined, "is no variable of the dashboard")
	within(t, defined, used, "is a variable that the dashboard does not use")
}

func TestLinksHaveATarget(t *testing.T) {
	for path, text := range read(t, docs+"*.md") {
		for _, link := range named(map[string]string{path: text}, `\]\(([^):]+)\)`) {
			file, anchor, _ := strings.Cut(link, "#")
			if file == "" {
				file = filepath.Base(path)
			}
			target := read(t, docs+file)
			if anchor != "" && !slices.Contains(anchors(target), anchor) {
				t.Errorf("%s: there is no heading #%s in %s", path, anchor, file)
			}
		}
	}
}

// anchors returns the anchors of the headings, as GitHub creates them.
func anchors(texts map[string]string) []string {
	var found []string
	for _, heading := range named(texts, `(?m)^#+ (.+)$`) {
		kept := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(heading), "")
		found = append(found, strings.ReplaceAll(kept, " ", "-"))
	}
	return found
}
