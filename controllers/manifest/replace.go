package manifest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxAside is how many bad snapshots are kept.
const maxAside = 3

// errUnchanged says that a file is not to be replaced.
var errUnchanged = errors.New("unchanged")

// replace writes a file as a whole or not at all: a new one, readable by its
// owner only, is safe on the disk before it takes the old one's name, and its
// name before replace returns. Where write returns an error the old one stays.
//
// github.com/google/renameio does the same up to the rename (v2.0.2), and does not sync
// the directory: after a power failure the old file may be back, and with it hosts that
// were withdrawn.
func replace(path string, write func(*os.File) error) error {
	temp, err := writeTemp(path, write)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp) // what stays is removed at the next start
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

// tempPrefix begins the names of a file's forerunners. No manifest's name begins so.
func tempPrefix(path string) string { return "." + filepath.Base(path) + "." }

// writeTemp has a file of its own beside path written, makes it safe on the disk,
// and returns its name, empty where there is no file.
func writeTemp(path string, write func(*os.File) error) (string, error) {
	temp, err := os.CreateTemp(filepath.Dir(path), tempPrefix(path))
	if err != nil {
		return "", err
	}
	if err = write(temp); err == nil {
		err = temp.Sync()
	}
	return temp.Name(), errors.Join(err, temp.Close())
}

// syncDirectory makes the names in a directory safe on the disk.
func syncDirectory(dir string) error {
	opened, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer opened.Close()
	return opened.Sync()
}

// prepareState makes the folder of a file that is to be replaced, finds out whether it
// could be, and removes what killed writes left behind: all that begins with the prefix.
func prepareState(path, prefix string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil { //nolint:gosec // the operator names the directory
		return fmt.Errorf("make the state directory: %w", err)
	}
	_, err := writeTemp(path, func(*os.File) error { return nil })
	if err == nil {
		err = removeSiblings(path, prefix)
	}
	if err != nil {
		return fmt.Errorf("the state directory must be writable for user %d: %w", os.Getuid(), err)
	}
	return nil
}

// removeSiblings removes the files beside path whose names begin so.
func removeSiblings(path, prefix string) error {
	left, err := siblings(path, prefix)
	for _, name := range left {
		err = errors.Join(err, os.Remove(name)) //nolint:gosec // a name that was listed in the operator's own directory
	}
	return err
}

// setAside renames a file so that it is not read again but can be looked at, and
// returns its new name. Of those set aside before only the newest stay.
func setAside(path string) (string, error) {
	prefix := filepath.Base(path) + ".bad-"
	aside := filepath.Join(filepath.Dir(path), prefix+time.Now().UTC().Format("20060102T150405.000000000Z"))
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	bad, err := siblings(path, prefix)
	for ; len(bad) > maxAside; bad = bad[1:] {
		err = errors.Join(err, os.Remove(bad[0]))
	}
	return aside, err
}

// siblings returns the files beside path whose names begin so, in order.
func siblings(path, prefix string) ([]string, error) {
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), prefix) {
			found = append(found, filepath.Join(dir, entry.Name()))
		}
	}
	return found, nil
}
