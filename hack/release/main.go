// Command release makes everything that a release of usher publishes, in one folder:
// programs in archives with their manual pages, completions and SBOMs, Debian packages,
// the chart, the image, the krew manifest, the notes and the checksums. It publishes nothing, and the
// same commit makes the same bytes. `make release` runs it; hack/publish publishes.
//
// It uses the Go toolchain, helm, nfpm and cyclonedx-gomod, and must import nothing of usher.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var r release
	flag.StringVar(&r.version, "version", "", "version, such as v0.1.0")
	flag.StringVar(&r.image, "image", "", "repository of the image, such as ghcr.io/jovalle/usher")
	flag.StringVar(&r.imageArchive, "image-archive", "", "OCI archive of the image, as hack/image writes it")
	flag.StringVar(&r.ldflags, "ldflags", "", "linker flags of the programs")
	flag.StringVar(&r.helm, "helm", "", "path of helm")
	flag.StringVar(&r.cyclonedx, "cyclonedx", "", "path of cyclonedx-gomod")
	flag.StringVar(&r.nfpm, "nfpm", "", "path of nfpm")
	flag.StringVar(&r.out, "out", "dist/release", "folder to write, which is emptied first")
	flag.Parse()
	var err error
	if r.time, err = commitTime(ctx); err != nil {
		return err
	}
	if r.notes, err = readNotes("CHANGELOG.md", r.version); err != nil {
		return err
	}
	if r.work, err = os.MkdirTemp("", "usher-release-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(r.work) }()
	if err := cmp.Or(os.RemoveAll(r.out), os.MkdirAll(r.out, 0o755)); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"programs", r.programs},
		{"chart", r.chart},
		{"image", r.copyImage},
		{"krew manifest", r.krew},
		{"checksums", r.checksums},
		{"notes", r.writeNotes}, // no file of the release, but its text
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// writeNotes writes the notes of the release.
func (r *release) writeNotes(context.Context) error {
	return os.WriteFile(r.path("notes.md"), []byte(r.notes.text), 0o644)
}
