package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// messages is the one package that makes what usher writes into conditions,
// refusals and Events.
const messages = "controllers/message"

// speakers are the packages that write such messages. Folders, without those below.
var speakers = []string{"controllers", "controllers/admission", "controllers/member", "controllers/source", "controllers/source/traefikrule"}

// A message that quotes a member's object or API server must be bounded where it is
// made: what is too large for the API server is never written, whatever else it says.
func TestMessagesAreBoundedWhereTheyAreMade(t *testing.T) {
	all := packages(t)
	for _, speaker := range speakers {
		for _, p := range all {
			if p.ImportPath != module+"/"+speaker {
				continue
			}
			for _, file := range p.GoFiles {
				checkMessages(t, filepath.Join(p.Dir, file), strings.HasPrefix(speaker, "controllers/source"))
			}
		}
	}
}

// checkMessages reports what puts a text together by hand and calls it a message.
// Where values of members are read, errors quote them by message.Quote alone.
func checkMessages(t *testing.T, path string, reads bool) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(at token.Pos, why string) { t.Errorf("%s: %s; use %s", files.Position(at), why, messages) }
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Message" && !bounded(n.Value) {
				refuse(n.Pos(), "a message is not bounded")
			}
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if field, ok := left.(*ast.SelectorExpr); ok && field.Sel.Name == "Message" && len(n.Rhs) == len(n.Lhs) && !bounded(n.Rhs[i]) {
					refuse(n.Pos(), "a message is not bounded")
				}
			}
		case *ast.CallExpr:
			if selected(n, "meta", "SetStatusCondition") && filepath.Base(path) != "status.go" {
				refuse(n.Pos(), "a condition is set past setConditions")
			}
			if reads && selected(n, "fmt", "Errorf") && strings.Contains(literal(n.Args[0]), "%q") {
				refuse(n.Pos(), "an error quotes a value of any length")
			}
		}
		return true
	})
}

// bounded reports whether a message's text is a constant, was made by the package,
// or is another message or a variable, whose own text is checked.
func bounded(text ast.Expr) bool {
	switch e := text.(type) {
	case *ast.CallExpr:
		return !selected(e, "fmt", "Sprintf") && !selected(e, "fmt", "Sprint") && !selected(e, "strings", "Join") && !called(e, "Error")
	case *ast.BinaryExpr:
		return false
	}
	return true
}

// selected reports whether a call is of a package's function.
func selected(call *ast.CallExpr, pkg, name string) bool {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	of, ok := fun.X.(*ast.Ident)
	return ok && of.Name == pkg && fun.Sel.Name == name
}

// called reports whether a call is of a method of that name.
func called(call *ast.CallExpr, method string) bool {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	return ok && fun.Sel.Name == method
}

// literal is the text of a string literal.
func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok {
		return l.Value
	}
	return ""
}
