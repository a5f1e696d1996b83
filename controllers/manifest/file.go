package manifest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
)

// maxFile bounds a file, in bytes. A host takes a few hundred.
const maxFile = 512 << 20

// extensions are those of the files that are read.
var extensions = []string{".yaml", ".yml", ".json"}

// A file is what is known of one file of the directory.
type file struct {
	name string
	path string
	sum  [sha256.Size]byte // of the bytes that were read last
	text []byte            // of the new state below, until it is accepted

	good        bool    // the file has a last good state
	accepted    objects // that state: what is served
	acceptedSum [sha256.Size]byte
	modified    time.Time // when the file had that state written

	next         *objects // a newer state; of a file with mistakes, what is good of it
	nextModified time.Time
	turnedDown   bool // that state does not go together with the other files

	unreadable problems // the file could not be read the last time
	own        problems // of its bytes
	together   problems // with other files
	logged     string   // the problems that were logged last

	unkept []byte // a text to be kept on disk
}

// problems are all that is wrong with the file as it stands.
func (f *file) problems() problems {
	all := slices.Concat(f.unreadable, f.own, f.together)
	slices.SortStableFunc(all, Problem.compare)
	return all
}

// load reads the file where its bytes have changed, and reports whether they have.
// What is wrong with the file is kept; an error says that it is gone, or that ctx has
// ended.
func (f *file) load(ctx context.Context) (changed bool, err error) {
	data, modified, err := readFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, gone := os.Lstat(f.path); gone != nil {
			return false, err
		}
		err = errors.New("is a symbolic link that leads nowhere: correct it, or delete it to withdraw its hosts")
	}
	f.unreadable = nil
	if err != nil {
		f.unreadable = problems{{File: f.name, Message: err.Error()}}
		return false, nil
	}
	sum := sha256.Sum256(data)
	if sum == f.sum {
		return false, nil
	}
	found, mistakes := read(ctx, f.name, data)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	accept(found.hosts, f.name, modified)
	f.sum, f.text, f.next, f.nextModified = sum, data, &found, modified
	f.own = newLocator(f.name, data).problems(mistakes)
	return true, nil
}

// recall takes a state over that was good before, and holds no object that is taken.
func (f *file) recall(ctx context.Context, text []byte, modified time.Time, taken map[key]bool) error {
	found, mistakes := read(ctx, f.name, text)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(mistakes) > 0 {
		return fmt.Errorf("the rules have changed since: %w", newLocator(f.name, text).problems(mistakes))
	}
	if k, twice := found.claim(taken); twice {
		return fmt.Errorf("%s: %v is in another file by now", f.name, k)
	}
	accept(found.hosts, f.name, modified)
	f.good, f.accepted, f.acceptedSum, f.modified = true, found, sha256.Sum256(text), modified
	return nil
}

// proposes reports whether the file has a new state to serve.
func (f *file) proposes() bool { return f.next != nil && len(f.own) == 0 && !f.turnedDown }

// state returns what the file would have served.
func (f *file) state() *objects {
	if f.proposes() {
		return f.next
	}
	return &f.accepted
}

// adopt makes the new state the one that is served, and returns its text.
func (f *file) adopt() (text []byte) {
	f.good, f.accepted, f.acceptedSum, f.modified = true, *f.next, f.sum, f.nextModified
	text, f.text, f.next = f.text, nil, nil
	return text
}

// locate returns what finds the lines of one of the file's states: none of them where
// the file has other bytes by now.
func (f *file) locate(state *objects) *locator {
	if state == f.next {
		return newLocator(f.name, f.text)
	}
	data, _, err := readFile(f.path)
	if err != nil || sha256.Sum256(data) != f.acceptedSum {
		data = nil
	}
	return newLocator(f.name, data)
}

// accept decides on hosts that nobody else decides on. The condition's time is
// the file's, so that reading it again changes nothing.
func accept(hosts []v1alpha1.ExposedHost, name string, modified time.Time) {
	for i := range hosts {
		conditions := &hosts[i].Status.Conditions
		if meta.FindStatusCondition(*conditions, v1alpha1.ConditionAccepted) != nil {
			continue
		}
		*conditions = append(*conditions, metav1.Condition{
			Type:               v1alpha1.ConditionAccepted,
			Status:             metav1.ConditionTrue,
			Reason:             reason.Manifest,
			Message:            "written in " + name,
			LastTransitionTime: metav1.NewTime(modified.Truncate(time.Second)),
		})
	}
}

// manifestNames lists the files of a directory that are manifests by their
// names. What begins with a dot is a temporary file of an editor, or of the
// kubelet where the directory is a mounted ConfigMap.
func manifestNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasPrefix(name, ".") && slices.Contains(extensions, strings.ToLower(filepath.Ext(name))) && !entry.IsDir() {
			names = append(names, name)
		}
	}
	return names, nil
}

// readFile reads a regular file, or one that a symbolic link leads to, and
// returns when it was modified.
func readFile(path string) ([]byte, time.Time, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // before the open, which waits at a pipe
		return nil, time.Time{}, fmt.Errorf("%s is not a regular file: move it away", path)
	}
	opened, err := os.Open(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer opened.Close()
	info, err := opened.Stat()
	if err != nil {
		return nil, time.Time{}, err
	}
	data, err := io.ReadAll(io.LimitReader(opened, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errors.New("is too large: split it")
	}
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read %s: %w", path, err)
	}
	return data, info.ModTime(), nil
}
