package reason_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jovalle/usher/controllers/admission/reason"
)

const doc = "../../../docs/reasons.md"

func TestDocumentHoldsTheTable(t *testing.T) {
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, r := range reason.All() {
		want = append(want, fmt.Sprintf("| %#q | %s | %s |", r.Name, r.Meaning, r.Advice))
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| `") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s differs from the code; its table should be:\n%s", doc, strings.Join(want, "\n"))
	}
}

func TestReasons(t *testing.T) {
	camelCase := regexp.MustCompile(`^([A-Z][a-zA-Z]+)+$`)
	var names []string
	for _, r := range reason.All() {
		names = append(names, r.Name)
		if !camelCase.MatchString(r.Name) {
			t.Errorf("%q is not CamelCase, which conditions ask for", r.Name)
		}
		if !strings.HasSuffix(r.Meaning, ".") {
			t.Errorf("the meaning of %s is not a sentence: %q", r.Name, r.Meaning)
		}
	}
	if !slices.IsSorted(names) || len(slices.Compact(names)) != len(names) {
		t.Errorf("the reasons are not sorted, each once: %v", names)
	}
}
