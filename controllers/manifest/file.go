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

// maxFile is the maximum size of a file, in bytes. A host takes a few hundred.
const maxFile = 512 << 20

// extensions are the extensions of the files that are read.
var extensions = []string{".yaml", ".yml", ".json"}

// A file is the state of one file of the directory.
type file struct {
	name string
	path string
	sum  [sha256.Size]byte // of the content that was read last
	text []byte            // of the new state below, until it is accepted

	good        bool    // the file has a last good state
	accepted    objects // the last good state, which is served
	acceptedSum [sha256.Size]byte
	modified    time.Time // modification time of the last good state

	next         *objects // a newer state; if the file has mistakes, its good objects
	nextModified time.Time
	conflicts    bool // the newer state conflicts with other files

	unreadable problems // of the last attempt to read the file
	own        problems // of its content
	withOthers problems // conflicts with other files
	logged     string   // the problems that were logged last

	unsaved []byte // the text of the last good state, until it is stored on disk
}

// problems returns all problems of the current content of the file.
func (f *file) problems() problems {
	all := slices.Concat(f.unreadable, f.own, f.withOthers)
	slices.SortStableFunc(all, Problem.compare)
	return all
}

// load reads the file, and parses it if its content has changed. It reports whether it
// has. It stores the problems of the file. It returns an error only if the file was
// deleted, or if ctx has ended.
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

// restore makes the text the last good state. It returns an error if the text has
// mistakes by now, or an object that another file owns.
func (f *file) restore(ctx context.Context, text []byte, modified time.Time, owned map[key]bool) error {
	found, mistakes := read(ctx, f.name, text)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(mistakes) > 0 {
		return fmt.Errorf("the rules have changed since: %w", newLocator(f.name, text).problems(mistakes))
	}
	if k, duplicate := found.addTo(owned); duplicate {
		return fmt.Errorf("%s: %v is in another file by now", f.name, k)
	}
	accept(found.hosts, f.name, modified)
	f.good, f.accepted, f.acceptedSum, f.modified = true, found, sha256.Sum256(text), modified
	return nil
}

// hasNew reports whether the file has a new state that may be accepted.
func (f *file) hasNew() bool { return f.next != nil && len(f.own) == 0 && !f.conflicts }

// state returns the new state if it may be accepted, else the last good one.
func (f *file) state() *objects {
	if f.hasNew() {
		return f.next
	}
	return &f.accepted
}

// acceptNext makes the new state the last good one, and returns its text.
func (f *file) acceptNext() (text []byte) {
	f.good, f.accepted, f.acceptedSum, f.modified = true, *f.next, f.sum, f.nextModified
	text, f.text, f.next = f.text, nil, nil
	return text
}

// locate returns the locator of one of the file's states. It finds no lines if the
// content of the file has changed since.
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

// accept sets the Accepted condition of hosts that have none. Its time is the file's
// modification time, so that reading the file again changes nothing.
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

// manifestNames lists the files of a directory that have a manifest's extension. A name
// that begins with a dot is a temporary file of an editor, or of the kubelet if the
// directory is a mounted ConfigMap.
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

// readFile reads a regular file or the target of a symbolic link. It also returns the
// modification time.
func readFile(path string) ([]byte, time.Time, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // before Open, which would block on a named pipe
		return nil, time.Time{}, fmt.Errorf("%s is not a regular file: remove it", path)
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
