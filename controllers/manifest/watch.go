package manifest

import (
	"context"
	"fmt"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/go-logr/logr"

	"github.com/jovalle/usher/api/v1alpha1"
)

const (
	quiet  = 100 * time.Millisecond // without an event, before the directory is read: a save is several events
	reread = 30 * time.Second       // and it is read this often without any: symbolic links lead to where no watch is
	absent = time.Second            // and this often while it cannot be
)

// A Watcher follows a directory of manifests: its *.yaml, *.yml and *.json files, not
// those of the directories below it. It is a prometheus.Collector of how many files
// are refused.
//
// A file that is broken, that holds an object of another file, or a host whose backend
// names a cluster that no file has, is refused as a whole. The log names it; its last
// good state is served on, and the other files are. A file that was never good serves
// nothing. A deleted file's objects go; a deleted directory's do not, until it is back.
type Watcher struct {
	directory
	events   *fsnotify.Watcher
	onChange func([]v1alpha1.ExposedHost, []v1alpha1.MemberCluster)
	lost     bool // the directory could not be read the last time

	health health
}

// NewWatcher returns a watcher of a directory. With a state directory, which it makes
// where there is none, it keeps the last good text of each file on disk, so that they
// outlive a restart; one that cannot be written to is an error.
func NewWatcher(dir, stateDir string, log logr.Logger) (*Watcher, error) {
	w := &Watcher{directory: directory{path: dir, log: log}}
	if stateDir == "" {
		return w, nil
	}
	var err error
	w.kept, err = newLastGood(stateDir, log)
	return w, err
}

// Run follows the directory until ctx ends, which is no error. It calls onChange with
// all objects once at the start and after each change of what is served; it keeps
// the objects, which onChange must not edit. The slices are onChange's own. A directory
// that cannot be read at the start is an error. Run is called once.
func (w *Watcher) Run(ctx context.Context, onChange func([]v1alpha1.ExposedHost, []v1alpha1.MemberCluster)) error {
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the manifests: %w", err)
	}
	defer events.Close()
	w.events, w.onChange = events, onChange
	if _, err := w.rescan(ctx); err != nil {
		return fmt.Errorf("read the manifests: %w", err)
	}
	w.tell()
	w.keep()
	w.follow(ctx)
	return nil
}

// Ready returns an error while a file has been refused since the start and no good
// state of it is known. It is called from any goroutine, after the first onChange.
func (w *Watcher) Ready() error { return w.health.ready() }

// follow rescans the directory when it has been quiet after an event, and from time
// to time, whether it is quiet or not.
func (w *Watcher) follow(ctx context.Context) {
	settled, next := time.NewTimer(quiet), time.NewTimer(reread)
	defer settled.Stop()
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.events.Events:
			settled.Reset(quiet)
		case err := <-w.events.Errors:
			w.log.Error(err, "Lost events of the manifests' directory; it is read again", "directory", w.path)
			settled.Reset(quiet)
		case <-settled.C:
			next.Reset(w.refresh(ctx))
		case <-next.C:
			next.Reset(w.refresh(ctx))
		}
	}
}

// refresh rescans, tells of a change, and returns when to look again.
func (w *Watcher) refresh(ctx context.Context) time.Duration {
	changed, err := w.rescan(ctx)
	switch {
	case ctx.Err() != nil:
		return reread
	case err != nil:
		if !w.lost {
			w.log.Error(err, "Could not read the manifests; what they last held is served on", "directory", w.path)
		}
		w.lost = true
		return absent
	}
	w.lost = false
	if changed {
		w.tell()
	}
	w.keep()
	return reread
}

// rescan watches the directory that the path leads to now, which may be another
// one than before, and then scans it, so that no change goes unseen.
func (w *Watcher) rescan(ctx context.Context) (changed bool, err error) {
	_ = w.events.Remove(w.path) // fails where the directory went, and its watch with it
	if err := w.events.Add(w.path); err != nil {
		return false, fmt.Errorf("watch %s: %w", w.path, err)
	}
	if changed, err = w.scan(ctx); err == nil {
		w.tellProblems()
		w.health.note(w.refused())
	}
	return changed, err
}

// tell hands over all that is served, and the hosts that are refused with their files.
func (w *Watcher) tell() {
	all := w.objects()
	w.log.Info("Read the manifests", "directory", w.path, "files", len(w.files), "hosts", len(all.hosts), "clusters", len(all.clusters))
	w.onChange(append(all.hosts, refusals(w.refusing)...), all.clusters)
}
