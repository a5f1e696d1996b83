package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
)

const changelog = `# Changelog

## [Unreleased]

### Fixed
- What was [wrong](docs/x.md),
  in **two** lines

## [1.2.0] - 2026-12-01

### Security
- A hole

### Added

- A door

## [1.2.0-rc.1] - 2026-11-30

### Added
- Half a door
`

func TestNotesAreTheSectionOfTheVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "CHANGELOG.md")
	testkit.Must(t, os.WriteFile(path, []byte(changelog), 0o600))
	for version, want := range map[string][]change{
		"v1.2.0":                         {{"security", "A hole"}, {"added", "A door"}},
		"v1.2.0-rc.1":                    {{"added", "Half a door"}},
		"v1.3.0-dev.g0123456789ab":       {{"fixed", "What was wrong, in two lines"}},
		"v1.3.0-dev.g0123456789ab.dirty": {{"fixed", "What was wrong, in two lines"}},
	} {
		found, err := readNotes(path, version)
		if err != nil || !slices.Equal(found.changes, want) {
			t.Errorf("%s: %v, %v; want %v", version, found.changes, err, want)
		}
		if strings.Contains(found.text, "##  [") || strings.Contains(found.text, "## [") {
			t.Errorf("%s: the notes have the heading of a version:\n%s", version, found.text)
		}
	}
	for version, want := range map[string]string{"v1.1.0": "[1.1.0]: there is no change", "": "is no version", "1.2.0": "is no version"} {
		if _, err := readNotes(path, version); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want an error with %q", version, err, want)
		}
	}
}

func TestMalformedNotesAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no section":          "",
		"no items":            "### Added\n",
		"an item of no kind":  "- A door\n",
		"an unknown kind":     "### Improved\n- A door\n",
		"text between items":  "### Added\n- A door\nand a window\n",
		"a continued heading": "### Added\n  a door\n",
	} {
		if found, err := parseNotes(text); err == nil {
			t.Errorf("%s: accepted as %v", name, found.changes)
		}
	}
}

// The changelog of this repository can be the notes of a release.
func TestChangelogIsInItsFormat(t *testing.T) {
	_, err := readNotes("../../CHANGELOG.md", "v0.0.0-dev")
	testkit.Must(t, err)
}
