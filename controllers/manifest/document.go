package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/api/v1alpha1"
)

// A document is the text of an object or List in a file.
type document struct {
	position
	start int // offset of the document in the file
	text  []byte
}

// wrong returns a mistake of the document as a whole.
func (d document) wrong(format string, args ...any) []mistake {
	return []mistake{{position: d.position, message: fmt.Sprintf(format, args...)}}
}

// A list is a List of any kind. Its metadata is ignored.
type list struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        json.RawMessage   `json:"metadata"`
	Items           []json.RawMessage `json:"items"`
}

// marker matches a line that ends a YAML document: "---" or "...". Such a line ends a
// document even in a quoted string (YAML 1.1, section 4.3.1). YAML has more line breaks
// than LF and CR.
var marker = regexp.MustCompile(`(?:^|[\r\n\x{85}\x{2028}\x{2029}])(?:---|\.\.\.)(?:[ \t\r\n\x{85}\x{2028}\x{2029}]|$)`)

// withoutBOM removes a byte order mark from the beginning of a file.
func withoutBOM(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\ufeff")) }

// split cuts a file into its documents. The extension of its name selects JSON or YAML.
func split(name string, data []byte) ([]document, []mistake) {
	if !utf8.Valid(data) {
		return nil, []mistake{{message: "is not UTF-8 text: save it as UTF-8"}}
	}
	if strings.EqualFold(filepath.Ext(name), ".json") {
		return splitJSON(data)
	}
	return splitYAML(data), nil
}

// splitYAML cuts a file into its documents, which may be JSON. It does not use the
// YAMLReader of k8s.io/apimachinery/pkg/util/yaml, which cuts only at "---" after LF. A
// document after "...", or after "---" that follows another line break, would stay in
// the text of the document before it. sigs.k8s.io/yaml reads the first document of a
// text and ignores the others without an error: their hosts would be withdrawn.
func splitYAML(data []byte) []document {
	var documents []document
	begin := 0
	add := func(end int) {
		if text := data[begin:end]; len(bytes.TrimSpace(text)) > 0 {
			documents = append(documents, document{position: position{document: len(documents) + 1}, start: begin, text: text})
		}
	}
	for at := 0; ; {
		found := marker.FindIndex(data[at:])
		if found == nil {
			add(len(data))
			return documents
		}
		line := at + found[0] + bytes.IndexAny(data[at+found[0]:], "-.")
		add(line)
		if begin = line; data[line] == '.' {
			begin += len("...")
		}
		at = line + len("---")
	}
}

// splitJSON cuts a file into its JSON texts. If there is a mistake, it returns the texts before it, too.
func splitJSON(data []byte) (documents []document, _ []mistake) {
	for decoder := json.NewDecoder(bytes.NewReader(data)); ; {
		var text json.RawMessage
		err := decoder.Decode(&text)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		at := position{document: len(documents) + 1}
		if err != nil {
			offset := len(bytes.TrimSpace(data)) // the text ends too early
			if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
				offset = int(syntax.Offset) - 1
			}
			return documents, []mistake{{position: at, syntax: true, offset: offset, message: fmt.Sprintf("is not JSON: %v", err)}}
		}
		start := int(decoder.InputOffset()) - len(text)
		documents = append(documents, document{position: at, start: start, text: text})
	}
}

// toJSON returns the document as JSON, which is "null" if it has only comments.
func (d document) toJSON() (document, []mistake) {
	if json.Valid(d.text) {
		return d, nil
	}
	text, err := yaml.YAMLToJSONStrict(d.text)
	if err != nil {
		return d, d.notYAML(err)
	}
	d.text = text
	return d, nil
}

// notYAML returns the mistakes that the YAML parser found. It replaces the lines in the
// parser's error: they count from the start of the document, and for a syntax error
// they may be those of another line.
func (d document) notYAML(err error) []mistake {
	values, ok := strings.CutPrefix(err.Error(), "yaml: unmarshal errors:\n")
	if !ok {
		offset := d.start + syntaxOffset(d.text, func(text []byte) error { _, err := yaml.YAMLToJSONStrict(text); return err })
		return []mistake{{position: d.position, syntax: true, offset: offset, message: "is not YAML: " + yamlMistake(parserLine.ReplaceAllString(err.Error(), ""))}}
	}
	var all []mistake
	starts := lineStarts(d.text, yamlBreak)
	for said := range strings.SplitSeq(values, "\n") {
		m := mistake{position: d.position, message: strings.TrimSpace(said)}
		if found := parserLine.FindStringSubmatch(said); found != nil {
			line, _ := strconv.Atoi(found[1]) // one that is too large is none
			m.syntax, m.offset = true, d.start+starts[min(max(line, 1), len(starts))-1]
			m.message = said[len(found[0]):]
		}
		all = append(all, m)
	}
	return all
}

// yamlMistake adds what to do to an error of the YAML parser that says little.
func yamlMistake(message string) string {
	switch {
	case strings.Contains(message, "did not find expected alphabetic or numeric character"):
		return message + `: put text that begins with * or & in quotes, such as "*.example.org"`
	case strings.HasPrefix(message, "invalid map key: map["):
		return "text that begins with { must be in quotes; a template, such as {{ .Values.host }}, must be rendered first"
	case strings.Contains(message, "tab character"):
		return message + ": indent with spaces"
	}
	return message
}

// parserLine matches the beginning of an error of the YAML parser.
var parserLine = regexp.MustCompile(`^(?: *yaml: )?(?: *line (\d+): )?`)

// open returns the items of a List, the document itself if it is no List, and nothing
// if it is empty. The document must be JSON.
func (d document) open() ([]document, []mistake) {
	if string(d.text) == "null" {
		return nil, nil
	}
	var kind metav1.TypeMeta
	if err := kjson.UnmarshalCaseSensitivePreserveInts(d.text, &kind); err != nil {
		return nil, d.wrong("is not an object with an apiVersion and a kind: %v", err)
	}
	if !isList(kind) {
		return []document{d}, nil
	}
	var opened list
	strict, err := kjson.UnmarshalStrict(d.text, &opened)
	if wrong := strictMistakes(d.position, strict, err); len(wrong) > 0 {
		return nil, wrong
	}
	items := make([]document, len(opened.Items))
	for i, text := range opened.Items {
		items[i] = document{position: position{d.document, i + 1}, start: d.start, text: text}
	}
	return items, nil
}

// isList reports whether a kind is a List as kubectl or the API server writes it.
func isList(kind metav1.TypeMeta) bool {
	if kind.Kind == "List" && kind.APIVersion == "v1" {
		return true
	}
	return kind.APIVersion == v1alpha1.GroupVersion.String() &&
		slices.Contains([]string{"List", kindExposedHost + "List", kindMemberCluster + "List", kindNetworkList + "List"}, kind.Kind)
}
