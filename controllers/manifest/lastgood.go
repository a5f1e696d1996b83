package manifest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/controllers/atomicfile"
)

const (
	// lastGoodFolder is the folder of the state directory that has a file
	// NAME.last-good for each manifest NAME. No manifest has this extension.
	lastGoodFolder = "manifests"
	lastGoodSuffix = ".last-good"

	// headerFormat is the first line of such a file, a comment in YAML. It has the
	// checksum of the manifest's text, which follows it byte for byte.
	headerFormat = "# usher: the last good text of this manifest; sha256 %x\n"
)

// lastGood stores the last good text of each manifest on disk, so that usher can serve
// it if the manifest is broken at a start. A file is replaced atomically: a kill at any
// moment leaves a complete one.
type lastGood struct {
	dir string
	log logr.Logger
}

// newLastGood returns the store in a state directory, which it creates if it is missing.
// It returns an error if the directory is not writable.
func newLastGood(state string, log logr.Logger) (*lastGood, error) {
	dir := filepath.Join(state, lastGoodFolder)
	if err := prepareState(filepath.Join(dir, "any"), "."); err != nil {
		return nil, err
	}
	return &lastGood{dir: dir, log: log}, nil
}

func (l *lastGood) path(name string) string { return filepath.Join(l.dir, name+lastGoodSuffix) }

// load returns the last good text of a manifest and its modification time, or false if
// there is no usable one. It logs a damaged one.
func (l *lastGood) load(name string) (text []byte, modified time.Time, ok bool) {
	data, modified, err := readFile(l.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, false
	}
	header, text, _ := bytes.Cut(data, []byte("\n"))
	if err == nil && string(header)+"\n" != fmt.Sprintf(headerFormat, sha256.Sum256(text)) {
		err = errors.New("its checksum is wrong: it was damaged, or edited")
	}
	if err != nil {
		l.log.Error(err, "Ignored the stored last good state of a manifest file", "file", name, "kept", l.path(name))
		return nil, time.Time{}, false
	}
	return text, modified, true
}

// store stores a text and its modification time.
func (l *lastGood) store(name string, text []byte, modified time.Time) error {
	return atomicfile.Replace(l.path(name), func(file *os.File) error {
		if _, err := fmt.Fprintf(file, headerFormat, sha256.Sum256(text)); err != nil {
			return err
		}
		if _, err := file.Write(text); err != nil {
			return err
		}
		return os.Chtimes(file.Name(), modified, modified)
	})
}

// prune removes the last good texts of manifests that no longer exist.
func (l *lastGood) prune(present map[string]*file) error {
	entries, err := os.ReadDir(l.dir)
	for _, entry := range entries {
		name, ours := strings.CutSuffix(entry.Name(), lastGoodSuffix)
		if ours && present[name] == nil {
			err = errors.Join(err, os.Remove(filepath.Join(l.dir, entry.Name())))
		}
	}
	return err
}
