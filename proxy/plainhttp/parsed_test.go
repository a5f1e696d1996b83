package plainhttp_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// readsRequests are the functions that may have an http.Request parameter, and why.
var readsRequests = map[string]string{
	"ServeHTTP":    "it calls parseRequest",
	"parseRequest": "it parses the request",
	"isWebSocket":  "parseRequest calls it",
	"takeHead":     "parseRequest calls it",
	"requestOf":    "its request was made by outgoing",
	"RoundTrip":    "its request was made by outgoing",
	"try":          "its request was made by outgoing",
	"closeBody":    "its request was made by outgoing",
}

// Only the functions in readsRequests may have an http.Request parameter, so that
// the value that is checked is also the value that is forwarded.
func TestHandlersGetOnlyParsedRequests(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && takesRequest(function) {
				found = append(found, function.Name.Name)
			}
		}
	}
	for _, name := range found {
		if readsRequests[name] == "" {
			t.Errorf("%s has an http.Request parameter: give it a *request", name)
		}
	}
	if !slices.Contains(found, "parseRequest") {
		t.Errorf("the functions with an http.Request parameter are %v: parseRequest is missing", found)
	}
}

// takesRequest reports whether a parameter is an *http.Request.
func takesRequest(function *ast.FuncDecl) bool {
	for _, parameter := range function.Type.Params.List {
		pointer, ok := parameter.Type.(*ast.StarExpr)
		if !ok {
			continue
		}
		if selector, ok := pointer.X.(*ast.SelectorExpr); ok && selector.Sel.Name == "Request" {
			return true
		}
	}
	return false
}
