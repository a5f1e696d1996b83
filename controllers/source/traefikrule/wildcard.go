package traefikrule

import (
	"encoding/binary"
	"slices"
	"strings"
)

const (
	maxLabel  = 63   // bytes of a label: RFC 1035, section 2.3.4
	maxStates = 4096 // of the automaton that reads labels

	// labelBytes are the bytes of a label of a host name: RFC 1123, section 2.1. No
	// label begins or ends with the hyphen. A name with an underscore is no host name,
	// and none that could be published.
	labelBytes = "abcdefghijklmnopqrstuvwxyz0123456789-"
)

// holdsEachUnder reports whether the set holds each host directly under a parent. It
// builds an automaton over labels. Each state stands for the labels that no regular
// expression of the rule distinguishes, whatever follows them, and the rule is evaluated
// for one label of each state. The result is false if the automaton is too large, or if
// the fuel does not suffice.
func (s *Set) holdsEachUnder(parent string, fuel *Fuel) bool {
	longest := min(maxLabel, maxName-len(".")-len(parent))
	if longest < 1 {
		return false
	}
	r := labelReader{patterns: s.patterns, mentioned: s.labelsUnder(parent), fuel: fuel}
	seen := map[string]bool{} // key of a state → true
	// A state is first reached by its shortest labels: they have the most bytes left.
	for queue := []labelState{r.start()}; len(queue) > 0; queue = queue[1:] {
		for i := range len(labelBytes) {
			next, ok := r.read(queue[0], labelBytes[i])
			if !ok || len(seen) > maxStates {
				return false
			}
			key := r.key(next)
			if next.label == "-" || seen[key] {
				continue
			}
			seen[key] = true
			if next.whole() && !s.holdsRead(&r, next, parent) {
				return false
			}
			if len(next.label) < longest {
				queue = append(queue, next)
			}
		}
	}
	return true
}

// holdsRead reports whether the set holds the host of a label under a parent. The reader
// has read the label. It is false without fuel.
func (s *Set) holdsRead(r *labelReader, l labelState, parent string) bool {
	if !r.fuel.spend(s.tokens) {
		return false
	}
	for _, c := range []byte("." + parent) {
		var ok bool
		if l, ok = r.read(l, c); !ok {
			return false
		}
	}
	a := atom{name: l.label, parent: parent, literal: s.literal, matches: r.matches(l)}
	return s.rule(a, false) == yes
}

// labelsUnder are the first labels of the hosts under a parent that the rule mentions,
// sorted.
func (s *Set) labelsUnder(parent string) []string {
	var labels []string
	for name := range s.names {
		if label, rest, _ := strings.Cut(name, "."); rest == parent {
			labels = append(labels, label)
		}
	}
	slices.Sort(labels)
	return labels
}

// labelReader reads labels byte by byte.
type labelReader struct {
	patterns  []*pattern
	mentioned []string // labels that the rule names, sorted
	fuel      *Fuel
}

// labelState is the state of a reader after the first bytes of a host.
type labelState struct {
	label   string    // what was read
	threads []threads // of each pattern
}

// whole reports whether the label may stand in a host name as it is.
func (l labelState) whole() bool { return !strings.HasSuffix(l.label, "-") }

// last is the last byte; -1 without any.
func (l labelState) last() rune {
	if l.label == "" {
		return -1
	}
	return rune(l.label[len(l.label)-1])
}

func (r *labelReader) start() labelState {
	var l labelState
	for _, p := range r.patterns {
		l.threads = append(l.threads, p.newThreads())
	}
	return l
}

// read reads one more byte. It returns false without fuel.
func (r *labelReader) read(l labelState, c byte) (labelState, bool) {
	next := labelState{label: l.label + string(rune(c)), threads: make([]threads, len(r.patterns))}
	work := 8 + len(next.label)
	for i, p := range r.patterns {
		var steps int
		next.threads[i], steps = p.step(l.threads[i], l.last(), rune(c))
		work += steps
	}
	return next, r.fuel.spend(work)
}

// matches returns the patterns that match what was read.
func (r *labelReader) matches(l labelState) map[*pattern]bool {
	matches := make(map[*pattern]bool, len(r.patterns))
	for i, p := range r.patterns {
		end, _ := p.step(l.threads[i], l.last(), -1)
		matches[p] = end.has(matched)
	}
	return matches
}

// key is equal for two labels that nothing in the rule distinguishes. Whether the last
// byte is a hyphen also decides on word boundaries.
func (r *labelReader) key(l labelState) string {
	var key []byte
	if l.whole() {
		key = append(key, 'w')
	}
	if i, _ := slices.BinarySearch(r.mentioned, l.label); i < len(r.mentioned) && strings.HasPrefix(r.mentioned[i], l.label) {
		key = append(key, l.label...)
	}
	key = append(key, '.')
	for _, t := range l.threads {
		for _, word := range t {
			key = binary.LittleEndian.AppendUint64(key, word)
		}
	}
	return string(key)
}
