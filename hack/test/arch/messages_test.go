package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// messages is the only package that formats the texts of conditions, refusals and
// Events.
const messages = "controllers/message"

// messagePackages are the folders of the packages that write such messages, without subfolders.
var messagePackages = []string{"controllers", "controllers/admission", "controllers/member", "controllers/source", "controllers/source/traefikrule"}

// A message with text of a member's object or API server must be bounded where it is
// formatted, since the API server refuses an object with a message that is too long.
func TestMessagesAreBoundedWhereTheyAreMade(t *testing.T) {
	all := packages(t)
	for _, speaker := range messagePackages {
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

// checkMessages reports messages that are not formatted by the package. In packages that
// read values of members, errors may quote those only by message.Quote.
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

// bounded reports whether the text of a message is a constant, a result of the package,
// another message or a variable, whose own text is checked.
func bounded(text ast.Expr) bool {
	switch e := text.(type) {
	case *ast.CallExpr:
		return !selected(e, "fmt", "Sprintf") && !selected(e, "fmt", "Sprint") && !selected(e, "strings", "Join") && !called(e, "Error")
	case *ast.BinaryExpr:
		return false
	}
	return true
}

// selected reports whether a call calls a function of a package.
func selected(call *ast.CallExpr, pkg, name string) bool {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	of, ok := fun.X.(*ast.Ident)
	return ok && of.Name == pkg && fun.Sel.Name == name
}

// called reports whether a call calls a method of that name.
func called(call *ast.CallExpr, method string) bool {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	return ok && fun.Sel.Name == method
}

// literal returns the text of a string literal.
func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok {
		return l.Value
	}
	return ""
}
