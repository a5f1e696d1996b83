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
	pending *objects      // to be written; nil: nothing
	wake    chan struct{} // holds one value while something is pending
}

// NewSnapshot returns the snapshot in a state directory, which it makes where
// there is none. A directory that cannot be written to is an error.
func NewSnapshot(dir string, log logr.Logger) (*Snapshot, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil { //nolint:gosec // the operator names the directory
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	path := filepath.Join(dir, snapshotName)
	if err := tryReplacing(path); err != nil {
		return nil, fmt.Errorf("the state directory must be writable for user %d: %w", os.Getuid(), err)
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

// Store has the accepted ones of the hosts, and the clusters, written soon: at
// once after a pause, else a second later, and by the end of Run. It only keeps
// the slices, which nobody may edit any more, until then.
func (s *Snapshot) Store(hosts []v1alpha1.ExposedHost, clusters []v1alpha1.MemberCluster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = &objects{hosts: hosts, clusters: clusters}
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
			return s.flush()
		case <-s.wake:
		}
		began, pause := time.Now(), s.interval
		if err := s.flush(); err != nil {
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
func (s *Snapshot) flush() error {
	s.mu.Lock()
	pending := s.pending
	s.pending = nil
	s.mu.Unlock()
	if pending == nil {
		return nil
	}
	data, sum, err := encodeSnapshot(pending)
	if err == nil && sum != s.written {
		err = replace(s.path, data)
	}
	if err != nil {
		s.putBack(pending)
		return fmt.Errorf("write the snapshot: %w", err)
	}
	s.written = sum
	return nil
}

// putBack leaves what could not be written pending, unless there is newer.
func (s *Snapshot) putBack(objects *objects) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil {
		s.pending = objects
	}
	s.signal()
}
