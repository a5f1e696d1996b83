package manifest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
)

// maxFile bounds a file, in bytes. A host takes a few hundred.
const maxFile = 512 << 20

// extensions are those of the files that are read.
var extensions = []string{".yaml", ".yml", ".json"}

// A file is what is known of one file of the directory.
type file struct {
	name       string
	sum        [sha256.Size]byte // of the bytes that were read last
	accepted   objects           // the last good state: what is served
	next       *objects          // a newer good state that is not served yet
	turnedDown bool              // next holds an object of another file
	problem    string            // the last one that was logged
}

// load reads the file anew where its bytes have changed.
func (f *file) load(ctx context.Context, dir string) error {
	data, modified, err := readFile(filepath.Join(dir, f.name))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	if sum == f.sum {
		return nil
	}
	found, err := read(ctx, f.name, data)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.sum, f.next = sum, nil
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	accept(found.hosts, f.name, modified)
	f.next = &found
	return nil
}

// proposes reports whether the file has a new state to serve.
func (f *file) proposes() bool { return f.next != nil && !f.turnedDown }

// state returns what the file would have served.
func (f *file) state() *objects {
	if f.proposes() {
		return f.next
	}
	return &f.accepted
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
			Reason:             "Manifest",
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
