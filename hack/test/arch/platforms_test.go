package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
)

// platforms are those that a release has a program for, except the one that tests run on.
// The proxy is for Linux only: on the others cmd/usher must import nothing of it that needs Linux.
var platforms = []string{"linux/arm", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64"}

// The type checker finds in seconds what a compiler finds in minutes: it skips the functions
// of other modules, and needs no compiled package. `make release` compiles.
func TestProgramBuildsOnEachPlatform(t *testing.T) {
	testkit.ReadSources(t)
	for _, platform := range platforms {
		t.Run(platform, func(t *testing.T) {
			t.Parallel()
			goos, goarch, _ := strings.Cut(platform, "/")
			typeCheck(t, goos, goarch)
		})
	}
}

// typeCheck checks the types of cmd/usher and of all packages that it imports.
func typeCheck(t *testing.T, goos, goarch string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Dir,GoFiles,ImportMap", module+"/cmd/usher")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	checked := imports{"unsafe": types.Unsafe}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; { // a package comes after those that it imports
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("reading the output of go list: %v", err)
		}
		if p.ImportPath == "unsafe" {
			continue
		}
		if checked[p.ImportPath], err = p.check(checked, types.SizesFor("gc", goarch)); err != nil {
			t.Fatalf("%s on %s/%s: %v", p.ImportPath, goos, goarch, err)
		}
	}
}

// listed is the output of `go list` for one package of one platform.
type listed struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	ImportMap  map[string]string // import path in the source → import path, where they differ
}

// check checks the types of the package, and those in function bodies if it is usher's own.
func (p listed) check(imported imports, sizes types.Sizes) (*types.Package, error) {
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	config := types.Config{IgnoreFuncBodies: !within(p.ImportPath, module), Importer: imported.mapped(p.ImportMap), Sizes: sizes}
	return config.Check(p.ImportPath, fset, files, nil)
}

// imports are the packages that have been checked.
type imports map[string]*types.Package // import path → package

// mapped returns an importer for the sources of one package.
func (i imports) mapped(paths map[string]string) types.Importer {
	return importer(func(path string) (*types.Package, error) {
		if mapped, ok := paths[path]; ok {
			path = mapped
		}
		if p, ok := i[path]; ok {
			return p, nil
		}
		return nil, fmt.Errorf("%s has not been checked", path)
	})
}

// importer is a function that implements types.Importer.
type importer func(path string) (*types.Package, error)

// Import implements types.Importer.
func (f importer) Import(path string) (*types.Package, error) { return f(path) }
