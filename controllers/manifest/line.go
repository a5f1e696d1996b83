package manifest

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
)

// The line breaks of a file as an editor counts them, and those of a YAML document,
// which are more (YAML 1.1, section 4.2).
var (
	lineBreak = regexp.MustCompile(`\r\n|[\r\n]`)
	yamlBreak = regexp.MustCompile(`\r\n|[\r\n\x{85}\x{2028}\x{2029}]`)
)

// lineStarts returns the offsets at which the lines of a text begin.
func lineStarts(text []byte, lineBreak *regexp.Regexp) []int {
	starts := []int{0}
	for _, found := range lineBreak.FindAllIndex(text, -1) {
		starts = append(starts, found[1])
	}
	return starts
}

// lineAt returns the line of an offset, from 1.
func lineAt(starts []int, offset int) int {
	return sort.Search(len(starts), func(i int) bool { return starts[i] > offset })
}

// A locator finds the lines of a file's objects and fields. It parses a document a
// second time for that, by a parser that reports lines. It does so once per document.
type locator struct {
	name      string
	starts    []int // of the file's lines
	documents []document
	trees     map[int]tree          // document → its values with their lines
	others    map[*objects]*locator // state of another file → the locator of that file
}

// newLocator returns the locator of a file's bytes.
func newLocator(name string, data []byte) *locator {
	data = withoutBOM(data)
	documents, _ := split(name, data) // its mistakes are known already
	return &locator{name: name, starts: lineStarts(data, lineBreak), documents: documents, trees: map[int]tree{}, others: map[*objects]*locator{}}
}

// problems returns the mistakes with their lines in the file, ordered by line.
func (l *locator) problems(mistakes []mistake) problems {
	all := make(problems, len(mistakes))
	for i, m := range mistakes {
		all[i] = Problem{File: l.name, Field: m.field, Message: m.message}
		if m.other != nil {
			all[i].Message = fmt.Sprintf(m.message, l.format(*m.other))
		}
		switch {
		case m.syntax:
			all[i].Line = lineAt(l.starts, m.offset)
		case m.document > 0:
			all[i].Line = l.line(m.position, m.field)
		}
	}
	slices.SortStableFunc(all, Problem.compare)
	return all
}

// format returns a place as file:line.
func (l *locator) format(p place) string {
	if p.in != nil {
		other := l.others[p.state]
		if other == nil {
			other = p.in.locate(p.state)
			l.others[p.state] = other
		}
		l = other
	}
	if line := l.line(p.position, "metadata.name"); line > 0 {
		return fmt.Sprintf("%s:%d", l.name, line)
	}
	return l.name
}

// line returns the line of an object's field. If the field is missing, it is the line
// of the innermost value that should contain it, such as spec for spec.host.
func (l *locator) line(at position, field string) int {
	if at.document < 1 || at.document > len(l.documents) {
		return 0
	}
	document := l.documents[at.document-1]
	read, ok := l.trees[at.document]
	if !ok {
		read = document.tree()
		l.trees[at.document] = read
	}
	return lineAt(l.starts, document.start+read.offset(at.item, field))
}
