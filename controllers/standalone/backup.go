package standalone

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const (
	// objectsFile has the objects in a backup, one JSON value a line.
	objectsFile = "objects.json"
	// maxBackupFile bounds each file of a backup, in bytes.
	maxBackupFile = 1 << 30
	maxKeyFile    = 1 << 20
)

// keyFiles are the files of a backup besides the objects, in the order in which they are in it.
var keyFiles = []string{"pki/ca.crt", "pki/ca.key", "pki/admin.pem"}

// ErrNotEmpty marks a directory that a backup is not restored into.
var ErrNotEmpty = errors.New("is not empty")

// WriteBackup writes the keys, and the objects that save writes as JSON values, into a
// file. The file is complete, or not there.
func (d Dir) WriteBackup(file string, save func(*json.Encoder) error) error {
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s exists already: name another file", file)
	}
	var objects bytes.Buffer
	if err := save(json.NewEncoder(&objects)); err != nil {
		return err
	}
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	archive := tar.NewWriter(compressed)
	for _, name := range keyFiles {
		data, err := os.ReadFile(d.file(filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		if err := addFile(archive, name, data); err != nil {
			return err
		}
	}
	if err := errors.Join(addFile(archive, objectsFile, objects.Bytes()), archive.Close(), compressed.Close()); err != nil {
		return err
	}
	return writeFile(file, out.Bytes())
}

func addFile(archive *tar.Writer, name string, data []byte) error {
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(data)), ModTime: time.Now()}); err != nil {
		return err
	}
	_, err := archive.Write(data)
	return err
}

// Restore makes the directory from a backup. It must be empty, or missing. Load writes the
// objects into the store of a directory. What fails leaves nothing behind.
func (d Dir) Restore(ctx context.Context, file string, load func(ctx context.Context, store string, objects *json.Decoder) error) error {
	if entries, err := os.ReadDir(string(d)); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s %w: move it away, or name another directory with --dir", d, ErrNotEmpty)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	files, err := readBackup(file)
	if err != nil {
		return fmt.Errorf("%s is no backup of usher: %w", file, err)
	}
	parent := filepath.Dir(filepath.Clean(string(d)))
	if err := os.MkdirAll(parent, 0o755); err != nil { //nolint:gosec // G301: the parent is a directory of the system, such as /var/lib
		return err
	}
	made, err := os.MkdirTemp(parent, "."+filepath.Base(string(d))+"-restore-*") // 0700
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(made) }()
	for _, sub := range []string{"pki", "etcd", "state"} {
		if err := os.Mkdir(filepath.Join(made, sub), 0o700); err != nil {
			return err
		}
	}
	for _, name := range keyFiles {
		if err := writeFile(filepath.Join(made, filepath.FromSlash(name)), files[name]); err != nil {
			return err
		}
	}
	if err := load(ctx, Dir(made).Store(), json.NewDecoder(bytes.NewReader(files[objectsFile]))); err != nil {
		return err
	}
	return os.Rename(made, string(d))
}

// readBackup returns the files of a backup. All must be there, and nothing else.
func readBackup(file string) (map[string][]byte, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	compressed, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	archive := tar.NewReader(compressed)
	files := map[string][]byte{}
	for _, name := range append(append([]string(nil), keyFiles...), objectsFile) {
		header, err := archive.Next()
		if err != nil {
			return nil, fmt.Errorf("%s is missing: %w", name, err)
		}
		limit := int64(maxKeyFile)
		if name == objectsFile {
			limit = maxBackupFile
		}
		if header.Name != name || header.Typeflag != tar.TypeReg || header.Size > limit {
			return nil, fmt.Errorf("there is %q instead of %s", header.Name, name)
		}
		if files[name], err = io.ReadAll(archive); err != nil {
			return nil, err
		}
	}
	if _, err := archive.Next(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than keys and objects")
	}
	_, err = io.Copy(io.Discard, io.LimitReader(compressed, 1<<20)) // to its checksum
	return files, err
}
