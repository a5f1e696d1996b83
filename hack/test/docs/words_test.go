package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// plain matches the words that CONTRIBUTING.md replaces by plainer ones.
var plain = regexp.MustCompile(`(?i)\b(anew|whoever|for want of|judge[ds]?|court|wish(es|ed)?|spoil(s|t|ed)?)\b`)

// No text and no comment has one of the words that CONTRIBUTING.md replaces.
func TestPlainWords(t *testing.T) {
	kinds := []string{".go", ".md", ".yaml", ".tpl", ".txt", ".gotmpl"}
	err := filepath.WalkDir("../../..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "bin" || entry.Name() == "dist"):
			return fs.SkipDir
		case entry.IsDir() || !slices.Contains(kinds, filepath.Ext(path)), entry.Name() == "CONTRIBUTING.md", entry.Name() == "words_test.go":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		number := 0
		for line := range strings.Lines(string(text)) {
			number++
			if word := plain.FindString(line); word != "" {
				t.Errorf("%s:%d: %q: CONTRIBUTING.md has a plainer word", strings.TrimPrefix(path, "../../../"), number, word)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
