package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// TestSourcesAreRead makes go test run this package again after each change of the chart.
func TestSourcesAreRead(t *testing.T) { testkit.ReadSources(t) }

// chartRelease returns a release whose chart has been made.
func chartRelease(t *testing.T, version string) *release {
	t.Helper()
	t.Chdir("../..")
	helm, err := servers.Locate(servers.Helm)
	testkit.Must(t, err)
	r := &release{
		version: version, image: "ghcr.io/jovalle/usher", helm: helm, out: t.TempDir(), work: t.TempDir(), time: time.Unix(1_800_000_000, 0).UTC(),
		notes: notes{changes: []change{{"added", "A door: with a colon"}, {"security", "A lock"}}},
	}
	testkit.Must(t, r.chart(t.Context()))
	return r
}

// output returns the standard output of a program.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := command(t.Context(), nil, name, args...)
	testkit.Must(t, err)
	return out
}

// Image, chart and program have one version: the chart of a release installs its image.
func TestChartInstallsTheImageOfTheRelease(t *testing.T) {
	for _, version := range []string{"v9.8.7", "v9.8.7-dev.g0123456789ab"} {
		t.Run(version, func(t *testing.T) {
			r := chartRelease(t, version)
			packed := r.path("usher-" + version[1:] + ".tgz")
			if manifests := output(t, r.helm, "template", "usher", packed); !strings.Contains(manifests, "image: "+r.image+":"+version+"\n") {
				t.Errorf("the chart does not install %s:%s:\n%s", r.image, version, manifests)
			}
			var chart struct {
				Version, AppVersion string
				Annotations         map[string]string
			}
			testkit.Must(t, yaml.Unmarshal([]byte(output(t, r.helm, "show", "chart", packed)), &chart))
			if chart.Version != version[1:] || chart.AppVersion != version {
				t.Errorf("the chart has the version %s and the appVersion %s", chart.Version, chart.AppVersion)
			}
			for name, want := range map[string]string{
				"prerelease":              strconv.FormatBool(strings.Contains(version, "-")),
				"containsSecurityUpdates": "true",
				"changes":                 "- description: 'A door: with a colon'\n  kind: added\n- description: A lock\n  kind: security\n",
			} {
				if got := chart.Annotations["artifacthub.io/"+name]; got != want {
					t.Errorf("the annotation %s is %q, not %q", name, got, want)
				}
			}
			if !strings.Contains(chart.Annotations["artifacthub.io/images"], r.image+":"+version) {
				t.Errorf("the chart does not name its image: %v", chart.Annotations)
			}
		})
	}
}

// The same commit makes the same chart, even if its files are copied at another time.
func TestChartIsReproducible(t *testing.T) {
	r := chartRelease(t, "v9.8.7")
	first := map[string]string{}
	for _, name := range []string{"usher-9.8.7.tgz", "usher-chart-9.8.7.oci.tar", "usher-artifacthub.oci.tar"} {
		var err error
		first[name], err = checksum(r.path(name))
		testkit.Must(t, err)
	}
	folder := filepath.Join(r.work, "usher")
	testkit.Must(t, os.Chtimes(filepath.Join(folder, "values.yaml"), time.Time{}, time.Unix(1, 0)))
	testkit.Must(t, os.RemoveAll(folder))
	testkit.Must(t, r.chart(t.Context()))
	for name, sum := range first {
		if again, err := checksum(r.path(name)); err != nil || again != sum {
			t.Errorf("%s has another checksum (%v)", name, err)
		}
	}
}

// The chart is of one version, installs the image that make builds, and lists its CRDs.
func TestChartFitsTheRepository(t *testing.T) {
	var chart struct {
		Version, AppVersion, Icon string
		Annotations               map[string]string
	}
	text, err := os.ReadFile("../../charts/usher/Chart.yaml")
	testkit.Must(t, err)
	testkit.Must(t, yaml.Unmarshal(text, &chart))
	if chart.AppVersion != "v"+chart.Version {
		t.Errorf("Chart.yaml: the appVersion %s is not v and the version %s", chart.AppVersion, chart.Version)
	}
	if _, err := os.Stat("../../docs/" + filepath.Base(chart.Icon)); err != nil {
		t.Errorf("Chart.yaml: icon: %v", err)
	}
	var values struct{ Image struct{ Repository string } }
	text, err = os.ReadFile("../../charts/usher/values.yaml")
	testkit.Must(t, err)
	testkit.Must(t, yaml.Unmarshal(text, &values))
	if commands := output(t, "make", "-C", "../..", "--dry-run", "image"); !strings.Contains(commands, "IMAGE='"+values.Image.Repository+"'") {
		t.Errorf("the chart installs %s, and make builds another image:\n%s", values.Image.Repository, commands)
	}
	var described []struct{ Name string }
	testkit.Must(t, yaml.Unmarshal([]byte(chart.Annotations["artifacthub.io/crds"]), &described))
	files, err := filepath.Glob("../../charts/usher/crds/*.yaml")
	testkit.Must(t, err)
	var listed, existing []string
	for _, crd := range described {
		listed = append(listed, crd.Name)
	}
	for _, path := range files { // usher.techn.is_exposedhosts.yaml
		group, plural, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".yaml"), "_")
		existing = append(existing, plural+"."+group)
	}
	if slices.Sort(listed); !slices.Equal(listed, existing) {
		t.Errorf("Chart.yaml: artifacthub.io/crds has %v, and crds/ %v", listed, existing)
	}
}

// usher version, the tag of the image and the version of the chart come from hack/version.
func TestProgramAndImageHaveTheVersionOfTheCheckout(t *testing.T) {
	version := strings.TrimSpace(output(t, "../version"))
	commands := output(t, "make", "-C", "../..", "--no-print-directory", "--dry-run", "build", "image")
	if !strings.Contains(commands, "VERSION='"+version+"'") {
		t.Errorf("make image does not build version %s:\n%s", version, commands)
	}
	_, flags, _ := strings.Cut(commands, "-ldflags='")
	flags, _, _ = strings.Cut(flags, "'")
	program := filepath.Join(t.TempDir(), "usher")
	t.Setenv("CGO_ENABLED", "0") // as the Makefile has it, so that the build cache serves both
	output(t, "go", "build", "-trimpath", "-ldflags="+flags, "-o", program, "../../cmd/usher")
	if printed := output(t, program, "version"); !strings.HasPrefix(printed, "usher "+version+" ") {
		t.Errorf("usher version prints %q; hack/version %q", printed, version)
	}
}

// A commit has the version of its tag, which must be the chart's; another commit is on the way to it.
func TestVersionOfACheckout(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		output(t, "git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"}, args...)...)
	}
	chart := filepath.Join(dir, "charts", "usher", "Chart.yaml")
	testkit.Must(t, os.MkdirAll(filepath.Dir(chart), 0o755))
	testkit.Must(t, os.Mkdir(filepath.Join(dir, "hack"), 0o755))
	script, err := os.ReadFile("../version")
	testkit.Must(t, err)
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "hack", "version"), script, 0o755))
	testkit.Must(t, os.WriteFile(chart, []byte("version: 1.2.0\nappVersion: v1.2.0\n"), 0o644))
	version := func() string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "hack", "version")).CombinedOutput()
		if err != nil {
			return "error: " + strings.TrimSpace(string(out))
		}
		return strings.TrimSpace(string(out))
	}
	expect := func(state, want string) {
		t.Helper()
		if got := version(); got != want {
			t.Errorf("%s: the version is %q, not %q", state, got, want)
		}
	}
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(dir))
	expect("without git", "v1.2.0-dev")
	git("init", "--quiet")
	git("add", ".")
	git("commit", "--quiet", "--message=one")
	commit := output(t, "git", "-C", dir, "rev-parse", "HEAD")[:12]
	expect("without a tag", "v1.2.0-dev.g"+commit)
	git("tag", "other")
	expect("with a tag that is no version", "v1.2.0-dev.g"+commit)
	git("tag", "v1.2.0")
	expect("with its tag", "v1.2.0")
	testkit.Must(t, os.WriteFile(chart, []byte("version: 1.2.0\nappVersion: v1.2.0\n\n"), 0o644))
	expect("with its tag and changes", "v1.2.0-dev.g"+commit+".dirty")
	git("commit", "--quiet", "--all", "--message=two")
	git("tag", "v1.3.0")
	expect("with another tag", "error: version: the commit has the tag v1.3.0, and charts/usher/Chart.yaml the appVersion v1.2.0: they must be equal")
}
