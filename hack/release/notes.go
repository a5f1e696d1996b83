package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// notes are what CHANGELOG.md says about one version.
type notes struct {
	text    string // its section, without the heading
	changes []change
}

// A change is an item of a section, as Artifact Hub shows it.
type change struct {
	Kind        string `json:"kind"` // added, changed, deprecated, removed, fixed or security
	Description string `json:"description"`
}

var (
	// heading matches the heading of a version, as https://keepachangelog.com/en/1.1.0/ has it.
	heading = regexp.MustCompile(`(?m)^## \[([^\]]+)\](?: - \d{4}-\d{2}-\d{2})?\n`)
	// kindHeading matches the heading of a kind of changes.
	kindHeading = regexp.MustCompile(`^### (Added|Changed|Deprecated|Removed|Fixed|Security)$`)
	// finished matches the version of a release, not of a commit on the way to one.
	finished = regexp.MustCompile(`^v\d+\.\d+\.\d+(-(alpha|beta|rc)\.\d+)?$`)
	link     = regexp.MustCompile(`\[([^\]]+)\]\([^)]+\)`)
)

const unreleased = "Unreleased"

// readNotes returns the notes of a version: those of its own section, or of the changes
// that are not released yet if the version is on the way to one.
func readNotes(path, version string) (notes, error) {
	if !strings.HasPrefix(version, "v") {
		return notes{}, fmt.Errorf("%q is no version, such as v0.1.0", version)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return notes{}, err
	}
	name := unreleased
	if finished.MatchString(version) {
		name = strings.TrimPrefix(version, "v")
	}
	found, err := parseNotes(section(string(text), name))
	if err != nil {
		return notes{}, fmt.Errorf("%s: the section [%s]: %w", path, name, err)
	}
	return found, nil
}

// section returns the text below the heading of a version; empty if there is none.
func section(changelog, name string) string {
	all := heading.FindAllStringSubmatchIndex(changelog, -1)
	for i, at := range all {
		if changelog[at[2]:at[3]] != name {
			continue
		}
		end := len(changelog)
		if i+1 < len(all) {
			end = all[i+1][0]
		}
		return strings.TrimSpace(changelog[at[1]:end]) + "\n"
	}
	return ""
}

// parseNotes returns the changes of a section. Each line is empty, the heading of a kind,
// the beginning of an item or its continuation; anything else is an error.
func parseNotes(text string) (notes, error) {
	found := notes{text: text}
	kind := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		item, begins := strings.CutPrefix(line, "- ")
		match := kindHeading.FindStringSubmatch(line)
		switch {
		case line == "":
		case match != nil:
			kind = strings.ToLower(match[1])
		case begins && kind != "":
			found.changes = append(found.changes, change{kind, plainText(item)})
		case strings.HasPrefix(line, "  ") && len(found.changes) > 0:
			found.changes[len(found.changes)-1].Description += " " + plainText(strings.TrimSpace(line))
		default:
			return notes{}, fmt.Errorf("%q is neither a heading such as ### Added nor an item below one", line)
		}
	}
	if len(found.changes) == 0 {
		return notes{}, errors.New("there is no change in it")
	}
	return found, nil
}

// plainText returns Markdown without emphasis and links.
func plainText(markdown string) string {
	return strings.ReplaceAll(link.ReplaceAllString(markdown, "$1"), "**", "")
}
