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

	"github.com/jovalle/usher/api/v1alpha1"
)

const (
	snapshotName = "table.json"

	interval = time.Second      // between two writes, at least
	retry    = 10 * time.Second // after a write that failed
	leisure  = 9                // times as long as a write took, it pauses: a large table must not keep a core busy
)

// A Snapshot keeps what is served in a file, table.json of the state directory,
// so that usher can serve it again when there is no API server to ask. The file
// is a List with one object a line, a version and a checksum, and is replaced as
// a whole: whenever usher is killed, a good one is there.
//
// Load comes before Run. Store may be called at any time, from any goroutine.
type Snapshot struct {
	path     string
	log      logr.Logger
	interval time.Duration
	retry    time.Duration

	written [sha256.Size]byte // of the items in the file, as far as known

	mu      sync.Mutex
	pending Source        // of what is to be written; nil: nothing
	wake    chan struct{} // holds one value while something is pending
}

// A Source returns all that is served now. Nobody may edit that any more.
type Source func(context.Context) ([]v1alpha1.ExposedHost, []v1alpha1.MemberCluster, error)

// NewSnapshot returns the snapshot in a state directory, which it makes where
// there is none. A directory that cannot be written to is an error.
func NewSnapshot(dir string, log logr.Logger) (*Snapshot, error) {
	path := filepath.Join(dir, snapshotName)
	if err := prepareState(path, tempPrefix(path)); err != nil {
		return nil, err
	}
	return &Snapshot{path: path, log: log, interval: interval, retry: retry, wake: make(chan struct{}, 1)}, nil
}

// Load returns what the file holds, and false where there is none that can be
// used. One that is damaged, or that a newer usher wrote, is logged and set aside.
func (s *Snapshot) Load() ([]v1alpha1.ExposedHost, []v1alpha1.MemberCluster, bool) {
	data, _, err := readFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, false
	}
	if err != nil {
		s.log.Error(err, "Could not read the snapshot; it is not used")
		return nil, nil, false
	}
	found, sum, err := decodeSnapshot(data)
	if err != nil {
		aside, asideErr := setAside(s.path)
		s.log.Error(errors.Join(err, asideErr), "Set the snapshot aside; it is not used", "file", s.path, "aside", aside)
		return nil, nil, false
	}
	s.written = sum
	return found.hosts, found.clusters, true
}

// Store has a source's hosts, refused ones too, and its clusters, written soon:
// at once after a pause, else a second later, and by the end of Run. The source is
// asked then, once for all calls until then.
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

// Run writes what Store is given until ctx ends, and then what is left. A write
// that fails is logged and tried again, and the old file stays; the error is
// that of the last write.
func (s *Snapshot) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return s.flush(context.WithoutCancel(ctx))
		case <-s.wake:
		}
		began, pause := time.Now(), s.interval
		if err := s.flush(ctx); err != nil {
			s.log.Error(err, "Could not write the snapshot; the old one stays, and it is tried again", "after", s.retry)
			pause = s.retry
		}
		select {
		case <-ctx.Done():
		case <-time.After(max(pause, leisure*time.Since(began))):
		}
	}
}

// flush writes what is pending, unless the file holds the same.
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

// write replaces the file with what a source holds, unless it is the same.
func (s *Snapshot) write(ctx context.Context, source Source) error {
	hosts, clusters, err := source(ctx)
	if err != nil {
		return err
	}
	var sum [sha256.Size]byte
	err = replace(s.path, func(file *os.File) (err error) {
		if sum, err = encodeSnapshot(file, &objects{hosts: hosts, clusters: clusters}); err == nil && sum == s.written {
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

// putBack leaves what could not be written pending, unless there is newer.
func (s *Snapshot) putBack(source Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil {
		s.pending = source
	}
	s.signal()
}
