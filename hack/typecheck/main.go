// Command typecheck checks the types of cmd/usher on other platforms than this one.
//
// usage: go run ./hack/typecheck GOOS/GOARCH...
//
// The proxy is for Linux only: on other systems cmd/usher must import nothing of it that
// needs Linux. The type checker finds in seconds what a compiler finds in minutes: it
// skips the function bodies of other modules, and needs no compiled package. `make release`
// compiles.
package main

import (
	"bytes"
	"context"
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
	"sync"
)

// module is the path of usher's module.
const module = "github.com/jovalle/usher"

func main() {
	platforms := os.Args[1:]
	if len(platforms) == 0 {
		fmt.Fprintln(os.Stderr, "usage: go run ./hack/typecheck GOOS/GOARCH...")
		os.Exit(2)
	}
	errs := make([]error, len(platforms))
	var checks sync.WaitGroup
	for i, platform := range platforms {
		checks.Go(func() { errs[i] = typeCheck(context.Background(), platform) })
	}
	checks.Wait()
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// typeCheck checks the types of cmd/usher and of all packages that it imports, on a
// platform such as linux/arm64.
func typeCheck(ctx context.Context, platform string) error {
	goos, goarch, _ := strings.Cut(platform, "/")
	sizes := types.SizesFor("gc", goarch)
	if sizes == nil {
		return fmt.Errorf("%q is no platform, such as linux/arm64", platform)
	}
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-json=ImportPath,Dir,GoFiles,ImportMap", module+"/cmd/usher")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH="+goarch, "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	checked := imports{"unsafe": types.Unsafe}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; { // a package comes after those that it imports
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading the output of go list: %w", err)
		}
		if p.ImportPath == "unsafe" {
			continue
		}
		if checked[p.ImportPath], err = p.check(checked, sizes); err != nil {
			return fmt.Errorf("%s on %s: %w", p.ImportPath, platform, err)
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
	config := types.Config{IgnoreFuncBodies: !strings.HasPrefix(p.ImportPath, module+"/"), Importer: imported.mapped(p.ImportMap), Sizes: sizes}
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
