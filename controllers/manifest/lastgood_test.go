package manifest_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/hack/test/testkit"
)

// restarts are successive watchers of one directory with one state directory.
type restarts struct {
	dir, state string
}

func newRestarts(t *testing.T) restarts {
	return restarts{dir: t.TempDir(), state: filepath.Join(t.TempDir(), "state")}
}

// watch watches the directory until stop is called.
func (r restarts) watch(t *testing.T) (w *watched, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w = &watched{T: t, dir: r.dir}
	w.start(ctx, r.state)
	return w, func() {
		cancel()
		if err := <-w.done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// stored returns the path of the last good text of a manifest.
func (r restarts) stored(name string) string {
	return filepath.Join(r.state, "manifests", name+".last-good")
}

func (r restarts) awaitStored(w *watched, name string, hosts ...string) {
	w.Helper()
	w.await(func() bool {
		text, _ := os.ReadFile(r.stored(name))
		_, rest, _ := strings.Cut(string(text), "\n")
		return rest == file(hosts...)
	}, "the last good text of "+name)
}

// refusedFiles returns the values of the metric: name and label → number of files.
func refusedFiles(t *testing.T, w *watched) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	testkit.Must(t, registry.Register(w.watcher))
	families, err := registry.Gather()
	testkit.Must(t, err)
	counts := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			counts[family.GetName()+" "+metric.GetLabel()[0].GetValue()] = metric.GetGauge().GetValue()
		}
	}
	return counts
}

// expectRefused checks the number of refused files whose last good state is served, and of those that serve nothing.
func expectRefused(t *testing.T, w *watched, lastGood, nothing float64) {
	t.Helper()
	got := refusedFiles(t, w)
	if len(got) != 2 || got["usher_manifest_files_refused last_good"] != lastGood || got["usher_manifest_files_refused nothing"] != nothing {
		t.Errorf("the metric is %v, want %v and %v", got, lastGood, nothing)
	}
}

func TestABrokenFileAtTheStartMakesUsherUnready(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", file("a.techn.is", "BAD.techn.is"))
	write(t, dir, "b.yaml", file("b.techn.is"))
	w := watch(t, dir)
	w.awaitServed("b.techn.is")
	if err := w.watcher.Ready(); err == nil || !strings.Contains(err.Error(), "a.yaml:9: spec.host: ") {
		t.Errorf("Ready returns %v", err)
	}
	expectRefused(t, w, 0, 1)

	write(t, dir, "a.yaml", file("a.techn.is"))
	w.awaitServed("a.techn.is", "b.techn.is")
	testkit.Must(t, w.watcher.Ready())
	expectRefused(t, w, 0, 0)

	write(t, dir, "a.yaml", "kind: {")
	write(t, dir, "c.yaml", "kind: {") // does not make usher unready: it never served anything
	w.awaitLog("Refused a manifest file; its last good state is still served", "a.yaml:1")
	w.awaitLog("Refused a manifest file; there is no last good state", "c.yaml:1")
	testkit.Must(t, w.watcher.Ready())
	expectRefused(t, w, 1, 1)
}

func TestADeletedFileDoesNotPreventReadiness(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", "kind: {")
	w := watch(t, dir)
	if w.watcher.Ready() == nil {
		t.Error("it is ready")
	}
	testkit.Must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	w.await(func() bool { return w.watcher.Ready() == nil }, "readiness")
}

func TestTheLastGoodStateSurvivesARestart(t *testing.T) {
	r := newRestarts(t)
	write(t, r.dir, "a.yaml", file("a1.techn.is"))
	write(t, r.dir, "b.yaml", file("b.techn.is"))
	w, stop := r.watch(t)
	write(t, r.dir, "a.yaml", file("a2.techn.is"))
	r.awaitStored(w, "a.yaml", "a2.techn.is")
	r.awaitStored(w, "b.yaml", "b.techn.is")
	stop()
	if info, err := os.Stat(r.stored("a.yaml")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("it is kept as %v, %v", info.Mode(), err)
	}

	write(t, r.dir, "a.yaml", file("a3.techn.is", "BAD.techn.is"))
	testkit.Must(t, os.Remove(filepath.Join(r.dir, "b.yaml")))
	w, stop = r.watch(t)
	w.awaitServed("a2.techn.is")
	testkit.Must(t, w.watcher.Ready())
	expectRefused(t, w, 1, 0)
	w.awaitLog("its last good state is still served", "a.yaml:9: spec.host")
	w.await(func() bool { _, err := os.Stat(r.stored("b.yaml")); return err != nil }, "the removal of what was kept of b.yaml")
	stop()

	write(t, r.dir, "b.yaml", "kind: {") // it was deleted before: its old state is not restored
	w, stop = r.watch(t)
	w.awaitServed("a2.techn.is")
	expectRefused(t, w, 1, 1)
	if w.watcher.Ready() == nil {
		t.Error("it is ready without b.yaml")
	}
	testkit.Must(t, os.Remove(filepath.Join(r.dir, "b.yaml")))
	write(t, r.dir, "a.yaml", file("a3.techn.is"))
	w.awaitServed("a3.techn.is")
	r.awaitStored(w, "a.yaml", "a3.techn.is")
	stop()
}

func TestADamagedLastGoodStateIsNotServed(t *testing.T) {
	for name, damage := range map[string]func(string) string{
		"cut short":        func(kept string) string { return kept[:strings.LastIndex(kept, "---")] },
		"empty":            func(string) string { return "" },
		"edited":           func(kept string) string { return strings.ReplaceAll(kept, "a.techn.is", "x.techn.is") },
		"without header":   func(kept string) string { _, text, _ := strings.Cut(kept, "\n"); return text },
		"another checksum": func(kept string) string { return strings.Replace(kept, "sha256 ", "sha256 0", 1) },
		"a second header":  func(kept string) string { return kept[:strings.Index(kept, "\n")+1] + kept },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRestarts(t)
			write(t, r.dir, "a.yaml", file("a.techn.is", "b.techn.is"))
			w, stop := r.watch(t)
			r.awaitStored(w, "a.yaml", "a.techn.is", "b.techn.is")
			stop()
			kept, err := os.ReadFile(r.stored("a.yaml"))
			testkit.Must(t, err)
			testkit.Must(t, os.WriteFile(r.stored("a.yaml"), []byte(damage(string(kept))), 0o600))
			write(t, r.dir, "a.yaml", "kind: {")

			w, stop = r.watch(t)
			w.awaitServed()
			w.awaitLog("Ignored the stored last good state", "a.yaml")
			expectRefused(t, w, 0, 1)
			if w.watcher.Ready() == nil {
				t.Error("it is ready")
			}
			write(t, r.dir, "a.yaml", file("c.techn.is"))
			r.awaitStored(w, "a.yaml", "c.techn.is")
			stop()
		})
	}
}

// An object that moved to another file, while only the last good state of one of them
// was stored, is served once.
func TestLastGoodStatesThatConflict(t *testing.T) {
	r := newRestarts(t)
	write(t, r.dir, "a.yaml", file("x.techn.is"))
	w, stop := r.watch(t)
	r.awaitStored(w, "a.yaml", "x.techn.is")
	stop()
	old, err := os.ReadFile(r.stored("a.yaml"))
	testkit.Must(t, err)
	write(t, r.dir, "a.yaml", file("a.techn.is"))
	write(t, r.dir, "b.yaml", file("x.techn.is"))
	w, stop = r.watch(t)
	r.awaitStored(w, "b.yaml", "x.techn.is")
	r.awaitStored(w, "a.yaml", "a.techn.is")
	stop()

	testkit.Must(t, os.WriteFile(r.stored("a.yaml"), old, 0o600))
	for _, text := range []string{"kind: {", file("x.techn.is")} {
		write(t, r.dir, "a.yaml", text)
		w, stop = r.watch(t)
		w.awaitServed("x.techn.is")
		expectRefused(t, w, 0, 1)
		stop()
	}
}

func TestAStateDirectoryThatCannotBeWritten(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	testkit.Must(t, os.WriteFile(state, nil, 0o600))
	if _, err := manifest.NewWatcher(t.TempDir(), state, logr.Discard()); err == nil || !strings.Contains(err.Error(), "state directory") {
		t.Errorf("the error is %v", err)
	}
}

const hades = "apiVersion: usher.techn.is/v1alpha1\nkind: MemberCluster\nmetadata: {name: hades}\nspec: {ingress: {addresses: [192.168.1.10]}}\n"

// onHades returns the text of a file with a host of the cluster hades.
func onHades(host string) string {
	return strings.Replace(exposedHost(host), "address: 10.0.0.1", "cluster: hades", 1)
}

func TestABackendOfAnUnknownCluster(t *testing.T) {
	const place, says = "b.yaml:4: spec.backends[0].cluster: Invalid value: ", "there is no MemberCluster hades"
	dir := t.TempDir()
	write(t, dir, "b.yaml", onHades("b.techn.is"))
	write(t, dir, "c.yaml", file("c.techn.is"))
	w := watch(t, dir)
	w.awaitServed("c.techn.is")
	w.awaitLog("Refused", place, says)
	if err := w.watcher.Ready(); err == nil || !strings.Contains(err.Error(), place+`"hades": `+says) {
		t.Errorf("Ready returns %v", err)
	}

	write(t, dir, "a.yaml", hades) // the file that names it has not changed
	w.awaitServed("b.techn.is", "c.techn.is")
	testkit.Must(t, w.watcher.Ready())

	testkit.Must(t, os.Remove(filepath.Join(dir, "a.yaml"))) // its hosts have no backend any longer
	w.await(func() bool { return len(w.log.With("Refused", place, says)) == 2 }, "the complaint")
	expectRefused(t, w, 1, 0)
	write(t, dir, "b.yaml", onHades("b.techn.is")+"---\n"+exposedHost("d.techn.is"))
	w.awaitLog("Refused", "its last good state", place, says)
	write(t, dir, "a.yaml", hades)
	w.awaitServed("b.techn.is", "c.techn.is", "d.techn.is")
	w.await(func() bool { return len(w.log.With("good again", "b.yaml")) == 2 }, "peace")
	expectRefused(t, w, 0, 0)
}

func TestADanglingSymbolicLinkIsNoDeletion(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "target", file("a.techn.is"))
	testkit.Must(t, os.Symlink("target", filepath.Join(dir, "a.yaml")))
	w := watch(t, dir)
	w.awaitServed("a.techn.is")
	testkit.Must(t, os.Rename(filepath.Join(dir, "target"), filepath.Join(dir, "away")))
	w.awaitLog("Refused", "a.yaml: is a symbolic link that leads nowhere")
	w.awaitServed("a.techn.is")
	testkit.Must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	w.awaitServed()
}
