package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
)

// maxErrors is how many problems an error lists.
const maxErrors = 10

// A Problem is one mistake in a file.
type Problem struct {
	File    string `json:"file"`            // its name in the directory
	Line    int    `json:"line,omitempty"`  // of the file, from 1; 0: the file as a whole
	Field   string `json:"field,omitempty"` // such as spec.backends[0].cluster; empty: the object as a whole
	Message string `json:"message"`         // what is wrong, and what to do
}

// String returns the problem on one line, as file:line: field: message. It replaces
// line breaks and other control characters of the file's content by spaces.
func (p Problem) String() string {
	var text strings.Builder
	text.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&text, ":%d", p.Line)
	}
	if p.Field != "" {
		text.WriteString(": " + p.Field)
	}
	text.WriteString(": " + p.Message)
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text.String())
}

// compare orders a file's problems by line, then by field and message.
func (p Problem) compare(other Problem) int {
	return cmp.Or(cmp.Compare(p.Line, other.Line), cmp.Compare(p.Field, other.Field), cmp.Compare(p.Message, other.Message))
}

// problems are the problems of one or more files.
type problems []Problem

// Error lists the first ones and the number of the others.
func (p problems) Error() string {
	var lines []string
	for _, problem := range p[:min(len(p), maxErrors)] {
		lines = append(lines, problem.String())
	}
	if more := len(p) - maxErrors; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "; ")
}

// A position is the position of an object in a file.
type position struct {
	document int // from 1
	item     int // in a List, from 1; 0: the document is the object
}

// A mistake is a problem without its line, since finding the line costs time.
type mistake struct {
	position
	offset  int  // in the file, of a syntax error
	syntax  bool // a syntax error
	field   string
	message string
	other   *place // where the same object is, too; the message has a %s for it
}

// A place is the position of an object in a directory.
type place struct {
	in    *file // nil: the file with the mistake
	state *objects
	position
}

// duplicateOf returns the mistake of an object that is also at another place.
func duplicateOf(at position, k key, other place) mistake {
	return mistake{position: at, field: "metadata.name", message: k.String() + " is in %s too: remove one of them", other: &other}
}

// mistakeOf converts a validation error of the API server's code.
func mistakeOf(at position, e *field.Error) mistake {
	if e.Field == "" || e.Field == "<nil>" { // the object as a whole
		return mistake{position: at, message: e.Detail}
	}
	return mistake{position: at, field: e.Field, message: e.ErrorBody()}
}

// strictMistakes converts the errors of the strict JSON decoder, if there are any.
func strictMistakes(at position, strict []error, err error) []mistake {
	var all []mistake
	for _, e := range strict {
		m := mistake{position: at, message: e.Error()}
		if named, ok := errors.AsType[kjson.FieldError](e); ok {
			m.field = named.FieldPath()
		}
		all = append(all, m)
	}
	if err != nil {
		all = append(all, mistake{position: at, message: err.Error()})
	}
	return all
}
