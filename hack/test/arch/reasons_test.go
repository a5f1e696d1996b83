package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/jovalle/usher/api/v1alpha1/reason"
)

// TestReasonsAreOfTheTable checks that the reasons of the control plane are written only
// in package reason, since only those are documented.
func TestReasonsAreOfTheTable(t *testing.T) {
	known := map[string]bool{} // reason → true
	for _, table := range reason.Tables() {
		for _, r := range table.Reasons {
			known[r.Name] = true
		}
	}
	for _, p := range packages(t) {
		if !p.in("controllers") {
			continue
		}
		for _, file := range p.GoFiles {
			checkReasons(t, filepath.Join(p.Dir, file), known)
		}
	}
}

// checkReasons reports each reason that a file has as a string literal: a name of the
// table, or any literal that is used as a reason.
func checkReasons(t *testing.T, path string, known map[string]bool) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(e ast.Expr) {
		if l, ok := e.(*ast.BasicLit); ok {
			t.Errorf("%s: the reason %s is written here; use a constant of package reason", files.Position(l.Pos()), l.Value)
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.BasicLit:
			if name, err := strconv.Unquote(n.Value); err == nil && known[name] {
				refuse(n)
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Reason" {
				refuse(n.Value)
			}
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if field, ok := left.(*ast.SelectorExpr); ok && field.Sel.Name == "Reason" && len(n.Rhs) == len(n.Lhs) {
					refuse(n.Rhs[i])
				}
			}
		case *ast.CallExpr:
			if called(n, "WithKind") {
				return false // IngressClass is also a kind
			}
			if called(n, "Eventf") && len(n.Args) > 3 {
				refuse(n.Args[3])
			}
		}
		return true
	})
}
