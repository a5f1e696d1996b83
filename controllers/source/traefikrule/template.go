package traefikrule

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jovalle/usher/controllers/message"
)

var errBraces = errors.New("unbalanced braces")

// template is a template of gorilla/mux, as which Traefik 2 writes regular expressions:
// literal text with variables, {name} or {name:regexp}.
type template struct {
	pattern string   // of the whole
	names   []string // of the variables
	parts   []string // the variables' regular expressions
}

// newTemplate parses a template. defaultPattern is the regular expression of a variable
// without one.
func newTemplate(s, defaultPattern string) (template, error) {
	var t template
	var pattern strings.Builder
	for rest := s; ; {
		literal, variable, after, err := nextVariable(rest)
		if err != nil {
			return template{}, fmt.Errorf("template %s: %w", message.Quote(s), err)
		}
		pattern.WriteString(regexp.QuoteMeta(literal))
		if variable == "" {
			t.pattern = "^" + pattern.String() + "$"
			return t, nil
		}
		name, part, given := strings.Cut(variable[1:len(variable)-1], ":")
		if !given {
			part = defaultPattern
		}
		if name == "" || part == "" {
			return template{}, fmt.Errorf("template %s: missing name or pattern in %s", message.Quote(s), message.Quote(variable))
		}
		fmt.Fprintf(&pattern, "(?P<v%d>%s)", len(t.parts), part)
		t.names, t.parts = append(t.names, name), append(t.parts, part)
		rest = after
	}
}

// nextVariable cuts s before and after its first pair of outermost braces. If there is
// none, variable is empty.
func nextVariable(s string) (literal, variable, after string, err error) {
	level, start := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			if level++; level == 1 {
				start = i
			}
		case '}':
			switch level--; {
			case level == 0:
				return s[:start], s[start : i+1], s[i+1:], nil
			case level < 0:
				return "", "", "", errBraces
			}
		}
	}
	if level != 0 {
		return "", "", "", errBraces
	}
	return s, "", "", nil
}

// muxTemplate parses a template of hosts as an HTTP router does, which also checks each
// variable separately.
func (r *reading) muxTemplate(s string) (template, error) {
	t, err := newTemplate(s, "[^.]+")
	if err != nil {
		return template{}, err
	}
	return t, t.checkParts(func(part string) error {
		_, err := r.parse(part)
		return err
	})
}

// sniTemplate parses a template of hosts as a TCP router does.
func sniTemplate(s string) (template, error) { return newTemplate(s, "[^.]+") }

// checkParts checks the regular expression of each variable.
func (t template) checkParts(check func(string) error) error {
	for _, part := range t.parts {
		if err := check("^" + part + "$"); err != nil {
			return err
		}
	}
	return nil
}

// templates matches the hosts that at least one of the templates matches, in any letter
// case.
func (r *reading) templates(values []string, read func(string) (template, error)) (expr, error) {
	var patterns []*pattern
	for _, value := range values {
		t, err := read(value)
		if err != nil {
			return nil, err
		}
		p, err := r.compile("(?i)" + t.pattern)
		if err != nil {
			return nil, err
		}
		patterns = append(patterns, p)
	}
	return anyOf(patterns...), nil
}

// pathTemplates checks the paths of Traefik 2's Path and PathPrefix.
func pathTemplates(r *reading, values []string) error {
	for _, value := range values {
		if _, err := r.checkTemplate(value, "[^/]+"); err != nil {
			return err
		}
	}
	return absolutePaths(r, values)
}

// queryTemplates checks the values of Traefik 2's Query: each is "name=value", or names
// and values alternate.
func queryTemplates(r *reading, values []string) error {
	var flat []string
	for _, value := range values {
		flat = append(flat, strings.SplitN(value, "=", 2)...)
	}
	if err := pairs(r, flat); err != nil {
		return err
	}
	seen := map[string]bool{} // name of a variable → true
	for i := 0; i < len(flat); i += 2 {
		t, err := r.checkTemplate(flat[i]+"="+flat[i+1], ".*")
		if err != nil {
			return err
		}
		for _, name := range t.names {
			if seen[name] {
				return fmt.Errorf("duplicated variable %s", message.Quote(name))
			}
		}
		for _, name := range t.names {
			seen[name] = true
		}
	}
	return nil
}

// checkTemplate checks a template that does not match hosts.
func (r *reading) checkTemplate(s, defaultPattern string) (template, error) {
	t, err := newTemplate(s, defaultPattern)
	if err != nil {
		return template{}, err
	}
	if err := r.check(t.pattern); err != nil {
		return template{}, err
	}
	return t, t.checkParts(r.check)
}
