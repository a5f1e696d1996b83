package traefikrule

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"strconv"
)

// withPosition adds the position, as "line:column: ", to the error of a refused rule
// that has none. It parses the rule again, since the errors of package predicate have
// no position.
func (g grammar) withPosition(rule string, err error) error {
	if _, placed := errors.AsType[scanner.ErrorList](err); placed {
		return err
	}
	files := token.NewFileSet()
	tree, parseErr := parser.ParseExprFrom(files, "", rule, 0)
	if parseErr != nil {
		return err
	}
	at := g.refusedPart(tree)
	return fmt.Errorf("%s: %w", files.Position(at), err)
}

// refusedPart returns the position of the first part of a rule that the grammar refuses,
// or that of the whole rule if it refuses no single part.
func (g grammar) refusedPart(tree ast.Expr) token.Pos {
	at := token.NoPos
	matchers := g.functions(newReading())
	ast.Inspect(tree, func(node ast.Node) bool {
		if at != token.NoPos || node == nil {
			return false
		}
		deeper, pos := examine(matchers, node)
		at = pos
		return deeper
	})
	if at == token.NoPos {
		return tree.Pos()
	}
	return at
}

// examine reports whether the children of a part of a rule must be examined too, and the
// position if the part itself is refused.
func examine(matchers map[string]any, node ast.Node) (deeper bool, refused token.Pos) {
	switch n := node.(type) {
	case *ast.ParenExpr:
		return true, token.NoPos
	case *ast.UnaryExpr:
		return true, unless(n.Op == token.NOT, n.OpPos)
	case *ast.BinaryExpr:
		return true, unless(n.Op == token.LAND || n.Op == token.LOR, n.OpPos)
	case *ast.CallExpr:
		return false, unless(allows(matchers, n), n.Pos())
	default:
		return false, n.Pos()
	}
}

func unless(fine bool, at token.Pos) token.Pos {
	if fine {
		return token.NoPos
	}
	return at
}

// allows reports whether a matcher with the called name accepts the values.
func allows(matchers map[string]any, call *ast.CallExpr) bool {
	name, ok := call.Fun.(*ast.Ident)
	if !ok {
		return false
	}
	build, ok := matchers[name.Name].(func(...string) (expr, error))
	if !ok {
		return false
	}
	values := make([]string, len(call.Args))
	for i, arg := range call.Args {
		literal, ok := arg.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return false
		}
		// The parser has accepted the literal, so that Unquote does not fail.
		values[i], _ = strconv.Unquote(literal.Value)
	}
	_, err := build(values...)
	return err == nil
}
