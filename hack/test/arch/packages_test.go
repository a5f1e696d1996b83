// Package arch holds the architecture by ordinary tests: which package may
// know which, what a pure package may touch, and that each says what it is for.
// It has tests only, and nothing imports it.
package arch

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
)

const module = "github.com/jovalle/usher"

// A goPackage is what `go list` says of a package of usher.
type goPackage struct {
	ImportPath string
	Dir        string
	Doc        string   // first sentence of the package comment
	GoFiles    []string // without tests
	Imports    []string // by those files, directly
	Deps       []string // and through others
}

// in reports whether the package is the folder dir of the module, or below it.
func (p goPackage) in(dir string) bool {
	return within(p.ImportPath, module+"/"+dir)
}

// comment returns the package comment.
func (p goPackage) comment(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(file.Doc.Text())
	}
	return text.String()
}

// within reports whether an import path is root or below it.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

// packages lists those of usher that have more than tests.
func packages(t *testing.T) []goPackage {
	t.Helper()
	testkit.ReadSources(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Doc,GoFiles,Imports,Deps", module+"/...")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, complaint.String())
	}
	var all []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("reading what go list says: %v", err)
		}
		if len(p.GoFiles) > 0 {
			all = append(all, p)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}
