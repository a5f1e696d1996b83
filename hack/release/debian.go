package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"strings"
)

// debianFolder has what only the Debian package has, and the unit, which the archives for
// Linux have too.
const debianFolder = "hack/release/debian"

// debian writes the Debian package for a platform, of the files of its archive.
func (r *release) debian(ctx context.Context, p platform, files []file) error {
	stage := filepath.Join(r.work, "debian-"+p.suffix())
	for _, f := range files {
		if err := f.stage(stage); err != nil {
			return err
		}
	}
	env := append(r.sourceDate(), "USHER_ARCH="+p.debian(), "USHER_VERSION="+r.version, "USHER_STAGE="+stage)
	_, err := command(ctx, env, r.nfpm, "package", "--config", debianFolder+"/nfpm.yaml", "--packager", "deb",
		"--target", r.path("usher-"+r.version+"-"+p.suffix()+".deb"))
	return err
}

// debian returns the name that nfpm has for the processor.
func (p platform) debian() string {
	if p.Arch == "arm" {
		return "arm7"
	}
	return p.Arch
}

// stage writes a file below a folder. Debian's packages have compressed manual pages and
// changelogs.
func (f file) stage(dir string) error {
	path, content := filepath.Join(dir, f.name), f.content
	if strings.HasPrefix(f.name, "man/") || f.name == "CHANGELOG.md" {
		var compressed bytes.Buffer
		w, _ := gzip.NewWriterLevel(&compressed, gzip.BestCompression) // the level is valid
		if _, err := w.Write(content); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		path, content = path+".gz", compressed.Bytes()
	}
	folder := filepath.Dir(path)
	return cmp.Or(os.MkdirAll(folder, 0o755), os.WriteFile(path, content, f.mode),
		os.Chmod(folder, 0o755), os.Chmod(path, f.mode)) // whatever the umask is
}

// unitFiles returns the unit and its flags as the archives have them: for a program in
// /usr/local/bin.
func unitFiles() ([]file, error) {
	unit, err := os.ReadFile(debianFolder + "/usher.service")
	if err != nil {
		return nil, err
	}
	flags, err := os.ReadFile(debianFolder + "/usher.default")
	if err != nil {
		return nil, err
	}
	unit = bytes.ReplaceAll(unit, []byte("=/usr/bin/usher "), []byte("=/usr/local/bin/usher "))
	return []file{{"systemd/usher.service", 0o644, unit}, {"systemd/usher.default", 0o644, flags}}, nil
}
