package manifest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/jovalle/usher/controllers/message"
)

// unknownField returns the error of a field that the schema does not have.
func (r *rules) unknownField(path string) *field.Error {
	parent := path[:max(strings.LastIndex(path, "."), 0)]
	s, _ := r.at(nil, parent)
	return unknownField(path, fieldsOf(s))
}

// unknownField returns the error of a field that is not one of the known fields of its object.
func unknownField(path string, known []string) *field.Error {
	name := path[strings.LastIndex(path, ".")+1:]
	return field.Forbidden(field.NewPath(path), "unknown field: correct its spelling or remove it."+message.DidYouMean(name, known))
}

// metadataFields are the fields of metadata that a person writes. The schema does not have them.
var metadataFields = []string{"annotations", "labels", "name"}

// inMetadata matches the error of the decoder about an unknown field of metadata, which the
// schema does not see.
var inMetadata = regexp.MustCompile(`^unknown field "(metadata\..+)"$`)

// undecoded returns the mistakes of an object that is valid by the schema.
func (d document) undecoded(err error) (all []mistake) {
	strict, ok := runtime.AsStrictDecodingError(err)
	if !ok {
		return d.wrong("%v", err)
	}
	for _, e := range strict.Errors() {
		if found := inMetadata.FindStringSubmatch(e.Error()); found != nil {
			all = append(all, mistakeOf(d.position, unknownField(found[1], metadataFields)))
			continue
		}
		all = append(all, d.wrong("%v", e)...)
	}
	return all
}

// at returns the schema and the value of a field of an object. The schema is nil if the
// path leads to no field; the value is nil if it is missing.
func (r *rules) at(value any, path string) (*schema.Structural, any) {
	s := r.structural
	for part := range strings.FieldsFuncSeq(path, func(c rune) bool { return c == '.' || c == ']' }) {
		names := strings.SplitN(part, "[", 2)
		if names[0] != "" {
			s, value = child(s, value, names[0])
		}
		if len(names) == 2 && s != nil {
			s, value = item(s, value, names[1])
		}
		if s == nil {
			return nil, nil
		}
	}
	return s, value
}

func child(s *schema.Structural, value any, name string) (*schema.Structural, any) {
	content, _ := value.(map[string]any)
	if property, ok := s.Properties[name]; ok {
		return &property, content[name]
	}
	if s.AdditionalProperties == nil {
		return nil, nil
	}
	return s.AdditionalProperties.Structural, content[name]
}

func item(s *schema.Structural, value any, index string) (*schema.Structural, any) {
	items, _ := value.([]any)
	if i, err := strconv.Atoi(index); err == nil && i >= 0 && i < len(items) {
		return s.Items, items[i]
	}
	return s.Items, nil
}

func fieldsOf(s *schema.Structural) []string {
	if s == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(s.Properties))
}

// wrongType replaces the error of a value of another type by one that says how to write it.
func (r *rules) wrongType(object map[string]any, e *field.Error) *field.Error {
	s, value := r.at(object, e.Field)
	if s == nil {
		return e
	}
	detail := fmt.Sprintf("is %s, but must be %s%s", typeOf(value), typeNames[s.Type], howToWrite(s, value))
	switch value.(type) {
	case map[string]any, []any, nil:
		return field.TypeInvalid(field.NewPath(e.Field), field.OmitValueType{}, detail)
	}
	return field.TypeInvalid(field.NewPath(e.Field), value, detail)
}

// typeNames are the types of a schema as messages name them.
var typeNames = map[string]string{
	"array": "a list", "object": "an object", "string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false",
}

func typeOf(value any) string {
	switch value := value.(type) {
	case map[string]any:
		return typeNames["object"]
	case []any:
		return typeNames["array"]
	case string:
		return typeNames["string"]
	case bool:
		return strconv.FormatBool(value)
	case nil:
		return "empty"
	}
	return typeNames["number"]
}

// howToWrite returns the end of a message that begins with the types.
func howToWrite(s *schema.Structural, value any) string {
	_, isText := value.(string)
	_, isObject := value.(map[string]any)
	_, isList := value.([]any)
	isScalar := value != nil && !isObject && !isList
	switch {
	case s.Type == "array" && isScalar:
		return fmt.Sprintf(": write [%v]", value)
	case s.Type == "array" && isObject:
		return ": write a hyphen before it, or brackets around it"
	case s.Type == "object":
		return ": its fields are " + strings.Join(fieldsOf(s), ", ")
	case s.Type == "string" && isScalar:
		return ": put it in quotes"
	case s.Type == "string" && isList:
		return ": write it without brackets or hyphen"
	case isText && parses(s.Type, value.(string)):
		return ": write it without quotes"
	}
	return ""
}

// parses reports whether text is a value of a scalar type.
func parses(kind, text string) bool {
	switch kind {
	case "boolean":
		return text == "true" || text == "false"
	case "integer":
		_, err := strconv.ParseInt(text, 10, 64)
		return err == nil
	}
	return false
}
