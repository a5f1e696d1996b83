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
)

const (
	// lastGoodFolder of the state directory holds a file NAME.last-good for each
	// manifest NAME. No manifest's name ends so.
	lastGoodFolder = "manifests"
	lastGoodSuffix = ".last-good"

	// sealFormat is the first line of such a file, a comment in YAML. The checksum
	// is of what follows it: the manifest's text, byte for byte.
	sealFormat = "# usher: the last good text of this manifest; sha256 %x\n"
)

// lastGood keeps the last good text of each manifest on disk, so that one that is
// broken when usher starts is served as it last was. A file is replaced as a whole:
// whenever usher is killed, a good one is there.
type lastGood struct {
	dir string
	log logr.Logger
}

// newLastGood returns what is kept in a state directory, which it makes where there
// is none. A directory that cannot be written to is an error.
func newLastGood(state string, log logr.Logger) (*lastGood, error) {
	dir := filepath.Join(state, lastGoodFolder)
	if err := prepareState(filepath.Join(dir, "any"), "."); err != nil {
		return nil, err
	}
	return &lastGood{dir: dir, log: log}, nil
}

func (l *lastGood) path(name string) string { return filepath.Join(l.dir, name+lastGoodSuffix) }

// load returns the text that is kept of a manifest and when that was written, and
// false where there is none that can be used. One that is damaged is logged.
func (l *lastGood) load(name string) (text []byte, modified time.Time, ok bool) {
	data, modified, err := readFile(l.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, false
	}
	seal, text, _ := bytes.Cut(data, []byte("\n"))
	if err == nil && string(seal)+"\n" != fmt.Sprintf(sealFormat, sha256.Sum256(text)) {
		err = errors.New("its checksum is wrong: it was damaged, or edited")
	}
	if err != nil {
		l.log.Error(err, "Ignored the kept last good state of a manifest file", "file", name, "kept", l.path(name))
		return nil, time.Time{}, false
	}
	return text, modified, true
}

// store keeps a text, and when it was written.
func (l *lastGood) store(name string, text []byte, modified time.Time) error {
	return replace(l.path(name), func(file *os.File) error {
		if _, err := fmt.Fprintf(file, sealFormat, sha256.Sum256(text)); err != nil {
			return err
		}
		if _, err := file.Write(text); err != nil {
			return err
		}
		return os.Chtimes(file.Name(), modified, modified)
	})
}

// prune removes what is kept of manifests that are there no more.
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
