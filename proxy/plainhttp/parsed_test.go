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

// readsRequests are the functions that may be given an http.Request, and why.
var readsRequests = map[string]string{
	"ServeHTTP":    "it has the request parsed",
	"parseRequest": "it parses it",
	"isWebSocket":  "a part of that",
	"takeHead":     "a part of that",
	"requestOf":    "of a request that outgoing has made",
	"RoundTrip":    "of such a request",
	"try":          "of such a request",
	"closeBody":    "of such a request",
}

// TestHandlersSeeParsedRequestsAlone holds that what is checked and what is forwarded
// is one value: no function but these is given what the client sent.
func TestHandlersSeeParsedRequestsAlone(t *testing.T) {
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
			t.Errorf("%s is given an http.Request: give it a *request", name)
		}
	}
	if !slices.Contains(found, "parseRequest") {
		t.Errorf("the functions that are given an http.Request are %v: this test finds nothing", found)
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
