// Package arch checks the architecture by tests: which package may import which, what a
// pure package may do, and that each package has a comment. It has only tests, and
// nothing imports it.
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

// A goPackage is the output of `go list` for a package of usher.
type goPackage struct {
	ImportPath string
	Dir        string
	Doc        string   // first sentence of the package comment
	GoFiles    []string // without tests
	Imports    []string // direct imports of those files
	Deps       []string // direct and indirect imports
}

// in reports whether the package is in the folder dir of the module, or below it.
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

// packages returns the packages of usher that have more than tests.
func packages(t *testing.T) []goPackage {
	t.Helper()
	testkit.ReadSources(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Doc,GoFiles,Imports,Deps", module+"/...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("reading the output of go list: %v", err)
		}
		if len(p.GoFiles) > 0 {
			all = append(all, p)
		}
	}
}

func TestEveryPackageHasAComment(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}
