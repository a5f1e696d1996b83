package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/api/v1alpha1"
)

// A document is an object as it stands in a file.
type document struct {
	number int // of the document in its file, from 1
	item   int // of the object in a List, from 1; 0: the document is the object
	text   []byte
}

func (d document) String() string {
	if d.item == 0 {
		return fmt.Sprintf("document %d", d.number)
	}
	return fmt.Sprintf("document %d, item %d", d.number, d.item)
}

// A list is a List of any kind. Its metadata says nothing of its items.
type list struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        json.RawMessage   `json:"metadata"`
	Items           []json.RawMessage `json:"items"`
}

// marker is a line that ends a YAML document: "---", or "...". Such a line ends
// one wherever it stands, in a quoted string too (YAML 1.1, section 4.3.1), and
// YAML knows more line breaks than two.
var marker = regexp.MustCompile(`(?:^|[\r\n\x{85}\x{2028}\x{2029}])(?:---|\.\.\.)(?:[ \t\r\n\x{85}\x{2028}\x{2029}]|$)`)

// splitYAML cuts a file into its documents, which may be empty or JSON.
func splitYAML(data []byte) ([]document, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("is not UTF-8 text")
	}
	var documents []document
	begin := 0
	add := func(text []byte) {
		if len(bytes.TrimSpace(text)) > 0 {
			documents = append(documents, document{number: len(documents) + 1, text: text})
		}
	}
	for at := 0; ; {
		found := marker.FindIndex(data[at:])
		if found == nil {
			add(data[begin:])
			return documents, nil
		}
		line := at + found[0] + bytes.IndexAny(data[at+found[0]:], "-.")
		add(data[begin:line])
		if begin = line; data[line] == '.' {
			begin += len("...")
		}
		at = line + len("---")
	}
}

// splitJSON cuts a file into its JSON texts.
func splitJSON(data []byte) ([]document, error) {
	var documents []document
	for decoder := json.NewDecoder(bytes.NewReader(data)); ; {
		var text json.RawMessage
		switch err := decoder.Decode(&text); {
		case errors.Is(err, io.EOF):
			return documents, nil
		case err != nil:
			return nil, fmt.Errorf("document %d: is not JSON: %w", len(documents)+1, err)
		}
		documents = append(documents, document{number: len(documents) + 1, text: text})
	}
}

// toJSON returns the document as JSON: "null" where it has comments only.
func (d document) toJSON() (document, error) {
	if json.Valid(d.text) {
		return d, nil
	}
	text, err := yaml.YAMLToJSONStrict(d.text)
	if err != nil {
		return d, fmt.Errorf("%v: is not YAML: %s", d, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	return document{number: d.number, text: text}, nil
}

// open returns the items of a List, the document itself where it is none, and
// nothing where it is empty. The document is JSON.
func (d document) open() ([]document, error) {
	if string(d.text) == "null" {
		return nil, nil
	}
	var kind metav1.TypeMeta
	if err := kjson.UnmarshalCaseSensitivePreserveInts(d.text, &kind); err != nil {
		return nil, fmt.Errorf("%v: is not an object with an apiVersion and a kind: %w", d, err)
	}
	if !isList(kind) {
		return []document{d}, nil
	}
	var opened list
	strict, err := kjson.UnmarshalStrict(d.text, &opened)
	if err = errors.Join(append(strict, err)...); err != nil {
		return nil, fmt.Errorf("%v (%s): %w", d, kind.Kind, err)
	}
	items := make([]document, len(opened.Items))
	for i, text := range opened.Items {
		items[i] = document{number: d.number, item: i + 1, text: text}
	}
	return items, nil
}

// isList reports whether a kind is what kubectl or the API server lists objects in.
func isList(kind metav1.TypeMeta) bool {
	if kind.Kind == "List" && kind.APIVersion == "v1" {
		return true
	}
	return kind.APIVersion == v1alpha1.GroupVersion.String() &&
		(kind.Kind == "List" || kind.Kind == kindExposedHost+"List" || kind.Kind == kindMemberCluster+"List")
}
