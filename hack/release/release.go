package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// repository is where releases are published.
const repository = "https://github.com/jovalle/usher"

// A release is what the files of a release are made of.
type release struct {
	version      string // such as v0.1.0
	image        string // repository of the image
	imageArchive string // path of its OCI archive
	ldflags      string
	helm         string // path of the program
	cyclonedx    string // path of the program
	nfpm         string // path of the program
	out          string // folder of the release
	work         string // folder for what is not part of it
	time         time.Time
	notes        notes
}

// path returns the path of a file of the release.
func (r *release) path(name string) string { return filepath.Join(r.out, name) }

// chartVersion returns the version of the chart, which has no v.
func (r *release) chartVersion() string { return strings.TrimPrefix(r.version, "v") }

// commitTime returns the time of the commit. Files of the release have it as theirs.
func commitTime(ctx context.Context) (time.Time, error) {
	out, err := command(ctx, nil, "git", "log", "-1", "--format=%ct")
	if err != nil {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("the time of the commit: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// command runs a program with additional environment variables, and returns its
// standard output. An error has its standard error.
func command(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.String())
	}
	return string(out), nil
}

// sourceDate returns the environment variable by which programs know the time of a
// reproducible build: https://reproducible-builds.org/specs/source-date-epoch/
func (r *release) sourceDate() []string {
	return []string{fmt.Sprintf("SOURCE_DATE_EPOCH=%d", r.time.Unix())}
}

// checksums writes the SHA-256 of each file of the release, as sha256sum checks it.
func (r *release) checksums(context.Context) error {
	entries, err := os.ReadDir(r.out) // sorted
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, entry := range entries {
		sum, err := checksum(r.path(entry.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%s  %s\n", sum, entry.Name())
	}
	return os.WriteFile(r.path("checksums.txt"), []byte(sums.String()), 0o644)
}

// checksum returns the SHA-256 of a file, in hexadecimal.
func checksum(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256(content)), nil
}
