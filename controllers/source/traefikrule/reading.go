package traefikrule

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// The limits on a rule. The largest rule within them takes 10 ms to evaluate.
const (
	maxRule    = 64 << 10 // bytes
	maxTokens  = 2500     // of Go's grammar; it also limits the nesting
	maxPattern = 384      // bytes of all regular expressions over hosts
	maxChecked = 4 << 10  // bytes of the other ones that are checked; the rest is assumed to be valid
	maxProgram = 2000     // estimated instructions of all regular expressions over hosts
	maxWork    = 1 << 20  // bytes of all names times the estimated instructions
	maxName    = 253      // bytes of a host name: RFC 1035, section 2.3.4
)

// reading collects the names of a rule and their cost while the rule is parsed.
type reading struct {
	names    map[string]bool // hosts that the rule mentions → true
	parents  map[string]bool // parents of the wildcards that it mentions → true
	bytes    int             // of names
	patterns int             // bytes of regular expressions over hosts
	checked  int             // bytes of the others, as check counts them
	compiled []*pattern      // regular expressions over hosts
	program  int             // their estimated instructions
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

// parse parses a regular expression over hosts as Traefik does.
func (r *reading) parse(expression string) (*syntax.Regexp, error) {
	r.patterns += len(expression)
	if r.patterns > maxPattern {
		return nil, fmt.Errorf("the rule's regular expressions over hosts are longer than %d bytes", maxPattern)
	}
	return syntax.Parse(expression, syntax.Perl)
}

// compile compiles a regular expression over hosts.
func (r *reading) compile(expression string) (*pattern, error) {
	parsed, err := r.parse(expression)
	if err != nil {
		return nil, err
	}
	r.program += instructions(parsed)
	if r.program > maxProgram {
		return nil, fmt.Errorf("the rule's regular expressions over hosts take more than %d instructions", maxProgram)
	}
	p, err := newPattern(expression, parsed)
	if err != nil {
		return nil, err
	}
	r.compiled = append(r.compiled, p)
	return p, nil
}

// check parses a regular expression that is not over hosts as Traefik does. Such
// expressions may have any length, and parsing takes time, so those beyond a limit are
// assumed to be valid. If one is not, Traefik does not load the rule and serves nothing.
func (r *reading) check(expression string) error {
	cost := len(expression)
	if hasLargeClasses(expression) {
		cost *= 50 // a class of 20 bytes takes up to 10 ms
	}
	if r.checked += cost; r.checked > maxChecked {
		return nil
	}
	_, err := syntax.Parse(expression, syntax.Perl)
	return err
}

// hasLargeClasses reports whether a regular expression may have classes of thousands of
// characters.
func hasLargeClasses(expression string) bool {
	return strings.Contains(expression, `\p`) || strings.Contains(expression, `\P`) || strings.Contains(expression, `\x`) ||
		len(expression) != utf8.RuneCountInString(expression)
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
