package reason_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jovalle/usher/api/v1alpha1/reason"
)

const doc = "../../../docs/reasons.md"

// Each table stands under its heading, and the document has no other reasons.
func TestDocumentHoldsTheTables(t *testing.T) {
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string][]string{} // heading → rows
	heading := ""
	for line := range strings.Lines(string(text)) {
		if under, found := strings.CutPrefix(line, "## "); found {
			heading = strings.TrimSpace(under)
		} else if strings.HasPrefix(line, "| `") {
			documented[heading] = append(documented[heading], strings.TrimSpace(line))
		}
	}
	for _, table := range reason.Tables() {
		var want []string
		for _, r := range table.Reasons {
			want = append(want, fmt.Sprintf("| %#q | %s | %s |", r.Name, r.Meaning, r.Advice))
		}
		if !slices.Equal(documented[table.Heading], want) {
			t.Errorf("%s, %s, differs from the code; its table should be:\n%s", doc, table.Heading, strings.Join(want, "\n"))
		}
		delete(documented, table.Heading)
	}
	if len(documented) > 0 {
		t.Errorf("%s has tables that the code does not have: %v", doc, documented)
	}
}

func TestReasons(t *testing.T) {
	camelCase := regexp.MustCompile(`^([A-Z][a-zA-Z]+)+$`)
	for _, table := range reason.Tables() {
		var names []string
		for _, r := range table.Reasons {
			names = append(names, r.Name)
			if !camelCase.MatchString(r.Name) {
				t.Errorf("%q is not CamelCase, which conditions ask for", r.Name)
			}
			if !strings.HasSuffix(r.Meaning, ".") || r.Advice != "" && !strings.HasSuffix(r.Advice, ".") {
				t.Errorf("the meaning or the advice of %s is not a sentence: %q, %q", r.Name, r.Meaning, r.Advice)
			}
		}
		if !slices.IsSorted(names) || len(slices.Compact(names)) != len(names) {
			t.Errorf("%s: the reasons are not sorted, each once: %v", table.Heading, names)
		}
	}
}

// Each constant is explained in a table.
func TestTablesHoldEachReason(t *testing.T) {
	explained := map[string]bool{} // name → true
	for _, table := range reason.Tables() {
		for _, r := range table.Reasons {
			explained[r.Name] = true
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	constants := 0
	ast.Inspect(file, func(node ast.Node) bool {
		declared, ok := node.(*ast.GenDecl)
		if !ok || declared.Tok != token.CONST {
			return true
		}
		for _, spec := range declared.Specs {
			constants++
			name, err := strconv.Unquote(spec.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value)
			if err != nil || !explained[name] {
				t.Errorf("%s is in no table (%v)", name, err)
			}
		}
		return true
	})
	if constants != len(explained) {
		t.Errorf("the tables explain %d reasons, and there are %d constants", len(explained), constants)
	}
}
