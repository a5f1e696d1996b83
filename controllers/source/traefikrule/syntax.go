package traefikrule

import (
	"fmt"

	"github.com/jovalle/usher/controllers/message"
)

// Syntax is a version of Traefik's rule grammar.
type Syntax int

// The grammars.
const (
	// Absent means that the syntax is not known: a rule is read as V3, or as V2 if it
	// is not valid in V3.
	Absent Syntax = iota
	// V2 is Traefik 2's grammar: a matcher may have many values, and templates such as
	// {name:regexp}.
	V2
	// V3 is Traefik 3's grammar: a matcher has one value, Go's regular expressions,
	// and one-label wildcards.
	V3
)

// ParseSyntax parses the syntax field of a route: "v2", "v3", or empty for [Absent].
// Other values are an error, although Traefik treats them as v3.
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
