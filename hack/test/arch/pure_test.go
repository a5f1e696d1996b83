package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// layout is the document that lists the pure packages. They do no I/O, start no
// goroutine and read no clock, so that tables of inputs and outputs test them completely.
const layout = "../../../docs/architecture.md"

// pureFolder matches a row of the layout that describes a folder as pure.
var pureFolder = regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\|.*\\bpure\\b.*\\|$")

// pureFolders returns the folders that the layout describes as pure, without their subfolders, which are pure, too.
func pureFolders(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(layout)
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, row := range pureFolder.FindAllStringSubmatch(string(text), -1) {
		folders = append(folders, row[1])
	}
	if len(folders) == 0 {
		t.Fatalf("%s calls no folder pure: the pattern is wrong", layout)
	}
	return folders
}

// saysPure matches a package comment that describes the package as pure.
var saysPure = regexp.MustCompile(`\b(It|The package) is pure\b`)

// outside are packages for I/O. Pure packages import none of them directly. They may
// import them indirectly: fmt needs os.
var outside = []string{
	"crypto/rand", "io/ioutil", "log", "log/slog", "math/rand", "net", "os", "runtime", "syscall", "unsafe",
	"golang.org/x/sys",
	"k8s.io/client-go",
	"sigs.k8s.io/controller-runtime",
}

// pureParts are packages of outside that pure packages may import, except for impure functions.
var pureParts = []string{"net", "net/netip", "net/url"}

// impure reports, by package, the functions of package time that read the clock or wait for it, and
// functions of package net that do more than parse or join.
var impure = map[string]func(name string) bool{
	"time": func(name string) bool {
		return slices.Contains([]string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}, name)
	},
	"net": func(name string) bool {
		return !slices.Contains([]string{"JoinHostPort", "ParseCIDR", "ParseIP"}, name)
	},
}

func TestPurePackagesDoNoIO(t *testing.T) {
	all := packages(t)
	pure := pureFolders(t)
	for _, folder := range pure {
		if !slices.ContainsFunc(all, func(p goPackage) bool { return p.in(folder) }) {
			t.Errorf("%s calls %s pure, where no package is", layout, folder)
		}
	}
	for _, p := range all {
		if !slices.ContainsFunc(pure, p.in) {
			if saysPure.MatchString(p.comment(t)) {
				t.Errorf("%s says that it is pure, and %s does not", p.ImportPath, layout)
			}
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
		if reaches && !slices.Contains(pureParts, path) {
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
