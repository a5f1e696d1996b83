package traefikrule

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

// The limits on a rule. The largest rule within them takes 10 ms to evaluate.
const (
	maxRule    = 64 << 10 // bytes
	maxTokens  = 2500     // of Go's grammar; it also limits the nesting
	maxPattern = 384      // bytes of all regular expressions
	maxProgram = 2000     // estimated instructions of all regular expressions over hosts
	maxWork    = 1 << 20  // bytes of all names times the estimated instructions
	maxName    = 253      // bytes of a host name: RFC 1035, section 2.3.4
)

// reading collects the names of a rule and their cost while the rule is parsed.
type reading struct {
	names    map[string]bool // hosts that the rule mentions → true
	parents  map[string]bool // parents of the wildcards that it mentions → true
	bytes    int             // of names
	patterns int             // bytes of regular expressions
	program  int             // estimated instructions of the regular expressions over hosts
}

func newReading() *reading {
	return &reading{names: map[string]bool{}, parents: map[string]bool{}}
}

// bounded refuses a rule that would take too long to evaluate for all of its names.
func (r *reading) bounded() error {
	if r.bytes*r.program > maxWork {
		return errors.New("the rule has too many names for the size of its regular expressions")
	}
	return nil
}

// parse parses a regular expression as Traefik does.
func (r *reading) parse(pattern string) (*syntax.Regexp, error) {
	r.patterns += len(pattern)
	if r.patterns > maxPattern {
		return nil, fmt.Errorf("the rule's regular expressions are longer than %d bytes", maxPattern)
	}
	return syntax.Parse(pattern, syntax.Perl)
}

// compile compiles a regular expression over hosts.
func (r *reading) compile(pattern string) (*regexp.Regexp, error) {
	parsed, err := r.parse(pattern)
	if err != nil {
		return nil, err
	}
	r.program += instructions(parsed)
	if r.program > maxProgram {
		return nil, fmt.Errorf("the rule's regular expressions take more than %d instructions", maxProgram)
	}
	return regexp.Compile(pattern)
}

// instructions estimates the size of a compiled regular expression. The length of the
// pattern does not show it: x{1000} has seven bytes.
func instructions(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += instructions(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return n
}
