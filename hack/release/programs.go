package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A platform is an operating system and a processor that a release has a program for.
type platform struct {
	OS, Arch string
	env      []string // further variables of the compiler
}

// platforms has the whole program for Linux, and for the others the commands that a
// person runs on a laptop: all except usher run.
var platforms = []platform{
	{OS: "linux", Arch: "amd64"},
	{OS: "linux", Arch: "arm64"},
	{OS: "linux", Arch: "arm", env: []string{"GOARM=7"}},
	{OS: "darwin", Arch: "amd64"},
	{OS: "darwin", Arch: "arm64"},
	{OS: "windows", Arch: "amd64"},
}

// program returns the name of the program's file.
func (p platform) program() string {
	if p.OS == "windows" {
		return "usher.exe"
	}
	return "usher"
}

// suffix names the platform in the names of files.
func (p platform) suffix() string {
	if p.Arch == "arm" {
		return p.OS + "-armv7"
	}
	return p.OS + "-" + p.Arch
}

// archive returns the name of the archive for a platform.
func (r *release) archive(p platform) string {
	extension := ".tar.gz"
	if p.OS == "windows" {
		extension = ".zip"
	}
	return fmt.Sprintf("usher-%s-%s%s", r.version, p.suffix(), extension)
}

// programs builds the program for each platform, and writes its archive and its SBOM.
func (r *release) programs(ctx context.Context) error {
	manual := filepath.Join(r.work, "manual")
	if _, err := command(ctx, r.sourceDate(), "go", "run", "-tags=manual", "./cmd/usher", manual); err != nil {
		return err
	}
	common, err := readFolder(manual)
	if err != nil {
		return err
	}
	for _, name := range []string{"LICENSE", "README.md", "CHANGELOG.md"} {
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		common = append(common, file{name: name, mode: 0o644, content: content})
	}
	for _, p := range platforms {
		if err := r.program(ctx, p, common); err != nil {
			return fmt.Errorf("%s: %w", p.suffix(), err)
		}
	}
	return nil
}

// program builds the program for one platform, and writes its archive and its SBOM.
func (r *release) program(ctx context.Context, p platform, common []file) error {
	fmt.Fprintln(os.Stderr, "building usher for", p.suffix())
	path := filepath.Join(r.work, p.suffix(), p.program())
	env := append([]string{"CGO_ENABLED=0", "GOOS=" + p.OS, "GOARCH=" + p.Arch}, p.env...)
	if _, err := command(ctx, env, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags="+r.ldflags, "-o", path, "./cmd/usher"); err != nil {
		return err
	}
	sbom := r.path(fmt.Sprintf("usher-%s-%s.cdx.json", r.version, p.suffix()))
	// Without a proxy: the modules are here, and whether usher's own is published must not matter.
	if _, err := command(ctx, []string{"GOPROXY=off"}, r.cyclonedx, "bin", "-json", "-licenses", "-std", "-noserial", "-notimestamp", "-version", r.version, "-output", sbom, path); err != nil {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	files := append([]file{{name: p.program(), mode: 0o755, content: content}}, common...)
	if p.OS != "linux" {
		return writeArchive(r.path(r.archive(p)), files, r.time)
	}
	if err := r.debian(ctx, p, files); err != nil {
		return err
	}
	unit, err := unitFiles()
	if err != nil {
		return err
	}
	return writeArchive(r.path(r.archive(p)), append(files, unit...), r.time)
}

// readFolder returns the files of a folder and of those below it.
func readFolder(dir string) ([]file, error) {
	var files []file
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		files = append(files, file{name: path, mode: 0o644, content: content})
		return err
	})
	return files, err
}
