package manifest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jovalle/usher/controllers/atomicfile"
)

// maxBad is how many bad snapshots are kept.
const maxBad = 3

// errUnchanged makes atomicfile.Replace keep the old file.
var errUnchanged = errors.New("unchanged")

// prepareState creates the directory of path and checks that it is writable. It removes
// the temporary files of killed writes: all files with the prefix.
func prepareState(path, prefix string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil { //nolint:gosec // the operator names the directory
		return fmt.Errorf("create the state directory: %w", err)
	}
	_, err := atomicfile.WriteTemp(path, func(*os.File) error { return nil })
	if err == nil {
		err = removeSiblings(path, prefix)
	}
	if err != nil {
		return fmt.Errorf("the state directory must be writable for user %d: %w", os.Getuid(), err)
	}
	return nil
}

// removeSiblings removes the files in the directory of path that have the prefix.
func removeSiblings(path, prefix string) error {
	left, err := siblings(path, prefix)
	for _, name := range left {
		err = errors.Join(err, os.Remove(name)) //nolint:gosec // a name that was listed in the operator's own directory
	}
	return err
}

// setAside renames a bad file, so that it is not read again but can be examined, and
// returns its new name. It keeps only the newest files that were set aside.
func setAside(path string) (string, error) {
	prefix := filepath.Base(path) + ".bad-"
	aside := filepath.Join(filepath.Dir(path), prefix+time.Now().UTC().Format("20060102T150405.000000000Z"))
	if err := os.Rename(path, aside); err != nil {
		return "", err
	}
	bad, err := siblings(path, prefix)
	for ; len(bad) > maxBad; bad = bad[1:] {
		err = errors.Join(err, os.Remove(bad[0]))
	}
	return aside, err
}

// siblings returns the files in the directory of path that have the prefix, sorted.
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
