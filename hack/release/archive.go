package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// A file is a file of an archive.
type file struct {
	name    string // with slashes
	mode    fs.FileMode
	content []byte
}

// writeArchive writes an archive of the kind that its name ends with: .zip, .tar.gz
// or .tar. The same files make the same bytes, in any order.
func writeArchive(path string, files []file, at time.Time) error {
	files = slices.SortedFunc(slices.Values(files), func(a, b file) int { return strings.Compare(a.name, b.name) })
	var archive bytes.Buffer
	var err error
	switch {
	case strings.HasSuffix(path, ".zip"):
		err = writeZip(&archive, files, at)
	case strings.HasSuffix(path, ".gz"):
		compressed := gzip.NewWriter(&archive)
		if err = writeTar(compressed, files, at); err == nil {
			err = compressed.Close()
		}
	default:
		err = writeTar(&archive, files, at)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, archive.Bytes(), 0o644)
}

func writeTar(w io.Writer, files []file, at time.Time) error {
	archive := tar.NewWriter(w)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: int64(f.mode), Size: int64(len(f.content)), ModTime: at}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(f.content); err != nil {
			return err
		}
	}
	return archive.Close()
}

func writeZip(w io.Writer, files []file, at time.Time) error {
	archive := zip.NewWriter(w)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: at}
		header.SetMode(f.mode)
		entry, err := archive.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := entry.Write(f.content); err != nil {
			return err
		}
	}
	return archive.Close()
}
