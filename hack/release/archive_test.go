package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// The same files make the same bytes, whatever order they come in.
func TestArchivesAreReproducible(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).UTC()
	program, page := file{"usher", 0o755, []byte("program")}, file{"man/man1/usher.1", 0o644, []byte("page")}
	for _, name := range []string{"usher.tar", "usher.tar.gz", "usher.zip"} {
		t.Run(name, func(t *testing.T) {
			first, second := filepath.Join(t.TempDir(), name), filepath.Join(t.TempDir(), name)
			testkit.Must(t, writeArchive(first, []file{program, page}, at))
			testkit.Must(t, writeArchive(second, []file{page, program}, at))
			content, err := os.ReadFile(first)
			testkit.Must(t, err)
			if again, err := os.ReadFile(second); err != nil || !bytes.Equal(content, again) {
				t.Errorf("the archives differ (%v)", err)
			}
			unpacked := unpack(t, name, content)
			if string(unpacked["usher"].content) != "program" || unpacked["usher"].mode != 0o755 || string(unpacked["man/man1/usher.1"].content) != "page" {
				t.Errorf("the archive has %v", unpacked)
			}
		})
	}
}

// unpack returns the files of an archive by their names.
func unpack(t *testing.T, name string, content []byte) map[string]file {
	t.Helper()
	files := map[string]file{}
	if filepath.Ext(name) == ".zip" {
		archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
		testkit.Must(t, err)
		for _, f := range archive.File {
			opened, err := f.Open()
			testkit.Must(t, err)
			data, err := io.ReadAll(opened)
			testkit.Must(t, err)
			files[f.Name] = file{f.Name, f.Mode(), data}
		}
		return files
	}
	var reader io.Reader = bytes.NewReader(content)
	if filepath.Ext(name) == ".gz" {
		compressed, err := gzip.NewReader(reader)
		testkit.Must(t, err)
		reader = compressed
	}
	for archive := tar.NewReader(reader); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		testkit.Must(t, err)
		data, err := io.ReadAll(archive)
		testkit.Must(t, err)
		files[header.Name] = file{header.Name, header.FileInfo().Mode(), data}
	}
}
