package manifest

import (
	"context"
	"fmt"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/go-logr/logr"

	"github.com/jovalle/usher/controllers/routetable"
)

const (
	debounce       = 100 * time.Millisecond // without an event before the directory is read: a save causes several events
	rescanInterval = 30 * time.Second       // without any event: the targets of symbolic links are not watched
	retryInterval  = time.Second            // while the directory cannot be read
)

// A Watcher watches a directory of manifests: its *.yaml, *.yml and *.json files, but no
// subdirectories. It is a prometheus.Collector of the number of refused files.
//
// A file is refused as a whole if it is broken, if it has an object of another file, or
// if a host names a cluster or a NetworkList that no file has. The log names the file. Its
// last good state is still served, and so are the other files. A file that was never
// good serves nothing. If a file is deleted, its objects are no longer served. If the
// directory is deleted, all objects are still served until it is back.
type Watcher struct {
	directory
	events   *fsnotify.Watcher
	onChange func(routetable.Objects)
	lost     bool // the directory could not be read the last time

	health health
}

// NewWatcher returns a watcher of a directory. If stateDir is not empty, it stores the
// last good text of each file there, for the next start. It creates stateDir if it is
// missing, and returns an error if stateDir is not writable.
func NewWatcher(dir, stateDir string, log logr.Logger) (*Watcher, error) {
	w := &Watcher{directory: directory{path: dir, log: log}}
	if stateDir == "" {
		return w, nil
	}
	var err error
	w.kept, err = newLastGood(stateDir, log)
	return w, err
}

// Run watches the directory until ctx ends, and then returns nil. It calls onChange with
// all objects at the start and after each change of what is served. onChange may keep
// and modify the slices, but must not modify the objects. Run returns an error if the
// directory cannot be read at the start. It must be called only once.
func (w *Watcher) Run(ctx context.Context, onChange func(routetable.Objects)) error {
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch the manifests: %w", err)
	}
	defer events.Close()
	w.events, w.onChange = events, onChange
	if _, err := w.rescan(ctx); err != nil {
		return fmt.Errorf("read the manifests: %w", err)
	}
	w.report()
	w.save()
	w.follow(ctx)
	return nil
}

// Ready returns an error while a file has been refused since the start and has no last
// good state. It may be called from any goroutine, after the first onChange.
func (w *Watcher) Ready() error { return w.health.ready() }

// follow rescans the directory after each burst of events, and every rescanInterval.
func (w *Watcher) follow(ctx context.Context) {
	settled, next := time.NewTimer(debounce), time.NewTimer(rescanInterval)
	defer settled.Stop()
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.events.Events:
			settled.Reset(debounce)
		case err := <-w.events.Errors:
			w.log.Error(err, "Lost events of the manifests' directory; reading it again", "directory", w.path)
			settled.Reset(debounce)
		case <-settled.C:
			next.Reset(w.refresh(ctx))
		case <-next.C:
			next.Reset(w.refresh(ctx))
		}
	}
}

// refresh rescans the directory, reports a change, and returns the time until the next rescan.
func (w *Watcher) refresh(ctx context.Context) time.Duration {
	changed, err := w.rescan(ctx)
	switch {
	case ctx.Err() != nil:
		return rescanInterval
	case err != nil:
		if !w.lost {
			w.log.Error(err, "Could not read the manifests; their last state is still served", "directory", w.path)
		}
		w.lost = true
		return retryInterval
	}
	w.lost = false
	if changed {
		w.report()
	}
	w.save()
	return rescanInterval
}

// rescan watches the directory of the path, which may be another one than before if the
// path has a symbolic link. Then it scans the directory. In this order it misses no
// change.
func (w *Watcher) rescan(ctx context.Context) (changed bool, err error) {
	_ = w.events.Remove(w.path) // fails if the directory was deleted, and its watch with it
	if err := w.events.Add(w.path); err != nil {
		return false, fmt.Errorf("watch %s: %w", w.path, err)
	}
	if changed, err = w.scan(ctx); err == nil {
		w.logProblems()
		w.health.note(w.refused())
	}
	return changed, err
}

// report passes all accepted objects and the hosts of refused files to onChange.
func (w *Watcher) report() {
	all := w.objects()
	w.log.Info("Read the manifests", "directory", w.path, "files", len(w.files), "hosts", len(all.hosts), "clusters", len(all.clusters), "networkLists", len(all.networks))
	all.hosts = append(all.hosts, refusals(w.refusedHosts)...)
	w.onChange(all.served())
}
