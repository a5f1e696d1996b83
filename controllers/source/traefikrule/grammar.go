package traefikrule

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vulcand/predicate"
)

// grammar has the matchers that a rule may use: canonical name → matcher.
type grammar map[string]matcher

// matcher is one matcher of a grammar.
type matcher struct {
	// arity lists the allowed numbers of values; nil allows one or more.
	arity []int
	// build makes an expression of the values.
	build func(r *reading, values []string) (expr, error)
}

// bind returns the function with which a parser builds the matcher. It refuses values
// with which Traefik does not load a rule.
func (m matcher) bind(r *reading, name string) func(values ...string) (expr, error) {
	return func(values ...string) (expr, error) {
		if err := m.check(values); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		e, err := m.build(r, values)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return e, nil
	}
}

func (m matcher) check(values []string) error {
	switch {
	case len(values) == 0:
		return errors.New("no value for the matcher")
	case slices.Contains(values, ""):
		return errors.New("empty value for the matcher")
	case m.arity != nil && !slices.Contains(m.arity, len(values)):
		return fmt.Errorf("unexpected number of parameters; got %d, expected one of %v", len(values), m.arity)
	}
	return nil
}

// functions returns the grammar's matchers under all names that Traefik accepts.
func (g grammar) functions(r *reading) map[string]any {
	fns := make(map[string]any, 4*len(g))
	for name, m := range g {
		fn := m.bind(r, name)
		for _, spelling := range spellings(name) {
			fns[spelling] = fn
		}
	}
	return fns
}

// spellings returns the spellings of a matcher's name that Traefik accepts: they differ
// in letter case.
func spellings(name string) []string {
	lower := strings.ToLower(name)
	return []string{name, lower, strings.ToUpper(name), strings.ToUpper(lower[:1]) + lower[1:]}
}

// parse parses a rule with the given number of tokens. checkSize must have accepted it.
func (g grammar) parse(rule string, tokens int) (*Set, error) {
	r := newReading()
	parser, err := predicate.NewParser(predicate.Def{
		Operators: predicate.Operators{AND: and, OR: or, NOT: not},
		Functions: g.functions(r),
	})
	if err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(rule)
	if err != nil {
		return nil, g.withPosition(rule, err)
	}
	e, ok := parsed.(expr)
	if !ok {
		return nil, g.withPosition(rule, errors.New("a rule is an expression of matchers"))
	}
	return &Set{rule: e, names: r.names, parents: r.parents, patterns: r.compiled, bytes: r.bytes, tokens: tokens, program: r.program}, r.bounded()
}
