package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	goyaml "go.yaml.in/yaml/v3"
)

// A tree has the values of a document with their lines.
type tree struct {
	root   *goyaml.Node // nil: the document cannot be parsed
	starts []int        // offsets of the document's lines
}

// tree parses the text of the document.
func (d document) tree() tree {
	if json.Valid(d.text) {
		t := tree{starts: lineStarts(d.text, lineBreak)}
		decoder := json.NewDecoder(bytes.NewReader(d.text))
		decoder.UseNumber() // a number may be larger than a float
		t.root = t.readJSON(decoder)
		return t
	}
	t := tree{starts: lineStarts(d.text, yamlBreak)}
	var root goyaml.Node
	if err := goyaml.Unmarshal(d.text, &root); err == nil && len(root.Content) > 0 {
		t.root = root.Content[0]
	}
	return t
}

// readJSON reads the next value of a valid JSON text. A token never spans several lines.
func (t tree) readJSON(decoder *json.Decoder) *goyaml.Node {
	token, err := decoder.Token()
	if err != nil {
		return nil
	}
	n := &goyaml.Node{Kind: goyaml.ScalarNode, Line: lineAt(t.starts, int(decoder.InputOffset())-1)}
	switch token := token.(type) {
	case string:
		n.Value = token
	case json.Delim:
		n.Kind = goyaml.SequenceNode
		if token == '{' {
			n.Kind = goyaml.MappingNode
		}
		for decoder.More() {
			n.Content = append(n.Content, t.readJSON(decoder))
		}
		_, _ = decoder.Token() // the closing bracket
	}
	return n
}

// offset returns the offset at which the line of a field begins. The field belongs to
// the item of a List, from 1, or to the document if item is 0. If the field is missing,
// it is the line of the innermost value that should contain it, such as spec for
// spec.host.
func (t tree) offset(item int, field string) int {
	if t.root == nil {
		return 0
	}
	path := field
	if item > 0 {
		path = strings.TrimSuffix(fmt.Sprintf("items[%d].%s", item-1, field), ".")
	}
	n, line := t.root, t.root.Line
	for n != nil && path != "" {
		at, next, rest := step(n, path, maxMerges)
		if at != nil {
			line = at.Line
		}
		n, path = next, rest
	}
	return t.starts[min(max(line, 1), len(t.starts))-1]
}

// maxMerges is the maximum depth to which merge keys are followed: they may form a cycle.
const maxMerges = 8

// step resolves the first element of a path. It returns the node of its name, its value
// and the rest of the path, or nil if the element is missing.
func step(n *goyaml.Node, path string, merges int) (at, value *goyaml.Node, rest string) {
	if n.Kind == goyaml.AliasNode {
		n = n.Alias
	}
	switch n.Kind {
	case goyaml.SequenceNode:
		var i int
		if _, err := fmt.Sscanf(path, "[%d]", &i); err != nil || i < 0 || i >= len(n.Content) {
			return nil, nil, ""
		}
		_, rest, _ = strings.Cut(path, "]")
		return n.Content[i], n.Content[i], strings.TrimPrefix(rest, ".")
	case goyaml.MappingNode:
		return stepInto(n, path, merges)
	}
	return nil, nil, ""
}

// stepInto resolves a field of a mapping. Since a name may contain dots, the longest
// name that matches counts.
func stepInto(n *goyaml.Node, path string, merges int) (at, value *goyaml.Node, rest string) {
	longest := -1
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i].Value
		if after, ok := cutName(path, name); ok && len(name) > longest {
			longest = len(name)
			at, value, rest = n.Content[i], n.Content[i+1], after
		}
	}
	for i := 0; i+1 < len(n.Content) && at == nil && merges > 0; i += 2 {
		if n.Content[i].Value == "<<" {
			at, value, rest = merged(n.Content[i+1], path, merges-1)
		}
	}
	return at, value, rest
}

// merged resolves a field in the value of a merge key: a mapping or a list of mappings.
func merged(n *goyaml.Node, path string, merges int) (at, value *goyaml.Node, rest string) {
	if n.Kind != goyaml.SequenceNode {
		return step(n, path, merges)
	}
	for _, each := range n.Content {
		if at, value, rest = step(each, path, merges); at != nil {
			break
		}
	}
	return at, value, rest
}

// cutName removes a name, which may be in brackets, from the start of a path.
func cutName(path, name string) (rest string, ok bool) {
	if rest, ok = strings.CutPrefix(path, "["+name+"]"); !ok {
		rest, ok = strings.CutPrefix(path, name)
	}
	if !ok || name == "" || (rest != "" && rest[0] != '.' && rest[0] != '[') {
		return "", false
	}
	return strings.TrimPrefix(rest, "."), true
}

// syntaxOffset returns the offset of the line with the syntax error. The parser reports
// the line at which the invalid value begins, which may be far above. The shortest
// prefix of the text that fails with the same error ends with the wrong line.
func syntaxOffset(text []byte, fails func(text []byte) error) int {
	starts := append(lineStarts(text, yamlBreak), len(text))
	whole := fails(text).Error()
	line := sort.Search(len(starts)-2, func(line int) bool {
		err := fails(text[:starts[line+1]])
		return err != nil && err.Error() == whole
	})
	return starts[line]
}
