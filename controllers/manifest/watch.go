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

// WatchDir reads the *.yaml, *.yml and *.json files of a directory, not of those
// below it, until ctx ends, which is no error. It calls onChange with all their
// objects once at the start and after each change of what is served; it keeps
// the objects, which onChange must not edit. The slices are onChange's own.
//
// A file that is broken, or holds an object that another file holds, is named in
// the log; its last good state is served on, and the other files are. A deleted
// file's objects go; a deleted directory's do not, until it is back. A directory
// that cannot be read at the start is an error.
func WatchDir(ctx context.Context, dir string, log logr.Logger, onChange func([]v1alpha1.ExposedHost, []v1alpha1.MemberCluster)) error {
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the manifests: %w", err)
	}
	defer events.Close()
	w := &watcher{directory: directory{path: dir, log: log}, events: events, onChange: onChange}
	if _, err := w.rescan(ctx); err != nil {
		return fmt.Errorf("read the manifests: %w", err)
	}
	w.tell()
	w.run(ctx)
	return nil
}

// A watcher follows a directory.
type watcher struct {
	directory
	events   *fsnotify.Watcher
	onChange func([]v1alpha1.ExposedHost, []v1alpha1.MemberCluster)
	lost     bool // the directory could not be read the last time
}

// run rescans the directory when it has been quiet after an event, and from time
// to time, whether it is quiet or not.
func (w *watcher) run(ctx context.Context) {
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
			w.log.Error(err, "Lost events of the manifests' directory; it is read anew", "directory", w.path)
			settled.Reset(quiet)
		case <-settled.C:
			next.Reset(w.refresh(ctx))
		case <-next.C:
			next.Reset(w.refresh(ctx))
		}
	}
}

// refresh rescans, tells of a change, and returns when to look again.
func (w *watcher) refresh(ctx context.Context) time.Duration {
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
	return reread
}

// rescan watches the directory that the path leads to now, which may be another
// one than before, and then scans it, so that no change goes unseen.
func (w *watcher) rescan(ctx context.Context) (changed bool, err error) {
	_ = w.events.Remove(w.path) // fails where the directory went, and its watch with it
	if err := w.events.Add(w.path); err != nil {
		return false, fmt.Errorf("watch %s: %w", w.path, err)
	}
	return w.scan(ctx)
}

// tell hands over all that is served.
func (w *watcher) tell() {
	all := w.objects()
	w.log.Info("Read the manifests", "directory", w.path, "files", len(w.files), "hosts", len(all.hosts), "clusters", len(all.clusters))
	w.onChange(all.hosts, all.clusters)
}
