package traefikrule

import (
	"fmt"

	"github.com/jovalle/usher/controllers/message"
)

// Syntax is a version of Traefik's rule grammar.
type Syntax int

// The grammars.
const (
	// Absent stands for a route that does not say: it is read as V3, or as V2
	// where V3 does not allow it.
	Absent Syntax = iota
	// V2 is Traefik 2's grammar: many values a matcher, templates such as
	// {name:regexp}.
	V2
	// V3 is Traefik 3's grammar: one value a matcher, Go's regular expressions,
	// one-label wildcards.
	V3
)

// ParseSyntax reads the syntax field of a route: "v2", "v3", or empty for
// [Absent]. Anything else is an error, though Traefik takes it for v3.
func ParseSyntax(s string) (Syntax, error) {
	switch s {
	case "":
		return Absent, nil
	case "v2":
		return V2, nil
	case "v3":
		return V3, nil
	}
	return Absent, fmt.Errorf("syntax %s is neither v2 nor v3", message.Quote(s))
}
