package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"testing"
)

// pure packages do no I/O, start no goroutine and read no clock, so that a table
// of inputs and outputs says all there is to say of them. Folders, with those below.
var pure = []string{
	"controllers/admission",
	"controllers/source",
	"proxy/clienthello",
	"proxy/routing",
}

// outside are packages through which a program touches the world. Pure packages
// import none of them directly; through others they may (fmt needs os).
var outside = []string{
	"crypto/rand", "io/ioutil", "log", "log/slog", "math/rand", "net", "os", "runtime", "syscall", "unsafe",
	"golang.org/x/sys",
	"k8s.io/client-go",
	"sigs.k8s.io/controller-runtime",
}

// addresses is the part of net that is arithmetic.
var addresses = []string{"net/netip", "net/url"}

// clock are the functions of package time that read or wait for it.
var clock = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}

func TestPurePackagesTouchNothing(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.ContainsFunc(pure, p.in) {
			continue
		}
		t.Run(p.ImportPath, func(t *testing.T) {
			checkImports(t, p)
			for _, file := range p.GoFiles {
				checkStatements(t, filepath.Join(p.Dir, file))
			}
		})
	}
}

func checkImports(t *testing.T, p goPackage) {
	t.Helper()
	for _, path := range p.Imports {
		reaches := slices.ContainsFunc(outside, func(root string) bool { return within(path, root) })
		if reaches && !slices.Contains(addresses, path) {
			t.Errorf("%s is pure and imports %s", p.ImportPath, path)
		}
	}
}

func checkStatements(t *testing.T, path string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			t.Errorf("%s: a pure package starts no goroutine", files.Position(n.Pos()))
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains(clock, n.Sel.Name) {
				t.Errorf("%s: a pure package reads no clock", files.Position(n.Pos()))
			}
		}
		return true
	})
}
