package manifest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/hack/test/testkit"
)

func exposedHost(host string) string {
	return fmt.Sprintf("apiVersion: usher.techn.is/v1alpha1\nkind: ExposedHost\nmetadata: {name: %s}\nspec: {host: %[1]s, backends: [{address: 10.0.0.1}]}\n", host)
}

// file returns the text of a file with one document per host.
func file(hosts ...string) string {
	var documents []string
	for _, host := range hosts {
		documents = append(documents, exposedHost(host))
	}
	return strings.Join(documents, "---\n")
}

func logTo(l *testkit.Log) logr.Logger { return funcr.New(l.Add, funcr.Options{}) }

// watched is a watched directory and the objects that are served from it.
type watched struct {
	*testing.T
	log testkit.Log

	dir     string
	watcher *manifest.Watcher
	done    chan error

	servedMu sync.Mutex
	all      routetable.Objects
	served   []string // accepted hosts
	refused  []string // other hosts
	changes  int
}

// watch watches a directory until the test ends.
func watch(t *testing.T, dir string) *watched {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	w := &watched{T: t, dir: dir}
	w.start(ctx, "")
	t.Cleanup(func() {
		stop()
		if err := <-w.done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return w
}

// start watches the directory until ctx ends, and waits for the first onChange.
func (w *watched) start(ctx context.Context, state string) {
	w.Helper()
	var err error
	w.watcher, err = manifest.NewWatcher(w.dir, state, logTo(&w.log))
	testkit.Must(w.T, err)
	w.done = make(chan error, 1)
	go func() { w.done <- w.watcher.Run(ctx, w.changed) }()
	w.await(func() bool { return w.changes > 0 }, "the first reading")
}

func (w *watched) changed(all routetable.Objects) {
	w.servedMu.Lock()
	defer w.servedMu.Unlock()
	w.all, w.served, w.refused = all, nil, nil
	w.changes++
	for _, host := range all.Hosts {
		if meta.IsStatusConditionTrue(host.Status.Conditions, v1alpha1.ConditionAccepted) {
			w.served = append(w.served, host.Spec.Host)
		} else {
			w.refused = append(w.refused, host.Spec.Host)
		}
	}
	slices.Sort(w.served)
}

// await polls until good returns true.
func (w *watched) await(good func() bool, what string) {
	w.Helper()
	testkit.Eventually(w.T, what, func() error {
		w.servedMu.Lock()
		defer w.servedMu.Unlock()
		if !good() {
			return fmt.Errorf("served: %v; log: %q", w.served, w.log.With())
		}
		return nil
	})
}

func (w *watched) awaitServed(hosts ...string) {
	w.Helper()
	w.await(func() bool { return slices.Equal(w.served, hosts) }, fmt.Sprint(hosts))
}

func (w *watched) awaitLog(parts ...string) {
	w.Helper()
	w.await(func() bool { return len(w.log.With(parts...)) > 0 }, fmt.Sprintf("a line with %q", parts))
}

// write writes a file in place.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWatchReadsChangedFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", file("a.techn.is"))
	w := watch(t, dir)
	w.awaitServed("a.techn.is")

	write(t, dir, "b.yml", file("b1.techn.is", "b2.techn.is"))
	w.awaitServed("a.techn.is", "b1.techn.is", "b2.techn.is")

	write(t, dir, "b.yml", file("b2.techn.is"))
	w.awaitServed("a.techn.is", "b2.techn.is")

	testkit.Must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	w.awaitServed("b2.techn.is")

	testkit.Must(t, os.Rename(filepath.Join(dir, "b.yml"), filepath.Join(dir, "c.yaml")))
	w.await(func() bool { return len(w.log.With("Read the manifests")) >= 5 }, "the new name")
	w.awaitServed("b2.techn.is")
}

func TestAFileThatIsWrittenUnchangedReportsNoChange(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", file("a.techn.is"))
	w := watch(t, dir)
	write(t, dir, "a.yaml", file("a.techn.is"))
	testkit.Consistently(t, 300*time.Millisecond, "the same text should tell nobody", func() error {
		w.servedMu.Lock()
		defer w.servedMu.Unlock()
		if w.changes != 1 {
			return fmt.Errorf("%d changes were reported", w.changes)
		}
		return nil
	})
	write(t, dir, "b.yaml", file("b.techn.is"))
	w.awaitServed("a.techn.is", "b.techn.is")
	if w.changes != 2 {
		t.Errorf("%d changes were reported", w.changes)
	}
}

func TestWatchFollowsALinkToADirectory(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "current")
	for _, version := range []string{"v1", "v2"} {
		testkit.Must(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		write(t, filepath.Join(dir, version), "a.yaml", file(version+".techn.is"))
	}
	testkit.Must(t, os.Symlink("v1", link))
	w := watch(t, link)
	w.awaitServed("v1.techn.is")

	testkit.Must(t, os.Remove(link))
	testkit.Must(t, os.Symlink("v2", link))
	write(t, filepath.Join(dir, "v1"), "b.yaml", file("b.techn.is")) // the old directory is still watched, until the next rescan
	w.awaitServed("v2.techn.is")
	write(t, filepath.Join(dir, "v2"), "c.yaml", file("c.techn.is"))
	w.awaitServed("c.techn.is", "v2.techn.is")
}

func TestWatchIgnoresOtherFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".a.yaml", ".a.yaml.swp", "a.yaml~", "#a.yaml#", "a.yaml.bak", "4913", "README.md"} {
		write(t, dir, name, file("hidden.techn.is"))
	}
	testkit.Must(t, os.Mkdir(filepath.Join(dir, "below.yaml"), 0o700))
	write(t, filepath.Join(dir, "below.yaml"), "a.yaml", file("below.techn.is"))
	write(t, dir, "a.YAML", file("a.techn.is"))
	w := watch(t, dir)
	w.awaitServed("a.techn.is")
	if n := len(w.log.With("Refused")); n > 0 {
		t.Errorf("the log has an error: %q", w.log.With())
	}
}

func TestABrokenFileKeepsItsLastGoodState(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", file("a.techn.is"))
	write(t, dir, "b.yaml", file("b.techn.is"))
	w := watch(t, dir)
	w.awaitServed("a.techn.is", "b.techn.is")

	write(t, dir, "b.yaml", file("b.techn.is", "NEW.techn.is"))
	w.awaitLog("Refused", "b.yaml:9: spec.host: ")
	write(t, dir, "a.yaml", file("a2.techn.is"))
	w.awaitServed("a2.techn.is", "b.techn.is")

	write(t, dir, "b.yaml", "") // an editor that empties a file before it writes
	w.awaitLog("Refused", "b.yaml: is empty")
	write(t, dir, "b.yaml", file("b.techn.is", "new.techn.is"))
	w.awaitServed("a2.techn.is", "b.techn.is", "new.techn.is")
	if n := len(w.log.With("Refused", "b.yaml:9")); n != 1 {
		t.Errorf("the broken file was logged %d times", n)
	}
}

func TestABrokenFileAtTheStartAffectsNoOther(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", "kind: {")
	write(t, dir, "b.yaml", file("b.techn.is"))
	testkit.Must(t, os.Symlink("nowhere", filepath.Join(dir, "c.yaml")))
	w := watch(t, dir)
	w.awaitServed("b.techn.is")
	w.awaitLog("Refused", "a.yaml:1: is not YAML")

	testkit.Must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	write(t, dir, "a.yaml", file("a.techn.is"))
	w.awaitServed("a.techn.is", "b.techn.is")
}

func TestAnObjectInTwoFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.yaml", file("a.techn.is", "both.techn.is"))
	write(t, dir, "b.yaml", file("b.techn.is", "both.techn.is"))
	w := watch(t, dir)
	w.awaitServed("a.techn.is", "both.techn.is")
	w.awaitLog("Refused", "b.yaml:8: metadata.name: ExposedHost both.techn.is is in a.yaml:8 too")

	write(t, dir, "a.yaml", file("a.techn.is"))
	w.awaitServed("a.techn.is", "b.techn.is", "both.techn.is")

	write(t, dir, "a.yaml", file("a2.techn.is", "both.techn.is"))
	w.awaitLog("Refused", "a.yaml:8: metadata.name: ExposedHost both.techn.is is in b.yaml:8 too")
	testkit.Must(t, os.Remove(filepath.Join(dir, "b.yaml")))
	w.awaitServed("a2.techn.is", "both.techn.is")
}

// In a mounted ConfigMap files are symbolic links through ..data. ..data is a link to the
// newest folder, and is replaced atomically.
func TestWatchFollowsAConfigMap(t *testing.T) {
	dir := t.TempDir()
	swap := func(version, text string) {
		testkit.Must(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		write(t, filepath.Join(dir, version), "a.yaml", text)
		testkit.Must(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		testkit.Must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	swap("..v1", file("one.techn.is"))
	testkit.Must(t, os.Symlink("..data/a.yaml", filepath.Join(dir, "a.yaml")))
	w := watch(t, dir)
	w.awaitServed("one.techn.is")

	swap("..v2", file("two.techn.is"))
	w.awaitServed("two.techn.is")
	testkit.Must(t, os.RemoveAll(filepath.Join(dir, "..v1")))
	swap("..v3", file("three.techn.is"))
	w.awaitServed("three.techn.is")
}

func TestADirectoryThatGoesAndComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "manifests")
	testkit.Must(t, os.Mkdir(dir, 0o700))
	write(t, dir, "a.yaml", file("a.techn.is"))
	w := watch(t, dir)
	w.awaitServed("a.techn.is")

	testkit.Must(t, os.Rename(dir, dir+".old"))
	w.awaitLog("Could not read the manifests")
	w.awaitServed("a.techn.is")

	testkit.Must(t, os.Mkdir(dir, 0o700))
	write(t, dir, "b.yaml", file("b.techn.is"))
	w.awaitServed("b.techn.is")
	write(t, dir, "c.yaml", file("c.techn.is")) // and it is watched again
	w.awaitServed("b.techn.is", "c.techn.is")
}

func TestADirectoryThatCannotBeReadAtTheStart(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "file", "")
	for _, name := range []string{"missing", "file"} {
		watcher, err := manifest.NewWatcher(filepath.Join(dir, name), "", logr.Discard())
		testkit.Must(t, err)
		err = watcher.Run(t.Context(), nil)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}

func TestAFileThatSaysRefusedStaysRefused(t *testing.T) {
	dir := t.TempDir()
	refused := exposedHost("a.techn.is") + "status: {conditions: [{type: Accepted, status: 'False', reason: DomainNotAllowed, message: elsewhere, lastTransitionTime: '2026-01-02T03:04:05Z'}]}\n"
	write(t, dir, "a.yaml", refused+"---\n"+exposedHost("b.techn.is"))
	w := watch(t, dir)
	w.awaitServed("b.techn.is")
}
