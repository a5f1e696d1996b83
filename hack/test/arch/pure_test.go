package arch

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
	"controllers/message",
	"controllers/source",
	"proxy/clienthello",
	"proxy/routing",
	"proxy/trusted",
}

// outside are packages through which a program touches the world. Pure packages
// import none of them directly; through others they may (fmt needs os).
var outside = []string{
	"crypto/rand", "io/ioutil", "log", "log/slog", "math/rand", "net", "os", "runtime", "syscall", "unsafe",
	"golang.org/x/sys",
	"k8s.io/client-go",
	"sigs.k8s.io/controller-runtime",
}

// arithmetic is what those packages have of pure packages and functions.
var arithmetic = []string{"net", "net/netip", "net/url"}

// impure tells whether a function of package time reads or waits for the clock,
// or one of package net does more than parse.
var impure = map[string]func(name string) bool{
	"time": func(name string) bool {
		return slices.Contains([]string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}, name)
	},
	"net": func(name string) bool {
		return !slices.Contains([]string{"ParseCIDR", "ParseIP"}, name)
	},
}

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
		if reaches && !slices.Contains(arithmetic, path) {
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
			checkUse(t, files.Position(n.Pos()), n)
		}
		return true
	})
}

func checkUse(t *testing.T, at token.Position, n *ast.SelectorExpr) {
	t.Helper()
	pkg, ok := n.X.(*ast.Ident)
	if !ok {
		return
	}
	if isImpure := impure[pkg.Name]; isImpure != nil && isImpure(n.Sel.Name) {
		t.Errorf("%s: a pure package does not use %s.%s", at, pkg.Name, n.Sel.Name)
	}
}
