package manifest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/controllers/atomicfile"
	"github.com/jovalle/usher/controllers/routetable"
)

const (
	snapshotName = "table.json"

	interval   = time.Second      // minimum pause after a write
	retry      = 10 * time.Second // pause after a write that failed
	pauseRatio = 9                // minimum pause per duration of the write: writing takes at most 10 % of a core
)

// A Snapshot stores what is served in the file table.json of the state directory, so
// that usher can serve it after a start without an API server. The file is a List with
// one object per line, a version and a checksum. It is replaced atomically: a kill at
// any moment leaves a complete one.
//
// Load must be called before Run. Store may be called at any time, from any goroutine.
type Snapshot struct {
	path     string
	log      logr.Logger
	interval time.Duration
	retry    time.Duration

	written [sha256.Size]byte // of the items in the file, as far as known

	mu      sync.Mutex
	pending Source        // returns what Run has to write; nil: nothing
	wake    chan struct{} // holds one value while something is pending
}

// A Source returns all objects that are served now. They must not be modified afterwards.
type Source func(context.Context) (routetable.Objects, error)

// NewSnapshot returns the snapshot in a state directory, which it creates if it is
// missing. It returns an error if the directory is not writable.
func NewSnapshot(dir string, log logr.Logger) (*Snapshot, error) {
	path := filepath.Join(dir, snapshotName)
	if err := prepareState(path, atomicfile.TempPrefix(path)); err != nil {
		return nil, err
	}
	return &Snapshot{path: path, log: log, interval: interval, retry: retry, wake: make(chan struct{}, 1)}, nil
}

// Load returns the objects of the file, or false if there is no usable one. A file that
// is damaged, or that a newer usher wrote, is logged and set aside.
func (s *Snapshot) Load() (routetable.Objects, bool) {
	data, _, err := readFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return routetable.Objects{}, false
	}
	if err != nil {
		s.log.Error(err, "Could not read the snapshot; it is not used")
		return routetable.Objects{}, false
	}
	found, sum, err := decodeSnapshot(data)
	if err != nil {
		aside, asideErr := setAside(s.path)
		s.log.Error(errors.Join(err, asideErr), "Set the snapshot aside; it is not used", "file", s.path, "aside", aside)
		return routetable.Objects{}, false
	}
	s.written = sum
	return found.served(), true
}

// Store makes Run write the objects of a source: hosts, accepted and refused, clusters and
// NetworkLists.
// Run writes at once, or when the pause after its last write is over, and before it
// returns. It calls the source just before it writes. Of several calls of Store until
// then, only the last one counts.
func (s *Snapshot) Store(source Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = source
	s.signal()
}

// signal wakes Run, now or when it next waits.
func (s *Snapshot) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run writes what Store requests until ctx ends, and once more after that if something
// is pending. A write that fails is logged and retried, and the old file stays. The
// error is that of the last write.
func (s *Snapshot) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return s.flush(context.WithoutCancel(ctx))
		case <-s.wake:
		}
		began, pause := time.Now(), s.interval
		if err := s.flush(ctx); err != nil {
			s.log.Error(err, "Could not write the snapshot; the old one stays; will retry", "after", s.retry)
			pause = s.retry
		}
		select {
		case <-ctx.Done():
		case <-time.After(max(pause, pauseRatio*time.Since(began))):
		}
	}
}

// flush writes what is pending, if anything is.
func (s *Snapshot) flush(ctx context.Context) error {
	s.mu.Lock()
	pending := s.pending
	s.pending = nil
	s.mu.Unlock()
	if pending == nil {
		return nil
	}
	if err := s.write(ctx, pending); err != nil {
		s.putBack(pending)
		return fmt.Errorf("write the snapshot: %w", err)
	}
	return nil
}

// write replaces the file with the objects of a source, unless it has the same already.
func (s *Snapshot) write(ctx context.Context, source Source) error {
	served, err := source(ctx)
	if err != nil {
		return err
	}
	var sum [sha256.Size]byte
	err = atomicfile.Replace(s.path, func(file *os.File) (err error) {
		if sum, err = encodeSnapshot(file, &served); err == nil && sum == s.written {
			return errUnchanged
		}
		return err
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return err
	}
	s.written = sum
	return nil
}

// putBack makes a source pending again after a failure, unless a newer one is.
func (s *Snapshot) putBack(source Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil {
		s.pending = source
	}
	s.signal()
}
