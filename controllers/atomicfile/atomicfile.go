// Package atomicfile replaces files so that a crash or a power failure leaves the old one or
// the new one, whole.
//
// github.com/google/renameio (v2.0.2) does the same, but does not sync the directory: after a
// power failure the old file may be back, and with it hosts that were withdrawn.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace replaces a file atomically. It writes a temporary file that only its owner
// can read, syncs it, renames it and syncs the directory. If write returns an error,
// the old file stays.
func Replace(path string, write func(*os.File) error) error {
	temp, err := WriteTemp(path, write)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp) // if this fails, it is a file with TempPrefix
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

// TempPrefix returns the prefix of a file's temporary files, in the same directory.
func TempPrefix(path string) string { return "." + filepath.Base(path) + "." }

// WriteTemp writes a temporary file in the directory of path and syncs it. It returns
// the name of the file, which is empty if it could not be created.
func WriteTemp(path string, write func(*os.File) error) (string, error) {
	temp, err := os.CreateTemp(filepath.Dir(path), TempPrefix(path))
	if err != nil {
		return "", err
	}
	if err = write(temp); err == nil {
		err = temp.Sync()
	}
	return temp.Name(), errors.Join(err, temp.Close())
}

// syncDirectory syncs the entries of a directory to the disk.
func syncDirectory(dir string) error {
	opened, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer opened.Close()
	return opened.Sync()
}
